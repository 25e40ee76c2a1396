//! What others know of the policy (metadata.yml, questions-ui.yml, artifacthub-pkg.yml, the table in README.md and the manifests in
//! deploy/) must say what the module does, and the same everywhere.

use std::collections::BTreeSet;
use std::fs;

use mcp_scaling_rules::server::{API_VERSIONS, GROUP, KINDS};
use serde_json::{Value, json};

use crate::harness::{Case, DEPLOYMENT_SELECTOR, create, deployment, mcpserver, policy, repository, scale, update};

fn text(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn metadata() -> Value {
    yaml("metadata.yml")
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

/// Every setting: key, default and, where it is one of several, which.
fn settings() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let operator = json!(["system:serviceaccount:toolhive-system:toolhive-operator"]);
    vec![
        ("stdioReplicas", json!("cap"), vec!["cap", "reject", "warn"]),
        ("declaredReplicas", json!("warn"), vec!["warn", "cap", "reject"]),
        ("sessionStorage", json!("warn"), vec!["warn", "reject", "ignore"]),
        ("defaultSessionStorage", json!("memory"), vec!["memory", "redis"]),
        ("terminationGracePeriodSeconds", json!(30), vec![]),
        ("preserveScaling", json!(true), vec![]),
        ("operatorServiceAccounts", operator, vec![]),
        ("onLookupFailure", json!("allow"), vec!["allow", "reject"]),
    ]
}

fn is_valid(settings: &Value) -> bool {
    policy().validate_settings(settings).expect("the module answers").valid
}

#[test]
fn the_module_takes_every_setting_and_no_other() {
    for (key, default, choices) in settings() {
        assert!(is_valid(&json!({key: default})), "{key}");
        assert!(!is_valid(&json!({key: {}})), "{key}");
        for choice in &choices {
            assert!(is_valid(&json!({key: choice})), "{key}: {choice}");
        }
    }
    assert!(!is_valid(&json!({"unknown": true})));
    // The type documents each field with its key; none is missing above.
    let source = text("src/settings.rs");
    let documented = source.lines().filter_map(|line| line.strip_prefix("    /// `")?.split('`').next());
    assert_eq!(documented.collect::<Vec<_>>(), settings().iter().map(|(key, ..)| *key).collect::<Vec<_>>());
}

#[test]
fn the_form_asks_for_every_setting() {
    let form = yaml("questions-ui.yml");
    let mut questions = form["questions"].as_array().expect("is a list").iter();
    assert_eq!(questions.next().expect("describes the policy")["hide_input"], true);
    for (key, default, choices) in settings() {
        let question = questions.next().unwrap_or_else(|| panic!("no question for {key}"));
        assert_eq!((&question["variable"], &question["default"]), (&json!(key), &default));
        let options = if choices.is_empty() { Value::Null } else { json!(choices) };
        assert_eq!(question["options"], options, "{key}");
    }
    assert!(questions.next().is_none());
}

#[test]
fn the_table_in_the_readme_has_every_setting() {
    let readme = text("README.md");
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `")).collect();
    for (key, default, choices) in settings() {
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{key}` | "))).unwrap_or_else(|| panic!("{key}"));
        let values = row.split('|').nth(2).expect("has values").trim();
        let first = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        let first = first.trim_matches(['[', ']', '"']).to_owned();
        assert!(values.starts_with(&format!("`{first}`")), "{key}: {values}");
        if !choices.is_empty() {
            let listed = choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
            assert_eq!(values, listed, "{key}");
        }
    }
}

#[test]
fn artifact_hub_is_told_the_same() {
    let package = yaml("artifacthub-pkg.yml");
    let metadata = metadata();
    assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
    let inner = |key: &str| -> Value {
        serde_saphyr::from_str(package["annotations"][key].as_str().expect("is text")).expect("is YAML")
    };
    assert_eq!(inner("kubewarden/questions-ui"), yaml("questions-ui.yml"));
    assert_eq!(inner("kubewarden/rules"), metadata["rules"]);
    assert_eq!(inner("kubewarden/contextAwareResources"), metadata["contextAwareResources"]);
    assert_eq!(package["annotations"]["kubewarden/mutation"], "true");
    for (key, annotation) in [
        ("displayName", "io.artifacthub.displayName"),
        ("description", "io.kubewarden.policy.description"),
        ("license", "io.kubewarden.policy.license"),
        ("homeURL", "io.kubewarden.policy.url"),
    ] {
        assert_eq!(package[key], metadata["annotations"][annotation], "{key}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let image =
        format!("{}:v{version}", metadata["annotations"]["io.kubewarden.policy.ociUrl"].as_str().expect("is text"));
    assert_eq!(package["containersImages"][0]["image"], image);
    assert!(package["install"].as_str().expect("is text").contains(&image));
    for path in ["mcpserver-scaling", "mcpserver-scaling-guard", "mcpserver-scaling-monitor"] {
        assert_eq!(manifest(path)["spec"]["module"], format!("registry://{image}"), "{path}");
    }
    let chart = yaml("deploy/chart/Chart.yaml");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(version), &json!(version)));
}

