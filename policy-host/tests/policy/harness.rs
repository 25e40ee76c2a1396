//! Builders for the objects and requests that the tests send to the module, and the outcome of a request.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use json_patch::PatchOperation;
pub(crate) use mcp_scaling_rules::accounts::OPERATOR;
use mcp_scaling_rules::kind::API_VERSIONS;
use mcp_scaling_rules::{ServerKind, Workload, labels};
use policy_host::admission::{AdmissionRequest, AdmissionResponse};
use policy_host::cluster::Cluster;
use policy_host::host::{GetResourceRequest, Host, ListResourcesRequest};
use policy_host::policy::Policy;
use serde_json::{Value, json};

/// The user name of the proxy runner of the `MCPServer` github.
pub(crate) const PROXY_RUNNER: &str = "system:serviceaccount:default:github-proxy-runner";
/// The user name of a person.
pub(crate) const PERSON: &str = "kubernetes-admin";
/// The user name of the Kubernetes controller that runs HorizontalPodAutoscalers.
pub(crate) const AUTOSCALER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// The grace period of a Deployment's pods, as a JSON pointer.
pub(crate) const GRACE_PERIOD: &str = "/spec/template/spec/terminationGracePeriodSeconds";

/// The root folder of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The empty guest, which `make test` builds into cargo's target folder.
pub(crate) fn empty_guest_path() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("empty-guest.wasm")
}

/// The module that `make policy.wasm` built.
pub(crate) fn policy() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| {
        // The module logs only when it panics.
        let log = |level: &str, message: &str| panic!("the module logged: {level} {message}");
        Policy::from_file(&repository().join("policy.wasm")).expect("is built").with_log(Arc::new(log))
    })
}

/// The payload of `validate` for a request with these settings.
pub(crate) fn payload(request: &Value, settings: &Value) -> Vec<u8> {
    json!({"request": request, "settings": settings}).to_string().into_bytes()
}

/// The custom resource github of this kind, at ToolHive's newest API version.
pub(crate) fn server(kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": API_VERSIONS[0],
        "kind": kind,
        "metadata": {"name": "github", "namespace": "default", "uid": "6f1c0a52"},
        "spec": spec
    })
}

/// The `MCPServer` github.
pub(crate) fn mcpserver(spec: Value) -> Value {
    server(ServerKind::McpServer.name(), spec)
}

/// The Deployment of the `MCPServer` github, with a grace period of 30 seconds.
pub(crate) fn deployment(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "github",
            "namespace": "default",
            "labels": {
                labels::APP: ServerKind::McpServer.app_name(),
                labels::APP_NAME: ServerKind::McpServer.app_name(),
                "app.kubernetes.io/instance": "github",
                labels::TOOLHIVE: labels::TOOLHIVE_VALUE,
                labels::TOOLHIVE_NAME: "github"
            },
            "ownerReferences": [{
                "apiVersion": API_VERSIONS[0], "kind": ServerKind::McpServer.name(), "name": "github",
                "uid": "6f1c0a52", "controller": true, "blockOwnerDeletion": true
            }]
        },
        "spec": {
            "replicas": replicas,
            "template": {"spec": {
                "containers": [{"name": "toolhive", "image": "proxyrunner"}],
                "terminationGracePeriodSeconds": 30
            }}
        }
    })
}

/// The StatefulSet of the `MCPServer` github, without an owner reference and with this value of the transport label.
pub(crate) fn statefulset(replicas: u32, transport: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": "github",
            "namespace": "default",
            "labels": {
                labels::APP: "github",
                labels::TOOLHIVE: labels::TOOLHIVE_VALUE,
                labels::TOOLHIVE_NAME: "github",
                "toolhive-basename": "github",
                "toolhive-port": "8080",
                labels::TOOLHIVE_TRANSPORT: transport
            }
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {labels::APP: "github"}},
            "template": {"spec": {"containers": [{"name": "mcp", "image": "github"}]}}
        }
    })
}

/// The label selector of the Deployment of the `MCPServer` github.
pub(crate) const DEPLOYMENT_SELECTOR: &str = "app=mcpserver,app.kubernetes.io/instance=github,app.kubernetes.io/name=mcpserver,toolhive=true,toolhive-name=github";
/// The label selector of the StatefulSet of the `MCPServer` github.
pub(crate) const STATEFULSET_SELECTOR: &str = "app=github";

