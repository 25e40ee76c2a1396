//! Sends well-formed requests whose fields have arbitrary values. The policy must not panic, must change only the fields that
//! it may change, and must change nothing in a second evaluation.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mcpserver_scaling_policy::{HostError, ResourceRequest, Response, validate};
use serde_json::{Value, json};

/// A JSON value of any type; `Small` is a likely count.
#[derive(Arbitrary, Debug)]
enum Any {
    Absent,
    Null,
    Flag(bool),
    Small(u8),
    Number(i64),
    Fraction(f64),
    Text(String),
    List,
    Object,
}

/// The kind of the request's object.
#[derive(Arbitrary, Debug)]
enum Kind {
    Server,
    VirtualServer,
    Deployment,
    StatefulSet,
    DeploymentScale,
    StatefulSetScale,
    Autoscaler,
    ScaledObject,
}

/// The spec of an object of any kind; each kind reads only some of its members.
#[derive(Arbitrary, Debug)]
struct Spec {
    replicas: Any,
    backend_replicas: Any,
    /// The index of a transport that exists.
    transport: Option<u8>,
    /// `spec.transport` if `transport` is absent.
    other_transport: Any,
    /// Says whether the storage is Redis; no storage if it is absent.
    is_redis: Option<bool>,
    grace_period: Any,
    /// The maximum of an autoscaler.
    maximum: Any,
}

/// A request, the custom resource that a lookup finds, and the settings.
#[derive(Arbitrary, Debug)]
struct Input {
    kind: Kind,
    is_update: bool,
    user: u8,
    labels: Any,
    has_controller: bool,
    /// The annotation that the policy writes for operators that reset counts.
    rolled_out: Any,
    /// Says whether the old object has the metadata of the new one.
    old_has_owner: bool,
    spec: Spec,
    old_spec: Option<Spec>,
    /// The spec of the custom resource; the lookup fails if it is absent.
    found_spec: Option<Spec>,
    /// The generation of the custom resource.
    generation: Option<u8>,
    /// The items of a list of autoscalers, each with the index of a target and its spec; the list cannot be read if it is
    /// absent.
    autoscalers: Option<Vec<(u8, Spec)>>,
    /// Indexes of the values of the settings.
    settings: [u8; 6],
}

/// The choice at this index, counted around the end of the list.
fn pick<'c>(choices: &[&'c str], index: u8) -> &'c str {
    choices[usize::from(index) % choices.len()]
}

impl Any {
    fn put(&self, object: &mut Value, name: &str) {
        object[name] = match self {
            Self::Absent => return,
            Self::Null => Value::Null,
            Self::Flag(flag) => json!(flag),
            Self::Small(number) => json!(number % 5),
            Self::Number(number) => json!(number),
            Self::Fraction(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::List => json!([]),
            Self::Object => json!({}),
        };
    }
}

impl Spec {
    fn to_json(&self) -> Value {
        let mut pod = json!({});
        self.grace_period.put(&mut pod, "terminationGracePeriodSeconds");
        let mut spec = json!({
            "template": {"spec": pod},
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "github"}
        });
        self.replicas.put(&mut spec, "replicas");
        self.backend_replicas.put(&mut spec, "backendReplicas");
        self.maximum.put(&mut spec, "maxReplicas");
        self.maximum.put(&mut spec, "maxReplicaCount");
        match self.transport {
            Some(index) => spec["transport"] = json!(pick(&["stdio", "sse", "streamable-http"], index)),
            None => self.other_transport.put(&mut spec, "transport"),
        }
        if let Some(is_redis) = self.is_redis {
            spec["sessionStorage"] = json!({"provider": if is_redis { "redis" } else { "memory" }});
        }
        spec
    }
}

impl Input {
    /// Group and kind of the object, subresource, and the resource that the request goes to.
    fn target(&self) -> (&str, &str, &str, &str) {
        match self.kind {
            Kind::Server => ("toolhive.stacklok.dev", "MCPServer", "", "mcpservers"),
            Kind::VirtualServer => ("toolhive.stacklok.dev", "VirtualMCPServer", "", "virtualmcpservers"),
            Kind::Deployment => ("apps", "Deployment", "", "deployments"),
            Kind::StatefulSet => ("apps", "StatefulSet", "", "statefulsets"),
            Kind::DeploymentScale => ("autoscaling", "Scale", "scale", "deployments"),
            Kind::StatefulSetScale => ("autoscaling", "Scale", "scale", "statefulsets"),
            Kind::Autoscaler => ("autoscaling", "HorizontalPodAutoscaler", "", "horizontalpodautoscalers"),
            Kind::ScaledObject => ("keda.sh", "ScaledObject", "", "scaledobjects"),
        }
    }