fn manifest(name: &str) -> Value {
    yaml(&format!("deploy/kubewarden/{name}.yaml"))
}

#[test]
fn the_manifests_ask_for_what_the_metadata_says() {
    let metadata = metadata();
    for (name, is_mutating, mode) in [
        ("mcpserver-scaling", true, "protect"),
        ("mcpserver-scaling-guard", false, "protect"),
        ("mcpserver-scaling-monitor", false, "monitor"),
    ] {
        let spec = &manifest(name)["spec"];
        assert_eq!(spec["rules"], metadata["rules"], "{name}");
        assert_eq!(spec["contextAwareResources"], metadata["contextAwareResources"], "{name}");
        assert_eq!((&spec["mutating"], &spec["mode"]), (&json!(is_mutating), &json!(mode)), "{name}");
        assert!(is_valid(&spec["settings"]), "{name}");
        assert!(spec["timeoutEvalSeconds"].as_u64() < spec["timeoutSeconds"].as_u64(), "{name}");
    }
}

#[test]
fn the_guard_lets_what_the_policy_admits_pass_unchanged_and_refuses_what_it_does_not() {
    let guard = || manifest("mcpserver-scaling-guard")["spec"]["settings"].clone();
    let stdio = mcpserver(json!({}));
    let deployment: fn() -> Case = || update(deployment(1), deployment(3));
    let scale: fn() -> Case = || scale("deployments", DEPLOYMENT_SELECTOR, 1, 3);
    for case in [deployment, scale] {
        let admitted = case().finds(&stdio).run();
        assert_eq!(admitted.changes(), ["/spec/replicas=1"]);
        let (code, _) = case().settings(guard()).finds(&stdio).run().refusal().expect("nobody corrected it");
        assert_eq!(code, 422);
        let corrected = case().request("object", admitted.object()).settings(guard()).finds(&stdio).run();
        assert_eq!((corrected.refusal(), corrected.changes().len()), (None, 0));
    }
    // A server that declares three is the policy's to warn of.
    let declared = create(mcpserver(json!({"replicas": 3}))).settings(guard()).run();
    assert_eq!((declared.refusal(), declared.changes().len()), (None, 0));
}

#[test]
fn the_monitor_reports_what_the_policy_would_change_or_warn_of() {
    let monitor = || manifest("mcpserver-scaling-monitor")["spec"]["settings"].clone();
    let stdio = mcpserver(json!({}));
    // As an audit asks: a creation by nobody.
    assert!(create(deployment(3)).settings(monitor()).finds(&stdio).run().refusal().is_some());
    assert!(create(mcpserver(json!({"replicas": 3}))).settings(monitor()).run().refusal().is_some());
    let unshared = mcpserver(json!({"transport": "sse", "replicas": 3}));
    assert!(create(unshared).settings(monitor()).run().refusal().is_some());
    let fine = create(deployment(1)).settings(monitor()).finds(&stdio).run();
    assert_eq!((fine.refusal(), fine.changes().len()), (None, 0));
}

#[test]
fn what_the_documents_point_to_is_there() {
    let mut files = vec!["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    files.extend(["docs/architecture.md", "docs/operations.md", "docs/security.md", "docs/comparison.md"]);
    let mut links = 0;
    for file in files {
        let folder = repository().join(file).parent().expect("is in a folder").to_owned();
        let text = text(file);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().expect("has a first part");
            if !target.is_empty() && !target.contains("://") {
                assert!(folder.join(target).exists(), "{file}: {target}");
                links += 1;
            }
        }
        for path in text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| code.starts_with("deploy/") || code.starts_with("scripts/"))
        {
            let path = path.split(' ').next().expect("has a first part");
            assert!(repository().join(path).exists(), "{file}: {path}");
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}
