//! Shows that the files which describe the policy agree with the module and with each other: metadata.yml, artifacthub-pkg.yml
//! and the manifests in deploy/. Links in the documents lead to files that exist.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use mcp_scaling_rules::kind::{API_VERSIONS, EMBEDDING_SERVER, GROUP};
use mcp_scaling_rules::{ServerKind, Workload};
use policy_host::host::{GetResourceRequest, callback_failure};
use serde_json::{Value, json};

use fixtures::case::{Case, create, deployment, mcpserver, policy, repository, scale, selector, update};

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

/// Every resource of the rules as `group/resource`, with its operations.
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
fn describes_the_module() {
    let metadata = metadata();
    assert_eq!(metadata["mutating"], true);
    assert_eq!(metadata["executionMode"], "kubewarden-wapc");
    assert_eq!(metadata["policyType"], "kubernetes");
    let capabilities = ["kubernetes/get_resource", "kubernetes/list_resources_by_namespace"];
    assert_eq!(strings(&metadata["hostCapabilities"]), capabilities);
    assert_eq!(metadata["annotations"]["io.kubewarden.policy.version"], env!("CARGO_PKG_VERSION"));
}

/// The API version and kind of each entry of a `contextAwareResources`. kwctl writes them in an order of its own.
fn granted_lookups(resources: &Value) -> BTreeSet<(Option<&str>, Option<&str>)> {
    let resources = resources.as_array().expect("is a list");
    resources.iter().map(|resource| (resource["apiVersion"].as_str(), resource["kind"].as_str())).collect()
}

#[test]
fn grants_lookups_of_every_kind_at_every_version() {
    let metadata = metadata();
    let granted = granted_lookups(&metadata["contextAwareResources"]);
    let kinds = ServerKind::ALL.map(ServerKind::name).into_iter().chain([EMBEDDING_SERVER]);
    let needed = kinds.flat_map(|kind| API_VERSIONS.map(|version| (Some(version), Some(kind))));
    let autoscalers = (Some("autoscaling/v2"), Some("HorizontalPodAutoscaler"));
    assert_eq!(granted, needed.chain([autoscalers]).collect());
}