    fn object(&self, spec: &Spec) -> Value {
        let mut metadata = json!({"name": "github", "labels": {"toolhive": "true", "toolhive-name": "github"}});
        self.rolled_out.put(&mut metadata["annotations"], "mcpserver-scaling-policy/rolled-out");
        if !matches!(self.labels, Any::Absent) {
            self.labels.put(&mut metadata, "labels");
        }
        if self.has_controller {
            metadata["ownerReferences"] = json!([{
                "apiVersion": "toolhive.stacklok.dev/v1alpha1", "kind": "MCPServer", "name": "github", "controller": true
            }]);
        }
        let selector = match self.kind {
            Kind::StatefulSetScale => "app=github",
            _ => "toolhive=true,toolhive-name=github",
        };
        json!({
            "kind": self.target().1, "metadata": metadata, "spec": spec.to_json(), "status": {"selector": selector}
        })
    }

    fn old_object(&self) -> Option<Value> {
        let mut object = self.object(self.old_spec.as_ref()?);
        if !self.old_has_owner {
            object["metadata"] = json!({"name": "github"});
        }
        Some(object)
    }

    fn payload(&self, object: &Value) -> String {
        let (group, kind, sub_resource, resource) = self.target();
        let excess = ["cap", "reject", "warn"];
        let sessions = ["warn", "reject", "ignore"];
        let lookup = ["allow", "reject"];
        let users = ["admin", "system:serviceaccount:toolhive-system:toolhive-operator"];
        json!({
            "request": {
                "kind": {"group": group, "version": "v1", "kind": kind},
                "resource": {"group": "apps", "version": "v1", "resource": resource},
                "subResource": sub_resource,
                "name": "github",
                "namespace": "default",
                "operation": if self.is_update { "UPDATE" } else { "CREATE" },
                "userInfo": {"username": pick(&users, self.user)},
                "object": object,
                "oldObject": self.old_object()
            },
            "settings": {
                "stdioReplicas": pick(&excess, self.settings[0]),
                "declaredReplicas": pick(&excess, self.settings[1]),
                "sessionStorage": pick(&sessions, self.settings[2]),
                "preserveScaling": self.settings[3] % 2 == 0,
                "onLookupFailure": pick(&lookup, self.settings[4]),
                "readAutoscalers": self.settings[5] % 2 == 0
            }
        })
        .to_string()
    }

    /// The response to the request with this object.
    fn validate(&self, object: &Value) -> Response {
        let get = |request: &ResourceRequest<'_>| {
            if request.kind == "HorizontalPodAutoscaler" {
                let items = self.autoscalers.as_ref().ok_or_else(|| HostError("forbidden".to_owned()))?;
                let items: Vec<Value> = items.iter().map(|(target, spec)| autoscaler(*target, spec)).collect();
                return Ok(json!({"items": items}).to_string());
            }
            let spec = self.found_spec.as_ref().ok_or_else(|| HostError("unreachable".to_owned()))?.to_json();
            Ok(json!({"metadata": {"generation": self.generation}, "spec": spec}).to_string())
        };
        validate(self.payload(object).as_bytes(), &get).expect("the payload is a request")
    }
}

/// An autoscaler of a workload with the server's name, or of something else.
fn autoscaler(target: u8, spec: &Spec) -> Value {
    let mut autoscaler = json!({"metadata": {"name": "web"}, "spec": spec.to_json()});
    autoscaler["spec"]["scaleTargetRef"]["kind"] = json!(pick(&["Deployment", "StatefulSet", "Job"], target));
    if target >= 128 {
        let owner =
            json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "queue", "controller": true});
        autoscaler["metadata"]["ownerReferences"] = json!([owner]);
    }
    autoscaler
}

/// The object without the fields that the policy may change.
fn without_changeable_fields(object: &Value) -> Value {
    let mut object = object.clone();
    for (parent, name) in [
        ("/spec", "replicas"),
        ("/spec", "backendReplicas"),
        ("/spec/template/spec", "terminationGracePeriodSeconds"),
        ("/metadata", "annotations"),
    ] {
        if let Some(members) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
            members.remove(name);
        }
    }
    object
}

fuzz_target!(|input: Input| {
    let object = input.object(&input.spec);
    let response = input.validate(&object);
    for warning in response.warnings {
        assert!(warning.chars().count() <= 120 && !warning.contains('\n'));
    }
    if let Some(mutated) = response.mutated_object {
        assert!(response.refusal.is_none());
        assert_eq!(without_changeable_fields(&mutated), without_changeable_fields(&object));
        assert!(input.validate(&mutated).mutated_object.is_none(), "a second evaluation changes nothing");
    }
});
