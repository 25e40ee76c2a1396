//! The messages of Kubewarden's protocol, as its hosts read them.
//!
//! Source: [the policy specification](https://docs.kubewarden.io/reference/spec/intro-spec).

use policy_host::cluster::Cluster;
use serde_json::{Value, json};
use std::sync::Arc;

use fixtures::case::{create, mcpserver, policy};

/// The members of the module's response to an operation that are there.
fn call(operation: &str, payload: &Value) -> Value {
    let response = policy()
        .call(operation, payload.to_string().as_bytes(), Arc::new(Cluster::default()))
        .expect("the module answers");
    let mut response = serde_json::from_slice(&response).expect("is JSON");
    if let Value::Object(members) = &mut response {
        members.retain(|_, member| !member.is_null());
    }
    response
}

#[test]
fn tells_its_protocol_version() {
    assert_eq!(call("protocol_version", &Value::Null), json!("v1"));
}

#[test]
fn answers_validate_settings() {
    assert_eq!(call("validate_settings", &json!({"stdioReplicas": "cap"})), json!({"valid": true}));
    let invalid = call("validate_settings", &json!({"stdioReplicas": "none \"quoted\""}));
    assert_eq!(invalid["valid"], false);
    assert!(invalid["message"].as_str().is_some_and(|message| message.contains("stdioReplicas")), "{invalid}");
    assert_eq!(invalid.as_object().map(serde_json::Map::len), Some(2));
}

#[test]
fn answers_validate() {
    let validate = |transport: &str, settings: Value| {
        let case = create(mcpserver(json!({"transport": transport, "replicas": 3}))).settings(settings);
        call("validate", &serde_json::from_str(&case.payload()).expect("is JSON"))
    };
    let names = |response: &Value| {
        let members = response.as_object().expect("is an object");
        members.keys().cloned().collect::<Vec<_>>()
    };
    let ignored = validate("sse", json!({"sessionStorage": "ignore"}));
    assert_eq!(ignored["accepted"], true);

    let warned = validate("stdio", json!({}));
    assert_eq!(names(&warned), ["accepted", "audit_annotations", "warnings"]);
    assert_eq!(warned["accepted"], true);
    assert!(warned["warnings"][0].is_string() && warned["audit_annotations"].is_object(), "{warned}");

    let refused = validate("stdio", json!({"declaredReplicas": "reject"}));
    assert_eq!((&refused["accepted"], &refused["code"]), (&json!(false), &json!(422)));
    assert!(refused["message"].is_string(), "{refused}");

    let capped = validate("stdio", json!({"declaredReplicas": "cap"}));
    assert_eq!(capped["mutated_object"]["spec"]["replicas"], 1);
}
