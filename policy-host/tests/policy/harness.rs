//! Requests to put to the module, and what comes of them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use policy_host::admission::{AdmissionRequest, AdmissionResponse};
use policy_host::cluster::Cluster;
use policy_host::host::Host;
use policy_host::policy::Policy;
use json_patch::PatchOperation;
use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use serde_json::{Value, json};

pub(crate) const OPERATOR: &str = "system:serviceaccount:toolhive-system:toolhive-operator";
/// The proxy runner of the `MCPServer` github.
pub(crate) const PROXY_RUNNER: &str = "system:serviceaccount:default:github-proxy-runner";
pub(crate) const PERSON: &str = "kubernetes-admin";

/// The folder of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
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

/// The payload of `validate`.
pub(crate) fn payload(request: &Value, settings: &Value) -> Vec<u8> {
    json!({"request": request, "settings": settings}).to_string().into_bytes()
}

/// A custom resource.
pub(crate) fn server(kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "toolhive.stacklok.dev/v1beta1",
        "kind": kind,
        "metadata": {"name": "github", "namespace": "default", "uid": "6f1c0a52"},
        "spec": spec
    })
}

/// An `MCPServer`.
pub(crate) fn mcpserver(spec: Value) -> Value {
    server("MCPServer", spec)
}

/// The Deployment of the `MCPServer` github, with 30 seconds of grace.
pub(crate) fn deployment(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "github",
            "namespace": "default",
            "labels": {
                "app": "mcpserver", "app.kubernetes.io/name": "mcpserver", "app.kubernetes.io/instance": "github",
                "toolhive": "true", "toolhive-name": "github"
            },
            "ownerReferences": [{
                "apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPServer", "name": "github", "uid": "6f1c0a52",
                "controller": true, "blockOwnerDeletion": true
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

/// The StatefulSet of the `MCPServer` github, which has no owner, with this transport on its label.
pub(crate) fn statefulset(replicas: u32, transport: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": "github",
            "namespace": "default",
            "labels": {
                "app": "github", "toolhive": "true", "toolhive-name": "github", "toolhive-basename": "github",
                "toolhive-port": "8080", "toolhive-transport": transport
            }
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "github"}},
            "template": {"spec": {"containers": [{"name": "mcp", "image": "github"}]}}
        }
    })
}

/// The label selector of the Deployment of the `MCPServer` github.
pub(crate) const DEPLOYMENT_SELECTOR: &str = "app=mcpserver,app.kubernetes.io/instance=github,app.kubernetes.io/name=mcpserver,toolhive=true,toolhive-name=github";
/// The label selector of its StatefulSet.
pub(crate) const STATEFULSET_SELECTOR: &str = "app=github";

/// A `Scale` of this many replicas. Zero is an absent field.
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

/// A person's `kubectl scale` of `deployments` or `statefulsets`.
pub(crate) fn scale(resource: &str, selector: &str, old: u32, new: u32) -> Case {
    let group_resource = json!({"group": "apps", "version": "v1", "resource": resource});
    update(scale_object(old, selector), scale_object(new, selector))
        .request("resource", group_resource.clone())
        .request("requestResource", group_resource)
        .request("subResource", json!("scale"))
        .request("requestSubResource", json!("scale"))
}

/// The object with the value at a JSON pointer set, or taken away where it is `None`.
pub(crate) fn with(mut object: Value, pointer: &str, value: impl Into<Option<Value>>) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("is a pointer");
    let parent = object.pointer_mut(parent).expect("the parent is there").as_object_mut();
    let parent = parent.expect("the parent is an object");
    match value.into() {
        Some(value) => parent.insert(name.replace("~1", "/"), value),
        None => parent.remove(&name.replace("~1", "/")),
    };
    object
}

/// A request and all that its verdict depends on.
pub(crate) struct Case {
    request: Value,
    settings: Value,
    host: Arc<dyn Host>,
}

/// The creation of an object by a person.
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
        host: Arc::new(|request: &GetResourceRequest| panic!("a lookup of {}/{}", request.api_version, request.kind)),
    }
}

/// The change of an object by a person.
pub(crate) fn update(old: Value, object: Value) -> Case {
    let mut case = create(object);
    case.request["operation"] = json!("UPDATE");
    case.request["oldObject"] = old;
    case
}