#[test]
fn lists_each_resource_without_wildcards() {
    let metadata = metadata();
    let rules = rules(&metadata);
    for (resource, operations) in &rules {
        assert!(!resource.contains('*'), "{resource}");
        let expected = if resource.ends_with("/scale") { vec!["UPDATE"] } else { vec!["CREATE", "UPDATE"] };
        assert_eq!(*operations, expected.into_iter().collect(), "{resource}");
    }
    for kind in ServerKind::ALL {
        let resource = format!("{GROUP}/{}", plural(kind.name()));
        assert!(rules.iter().any(|(rule, _)| *rule == resource), "{resource}");
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

/// The name of a kind's resource.
fn plural(kind: &str) -> String {
    let name = kind.to_lowercase();
    name.strip_suffix('y').map_or_else(|| format!("{name}s"), |stem| format!("{stem}ies"))
}

#[test]
fn has_the_annotations_that_kubewarden_and_artifact_hub_read() {
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

fn is_valid(settings: &Value) -> bool {
    policy().validate_settings(settings).expect("the module answers").valid
}

/// The form has the defaults of the chart's values, because Rancher passes all of the form to the chart. `make generate` writes
/// what it asks about settings.
#[test]
fn asks_with_the_defaults_of_the_chart_in_ranchers_form() {
    let form = yaml("deploy/chart/questions.yaml");
    let values = yaml("deploy/chart/values.yaml");
    let questions = form["questions"].as_array().expect("is a list");
    assert!(questions.len() > 10, "{}", questions.len());
    for question in questions {
        let variable = question["variable"].as_str().expect("is text");
        if !variable.starts_with("policy.settings.") {
            let value = values.pointer(&format!("/{}", variable.replace('.', "/")));
            assert_eq!(value, Some(&question["default"]), "{variable}");
        }
    }
}

#[test]
fn repeats_the_metadata_for_artifact_hub() {
    let package = yaml("artifacthub-pkg.yml");
    let metadata = metadata();
    assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
    let inner = |key: &str| -> Value {
        serde_saphyr::from_str(package["annotations"][key].as_str().expect("is text")).expect("is YAML")
    };
    assert_eq!(inner("kubewarden/rules"), metadata["rules"]);
    assert_eq!(
        granted_lookups(&inner("kubewarden/contextAwareResources")),
        granted_lookups(&metadata["contextAwareResources"])
    );
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
    let install = package["install"].as_str().expect("is text");
    assert!(install.contains(&image), "{install}");
    // Since Kubewarden 1.37, the chart admission-controller takes the place of these.
    let package_text = text("artifacthub-pkg.yml");
    for chart in ["kubewarden-crds", "kubewarden-controller", "kubewarden-defaults"] {
        assert!(!package_text.contains(chart), "{chart} is deprecated");
    }
    // Readers of Artifact Hub have no clone of the repository.
    assert!(!install.contains("deploy/"), "{install}");
    let maintainer = &package["maintainers"][0];
    let author = metadata["annotations"]["io.kubewarden.policy.author"].as_str().expect("is text");
    let (name, email) = author.strip_suffix('>').and_then(|author| author.split_once(" <")).expect("is Name <mail>");
    assert_eq!((&maintainer["name"], &maintainer["email"]), (&json!(name), &json!(email)));
    assert_eq!(yaml("artifacthub-repo.yml")["owners"], package["maintainers"]);
    for (path, ..) in MANIFESTS {
        assert_eq!(manifest(path)["spec"]["module"], format!("registry://{image}"), "{path}");
    }
    let chart = yaml("deploy/chart/Chart.yaml");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(version), &json!(version)));
}

/// A manifest of the policy.
fn manifest(name: &str) -> Value {
    yaml(&format!("deploy/kubewarden/{name}.yaml"))
}

/// The manifests of the policy: the name, whether it is mutating, and its mode.
const MANIFESTS: [(&str, bool, &str); 4] = [
    ("mcpserver-scaling", true, "protect"),
    ("mcpserver-scaling-autoscalers", false, "protect"),
    ("mcpserver-scaling-guard", false, "protect"),
    ("mcpserver-scaling-monitor", false, "monitor"),
];

#[test]
fn has_manifests_with_valid_settings_and_timeouts() {
    for (name, is_mutating, mode) in MANIFESTS {
        let spec = &manifest(name)["spec"];
        assert_eq!((&spec["mutating"], &spec["mode"]), (&json!(is_mutating), &json!(mode)), "{name}");
        assert!(is_valid(&spec["settings"]), "{name}");
        assert!(spec["timeoutEvalSeconds"].as_u64() < spec["timeoutSeconds"].as_u64(), "{name}");
    }
}

#[test]
fn blocks_requests_without_a_policy_server_only_where_counts_are_corrected() {
    for (name, is_mutating, _) in MANIFESTS {
        let expected = if is_mutating { "Fail" } else { "Ignore" };
        assert_eq!(manifest(name)["spec"]["failurePolicy"], expected, "{name}");
    }
}

#[test]
fn rejects_with_the_guard_only_what_the_policy_would_change() {
    let guard = || manifest("mcpserver-scaling-guard")["spec"]["settings"].clone();
    let stdio = mcpserver(json!({}));
    let update_deployment: fn() -> Case = || update(deployment(1), deployment(3));
    let update_scale: fn() -> Case = || scale("deployments", &selector(Workload::Deployment), 1, 3);
    for case in [update_deployment, update_scale] {
        let admitted = case().lookup_finds(&stdio).run();
        assert_eq!(admitted.changes(), ["/spec/replicas=1"]);
        let (code, _) = case().settings(guard()).lookup_finds(&stdio).run().refusal().expect("is refused");
        assert_eq!(code, 422);
        let corrected = case().with_member("object", admitted.object()).settings(guard()).lookup_finds(&stdio).run();
        assert_eq!((corrected.refusal(), corrected.changes().len()), (None, 0));
    }
    let declaring = mcpserver(json!({"transport": "sse", "replicas": 2}));
    let drift = update(deployment(2), deployment(3)).settings(guard()).lookup_finds(&declaring).run();
    assert_eq!(drift.refusal().map(|(code, _)| code), Some(422), "another webhook raised the count after the policy");
    // The policy only warns about a declared count, so the guard accepts it.
    let declared = create(mcpserver(json!({"replicas": 3}))).settings(guard()).run();
    assert_eq!((declared.refusal(), declared.changes().len()), (None, 0));
}

#[test]
fn reports_with_the_monitor_what_the_policy_would_change_or_warn_about() {
    let monitor = || manifest("mcpserver-scaling-monitor")["spec"]["settings"].clone();
    let stdio = mcpserver(json!({}));
    // The audit scanner sends requests to create objects.
    assert!(create(deployment(3)).settings(monitor()).lookup_finds(&stdio).run().refusal().is_some());
    assert!(create(mcpserver(json!({"replicas": 3}))).settings(monitor()).run().refusal().is_some());
    let unshared = mcpserver(json!({"transport": "sse", "replicas": 3}));
    assert!(create(unshared).settings(monitor()).run().refusal().is_some());
    let declaring = mcpserver(json!({"transport": "sse", "replicas": 2, "sessionStorage": {"provider": "redis"}}));
    assert!(create(deployment(1)).settings(monitor()).lookup_finds(&declaring).run().refusal().is_some(), "it drifted");
    let unreachable = Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
    assert!(create(deployment(1)).settings(monitor()).host(unreachable).run().refusal().is_some(), "is unchecked");
    let fine = create(deployment(1)).settings(monitor()).lookup_finds(&stdio).run();
    assert_eq!((fine.refusal(), fine.changes().len()), (None, 0));
}

/// Every document, as a path in the repository.
fn documents() -> Vec<String> {
    let mut documents: Vec<String> =
        ["README.md", "usage.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(str::to_owned).into();
    for entry in fs::read_dir(repository().join("docs")).expect("exists") {
        let name = entry.expect("is readable").file_name().into_string().expect("is UTF-8");
        documents.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    documents
}

#[test]
fn links_only_to_files_that_exist() {
    let mut links = 0;
    for document in documents() {
        let folder = repository().join(&document).parent().expect("is in a folder").to_owned();
        let text = text(&document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().expect("has a first part");
            if !target.is_empty() && !target.contains("://") {
                assert!(folder.join(target).exists(), "{document}: {target}");
                links += 1;
            }
        }
        let code = text.split('`').skip(1).step_by(2);
        for path in code.filter(|code| code.starts_with("deploy/") || code.starts_with("scripts/")) {
            let path = path.split(' ').next().expect("has a first part");
            assert!(repository().join(path).exists(), "{document}: {path}");
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}