/// A Scale with this count and label selector. The API server leaves a count of 0 out.
pub(crate) fn scale_object(replicas: u32, selector: &str) -> Value {
    let spec = if replicas == 0 { json!({}) } else { json!({"replicas": replicas}) };
    json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "github", "namespace": "default", "uid": "0a1b", "resourceVersion": "7"},
        "spec": spec,
        "status": {"replicas": 1, "selector": selector}
    })
}

/// The label selector of a workload of the `MCPServer` github.
pub(crate) fn selector(workload: Workload) -> &'static str {
    match workload {
        Workload::Deployment => DEPLOYMENT_SELECTOR,
        Workload::StatefulSet => STATEFULSET_SELECTOR,
    }
}

/// A person's `kubectl scale` of the object github of this resource in the group `apps`, which has this label selector.
pub(crate) fn scale(resource: &str, selector: &str, old: u32, new: u32) -> Case {
    let group_resource = json!({"group": "apps", "version": "v1", "resource": resource});
    update(scale_object(old, selector), scale_object(new, selector))
        .with_member("resource", group_resource.clone())
        .with_member("requestResource", group_resource)
        .with_member("subResource", json!("scale"))
        .with_member("requestSubResource", json!("scale"))
}

/// The object with the value at a JSON pointer set, or removed where it is `None`.
pub(crate) fn with(mut object: Value, pointer: &str, value: impl Into<Option<Value>>) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("is a pointer");
    let parent = object.pointer_mut(parent).expect("the parent exists").as_object_mut();
    let parent = parent.expect("the parent is an object");
    match value.into() {
        Some(value) => parent.insert(name.replace("~1", "/"), value),
        None => parent.remove(&name.replace("~1", "/")),
    };
    object
}

/// A request, the settings of the policy, and the host that answers lookups.
pub(crate) struct Case {
    request: Value,
    settings: Value,
    host: Arc<dyn Host>,
}

/// A person's request to create an object. A lookup fails the test.
pub(crate) fn create(object: Value) -> Case {
    let api_version = object["apiVersion"].as_str().expect("has a version");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object["kind"].as_str().expect("has a kind");
    let resource = format!("{}s", kind.to_lowercase());
    Case {
        request: json!({
            "uid": "0fd630f1",
            "kind": {"group": group, "version": version, "kind": kind},
            "resource": {"group": group, "version": version, "resource": resource},
            "requestKind": {"group": group, "version": version, "kind": kind},
            "requestResource": {"group": group, "version": version, "resource": resource},
            "name": object["metadata"]["name"],
            "namespace": "default",
            "operation": "CREATE",
            "userInfo": {"username": PERSON, "groups": ["system:authenticated"]},
            "object": object,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
        }),
        settings: json!({}),
        host: Arc::new(|request: &GetResourceRequest| {
            panic!("unexpected lookup of {}/{}", request.api_version, request.kind)
        }),
    }
}

/// A person's request to update an object. A lookup fails the test.
pub(crate) fn update(old: Value, object: Value) -> Case {
    let mut case = create(object);
    case.request["operation"] = json!("UPDATE");
    case.request["oldObject"] = old;
    case
}

impl Case {
    /// The same request made by another user.
    pub(crate) fn by(mut self, username: &str) -> Self {
        self.request["userInfo"]["username"] = json!(username);
        self
    }

    /// The same request with these settings of the policy.
    pub(crate) fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// The same request with this value of a member of the `AdmissionRequest`.
    pub(crate) fn with_member(mut self, name: &str, value: Value) -> Self {
        self.request[name] = value;
        self
    }

    /// The same request in a cluster that holds this custom resource.
    pub(crate) fn lookup_finds(self, object: &Value) -> Self {
        self.host(Arc::new(Cluster::from_manifests(&object.to_string()).expect("is a manifest")))
    }