impl Case {
    pub(crate) fn by(mut self, username: &str) -> Self {
        self.request["userInfo"]["username"] = json!(username);
        self
    }

    pub(crate) fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// The same request with a member changed.
    pub(crate) fn request(mut self, name: &str, value: Value) -> Self {
        self.request[name] = value;
        self
    }

    /// The custom resource that a lookup finds. Without one, a lookup fails the test.
    pub(crate) fn finds(self, object: &Value) -> Self {
        self.host(Arc::new(Cluster::from_manifests(&object.to_string()).expect("is a manifest")))
    }

    pub(crate) fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.host = host;
        self
    }

    /// The payload as the host sends it.
    pub(crate) fn payload(&self) -> String {
        String::from_utf8(payload(&self.request, &self.settings)).expect("is UTF-8")
    }

    pub(crate) fn run(self) -> Outcome {
        let request = AdmissionRequest::from_json(&self.request.to_string()).expect("is a request");
        let lookups = Arc::new(Mutex::new(Vec::new()));
        let (host, seen) = (self.host, lookups.clone());
        let counting = move |request: &GetResourceRequest| {
            let GetResourceRequest { api_version, kind, name, namespace, .. } = request;
            let namespace = namespace.as_deref().unwrap_or_default();
            assert!(request.disable_cache, "a stale answer would undo the operator's change");
            assert!(request.field_masks.is_some(), "only the fields that decide are fetched");
            seen.lock().expect("no test panicked here").push(format!("{api_version} {kind} {namespace}/{name}"));
            host.get_resource(request)
        };
        let response = policy().validate(&request, &self.settings, Arc::new(counting)).expect("the module answers");
        let lookups = lookups.lock().expect("no test panicked here").clone();
        for warning in response.warnings.iter().flatten() {
            assert!(warning.chars().count() <= 120 && !warning.contains('\n'), "{warning:?}");
        }
        Outcome { before: request.object.clone().unwrap_or_default(), response, lookups }
    }
}

/// The count of a workload after the request, which must be let through.
#[track_caller]
pub(crate) fn admitted(case: Case) -> Value {
    let outcome = case.run();
    assert_eq!(outcome.refusal(), None);
    outcome.object()["spec"]["replicas"].clone()
}

/// What came of a request.
pub(crate) struct Outcome {
    pub(crate) response: AdmissionResponse,
    pub(crate) lookups: Vec<String>,
    before: Value,
}

impl Outcome {
    /// Each change as `path=new value`.
    pub(crate) fn changes(&self) -> Vec<String> {
        let patch = self.response.patch_operations().expect("is a patch");
        let change = |operation: &PatchOperation| match operation {
            PatchOperation::Add(add) => format!("{}={}", add.path, add.value),
            PatchOperation::Replace(replace) => format!("{}={}", replace.path, replace.value),
            other => panic!("the policy only adds and replaces: {other}"),
        };
        patch.0.iter().map(change).collect()
    }

    /// The object as it is after the patch.
    pub(crate) fn object(&self) -> Value {
        self.response.apply_to(&self.before).expect("the patch applies")
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.response.warnings.clone().unwrap_or_default()
    }

    /// Each audit annotation as `key=value`.
    pub(crate) fn annotations(&self) -> Vec<String> {
        let annotations = self.response.audit_annotations.iter().flatten();
        annotations.map(|(key, value)| format!("{key}={value}")).collect()
    }

    /// Code and message of the refusal.
    pub(crate) fn refusal(&self) -> Option<(u16, String)> {
        if self.response.allowed {
            assert_eq!(self.response.status, None, "a status belongs to a refusal");
            return None;
        }
        assert_eq!(self.response.patch, None, "a refused object is not changed");
        let status = self.response.status.clone().expect("a refusal has a status");
        Some((status.code.expect("has a code"), status.message.expect("has a message")))
    }

    /// Accepted, unchanged, without a word to anybody.
    #[track_caller]
    pub(crate) fn assert_silent(&self, what: &str) {
        assert!(self.response.allowed, "{what}: {:?}", self.response);
        assert_eq!(self.changes(), [""; 0], "{what}");
        assert_eq!(self.warnings(), [""; 0], "{what}");
        assert_eq!(self.annotations(), [""; 0], "{what}");
    }
}
