//! The objects that ToolHive, its operator and people create.

use mcp_scaling_rules::kind::{GROUP, ServerKind};
use mcp_scaling_rules::labels;
use serde_json::{Value, json};

use crate::requests::text;

/// A custom resource of ToolHive's. `version` is the version of the API group; an image is added to a spec without one.
pub fn custom_resource(kind: ServerKind, version: &str, name: &str, mut spec: Value) -> Value {
    if spec["image"].is_null() {
        spec["image"] = "example/mcp".into();
    }
    json!({
        "apiVersion": format!("{GROUP}/{version}"), "kind": kind.name(), "metadata": {"name": name}, "spec": spec,
    })
}

/// The Deployment that the operator creates for a custom resource, as it came from the API server: its proxy runner.
pub fn deployment(owner: &Value, replicas: u32) -> Value {
    let (kind, name) = (text(&owner["kind"]), text(&owner["metadata"]["name"]));
    let app_name = ServerKind::from_kind(GROUP, &kind).map(ServerKind::app_name);
    let labels = json!({
        (labels::APP): app_name, (labels::APP_NAME): app_name, "app.kubernetes.io/instance": name,
        (labels::TOOLHIVE): labels::TOOLHIVE_VALUE, (labels::TOOLHIVE_NAME): name,
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [{
            "apiVersion": owner["apiVersion"], "kind": kind, "name": name, "uid": owner["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": true,
        }]},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "toolhive", "image": "example/proxyrunner"}]},
            },
        },
    })
}

/// Says whether the proxy runner of a Deployment starts this image, which is one of its arguments.
pub fn runs_image(deployment: &Value, image: &str) -> bool {
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    arguments.as_array().is_some_and(|arguments| arguments.iter().any(|argument| *argument == image))
}

/// The StatefulSet that the proxy runner creates for an `MCPServer` of this name and transport: its backend.
pub fn statefulset(name: &str, transport: &str, replicas: u32) -> Value {
    let labels = json!({
        (labels::APP): name, (labels::TOOLHIVE): labels::TOOLHIVE_VALUE, (labels::TOOLHIVE_NAME): name,
        "toolhive-basename": name, "toolhive-port": "8080", (labels::TOOLHIVE_TRANSPORT): transport,
    });
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas, "serviceName": name, "selector": {"matchLabels": {(labels::APP): name}},
            "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "mcp", "image": "example/mcp"}]},
            },
        },
    })
}

/// A HorizontalPodAutoscaler for the Deployment `target`.
pub fn autoscaler(name: &str, target: &str, maximum: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
        "spec": {
            "maxReplicas": maximum, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
        },
    })
}

/// A status condition with an empty message.
pub fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// A patch that stores the sessions of a custom resource in Redis.
pub fn redis_patch() -> Value {
    json!({"spec": {"sessionStorage": {"provider": "redis", "address": "redis:6379"}}})
}
