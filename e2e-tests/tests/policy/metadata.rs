//! metadata.yml is what Kubewarden knows of the policy; it must say what the module does.

use std::collections::BTreeSet;
use std::fs;

use mcp_scaling_rules::server::{API_VERSIONS, GROUP, KINDS};
use serde_json::Value;

use crate::harness::repository;

fn metadata() -> Value {
    let text = fs::read_to_string(repository().join("metadata.yml")).expect("is there");
    serde_saphyr::from_str(&text).expect("is YAML")
}

fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().expect("is a list");
    list.iter().map(|item| item.as_str().expect("is a string")).collect()
}

/// `group/resource` of every rule with its operations.
fn rules(metadata: &Value) -> Vec<(String, BTreeSet<&str>)> {
    let mut rules = Vec::new();
    for rule in metadata["rules"].as_array().expect("is a list") {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                rules.push((format!("{group}/{resource}"), strings(&rule["operations"]).into_iter().collect()));
            }
        }
    }
    rules
}

#[test]
fn it_says_what_the_module_is() {
    let metadata = metadata();
    assert_eq!(metadata["mutating"], true);
    assert_eq!(metadata["executionMode"], "kubewarden-wapc");
    assert_eq!(metadata["policyType"], "kubernetes");
    assert_eq!(strings(&metadata["hostCapabilities"]), ["kubernetes/get_resource"]);
    assert_eq!(metadata["annotations"]["io.kubewarden.policy.version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_kind_may_be_read_at_every_version() {
    let metadata = metadata();
    let granted = metadata["contextAwareResources"].as_array().expect("is a list");
    let granted: BTreeSet<_> =
        granted.iter().map(|resource| (resource["apiVersion"].as_str(), resource["kind"].as_str())).collect();
    let needed = API_VERSIONS.iter().flat_map(|version| KINDS.iter().map(|kind| (Some(*version), Some(kind.name))));
    assert_eq!(granted, needed.collect());
}

#[test]
fn rules_are_narrow() {
    let metadata = metadata();
    let rules = rules(&metadata);
    for (resource, operations) in &rules {
        assert!(!resource.contains('*'), "{resource}");
        let expected = if resource.ends_with("/scale") { vec!["UPDATE"] } else { vec!["CREATE", "UPDATE"] };
        assert_eq!(*operations, expected.into_iter().collect(), "{resource}");
    }
    for kind in &KINDS {
        let plural = format!("{GROUP}/{}", plural(kind.name));
        assert!(rules.iter().any(|(resource, _)| *resource == plural), "{plural}");
    }
    for resource in [
        "apps/deployments",
        "apps/statefulsets",
        "apps/deployments/scale",
        "apps/statefulsets/scale",
        "autoscaling/horizontalpodautoscalers",
        "keda.sh/scaledobjects",
    ] {
        assert!(rules.iter().any(|(rule, _)| rule == resource), "{resource}");
    }
}

fn plural(kind: &str) -> String {
    let name = kind.to_lowercase();
    name.strip_suffix('y').map_or_else(|| format!("{name}s"), |stem| format!("{stem}ies"))
}

#[test]
fn every_annotation_that_kubewarden_and_artifact_hub_read_is_there() {
    let metadata = metadata();
    for key in [
        "io.artifacthub.displayName",
        "io.artifacthub.keywords",
        "io.artifacthub.resources",
        "io.kubewarden.policy.author",
        "io.kubewarden.policy.category",
        "io.kubewarden.policy.description",
        "io.kubewarden.policy.license",
        "io.kubewarden.policy.ociUrl",
        "io.kubewarden.policy.severity",
        "io.kubewarden.policy.source",
        "io.kubewarden.policy.title",
        "io.kubewarden.policy.url",
        "io.kubewarden.policy.version",
    ] {
        let value = metadata["annotations"][key].as_str();
        assert!(value.is_some_and(|value| !value.is_empty()), "{key}");
    }
}
