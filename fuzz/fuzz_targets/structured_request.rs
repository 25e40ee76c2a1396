//! Requests that look like requests, with values that may be anything: never a panic, changes only where the policy may
//! make them, and a second evaluation changes nothing more.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mcpserver_scaling_policy::evaluate;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A value of any type, mostly of the kind that counts are.
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

#[derive(Arbitrary, Debug)]
struct Spec {
    replicas: Any,
    backend_replicas: Any,
    transport: Option<u8>,
    odd_transport: Any,
    provider: Option<bool>,
    grace: Any,
    maximum: Any,
}

#[derive(Arbitrary, Debug)]
struct Input {
    kind: Kind,
    is_update: bool,
    user: u8,
    labels: Any,
    owner: bool,
    was_marked: bool,
    spec: Spec,
    old: Option<Spec>,
    found: Option<Spec>,
    settings: [u8; 5],
}

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
        self.grace.put(&mut pod, "terminationGracePeriodSeconds");
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
            None => self.odd_transport.put(&mut spec, "transport"),
        }
        if let Some(is_redis) = self.provider {
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
        if !matches!(self.labels, Any::Absent) {
            self.labels.put(&mut metadata, "labels");
        }
        if self.owner {
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
        let mut object = self.object(self.old.as_ref()?);
        if !self.was_marked {
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
                "onLookupFailure": pick(&lookup, self.settings[4])
            }
        })
        .to_string()
    }

    fn evaluate(&self, object: &Value) -> Value {
        let get = |_: &_| -> Result<Box<RawValue>, String> {
            let spec = self.found.as_ref().ok_or("unreachable")?.to_json();
            serde_json::from_str(&json!({"spec": spec}).to_string()).map_err(|error| error.to_string())
        };
        let response = evaluate(self.payload(object).as_bytes(), &get).expect("it is a request");
        serde_json::from_slice(&response).expect("a response is JSON")
    }
}

/// The object without what the policy may change.
fn without_changes(object: &Value) -> Value {
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
    let response = input.evaluate(&object);
    for warning in response["warnings"].as_array().into_iter().flatten() {
        let warning = warning.as_str().expect("a warning is a string");
        assert!(warning.chars().count() <= 120 && !warning.contains('\n'));
    }
    if let Some(mutated) = response.get("mutated_object") {
        assert_eq!(response["accepted"], true);
        assert_eq!(without_changes(mutated), without_changes(&object));
        assert_eq!(input.evaluate(mutated).get("mutated_object"), None, "once is enough");
    }
});