    /// The same request with another host to answer lookups.
    pub(crate) fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.host = host;
        self
    }

    /// The payload as the host sends it.
    pub(crate) fn payload(&self) -> String {
        String::from_utf8(payload(&self.request, &self.settings)).expect("is UTF-8")
    }

    /// Has the module validate the request.
    pub(crate) fn run(self) -> Outcome {
        let request = AdmissionRequest::from_json(&self.request.to_string()).expect("is a request");
        let lookups = Arc::new(Mutex::new(Vec::new()));
        let (host, recorded) = (self.host, lookups.clone());
        let recording_host = Arc::new(RecordingHost { host, recorded });
        let response = policy().validate(&request, &self.settings, recording_host).expect("the module answers");
        let lookups = lookups.lock().expect("the lock is not poisoned").clone();
        for warning in response.warnings.iter().flatten() {
            assert!(
                warning.chars().count() <= 120 && !warning.contains('\n'),
                "the warning must be a short line: {warning:?}"
            );
        }
        Outcome { before: request.object.clone().unwrap_or_default(), response, lookups }
    }
}

/// Records the lookups that another host answers.
struct RecordingHost {
    host: Arc<dyn Host>,
    recorded: Arc<Mutex<Vec<String>>>,
}

impl RecordingHost {
    fn record(&self, lookup: String) {
        self.recorded.lock().expect("the lock is not poisoned").push(lookup);
    }
}

impl Host for RecordingHost {
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        let GetResourceRequest { api_version, kind, name, namespace, .. } = request;
        assert!(request.disable_cache, "the lookup must not be answered from the host's cache");
        assert!(request.field_masks.is_some(), "the lookup must fetch only the fields that decide");
        self.record(format!("{api_version} {kind} {}/{name}", namespace.as_deref().unwrap_or_default()));
        self.host.get_resource(request)
    }

    fn list_resources(&self, request: &ListResourcesRequest) -> Result<Vec<u8>, String> {
        let ListResourcesRequest { api_version, kind, namespace, .. } = request;
        assert!(request.field_masks.is_some(), "the lookup must fetch only the fields that decide");
        self.record(format!("{api_version} {kind} {namespace}/*"));
        self.host.list_resources(request)
    }
}

/// The count of the object after the request, which must be accepted.
#[track_caller]
pub(crate) fn admitted(case: Case) -> Value {
    let outcome = case.run();
    assert_eq!(outcome.refusal(), None);
    outcome.object()["spec"]["replicas"].clone()
}

/// The response of the policy to a request.
pub(crate) struct Outcome {
    pub(crate) response: AdmissionResponse,
    /// The lookups that the module made, each as `apiVersion kind namespace/name`, with `*` as the name of a list.
    pub(crate) lookups: Vec<String>,
    before: Value,
}

impl Outcome {
    /// Each operation of the patch as `path=new value`.
    pub(crate) fn changes(&self) -> Vec<String> {
        let patch = self.response.patch_operations().expect("is a patch");
        let change = |operation: &PatchOperation| match operation {
            PatchOperation::Add(add) => format!("{}={}", add.path, add.value),
            PatchOperation::Replace(replace) => format!("{}={}", replace.path, replace.value),
            PatchOperation::Remove(remove) => format!("{}=removed", remove.path),
            other => panic!("the policy only adds, replaces and removes: {other}"),
        };
        patch.0.iter().map(change).collect()
    }

    /// The request's object after the patch.
    pub(crate) fn object(&self) -> Value {
        self.response.apply_to(&self.before).expect("the patch applies")
    }

    /// The warnings, in the order of the response.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.response.warnings.clone().unwrap_or_default()
    }

    /// Each audit annotation as `key=value`, by key.
    pub(crate) fn annotations(&self) -> Vec<String> {
        let annotations = self.response.audit_annotations.iter().flatten();
        annotations.map(|(key, value)| format!("{key}={value}")).collect()
    }

    /// Code and message of the refusal; `None` where the request is accepted.
    pub(crate) fn refusal(&self) -> Option<(u16, String)> {
        if self.response.allowed {
            assert_eq!(self.response.status, None, "an accepted request has no status");
            return None;
        }
        assert_eq!(self.response.patch, None, "a refused request has no patch");
        let status = self.response.status.clone().expect("a refusal has a status");
        Some((status.code.expect("has a code"), status.message.expect("has a message")))
    }

    /// Asserts that the request is accepted without a change, a warning or an audit annotation. `case` describes the
    /// request in the message of a failure.
    #[track_caller]
    pub(crate) fn assert_accepted_as_is(&self, case: &str) {
        assert!(self.response.allowed, "{case}: {:?}", self.response);
        assert_eq!(self.changes(), [""; 0], "{case}");
        assert_eq!(self.warnings(), [""; 0], "{case}");
        assert_eq!(self.annotations(), [""; 0], "{case}");
    }
}
