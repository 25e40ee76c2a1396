//! The objects that ToolHive, its operator and people create.

pub use fixtures::objects::{custom_resource, deployment, statefulset};
use serde_json::{Value, json};

/// Says whether the proxy runner of a Deployment starts this image, which is one of its arguments.
pub fn runs_image(deployment: &Value, image: &str) -> bool {
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    arguments.as_array().is_some_and(|arguments| arguments.iter().any(|argument| *argument == image))
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
