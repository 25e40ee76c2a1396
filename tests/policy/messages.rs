//! The messages of Kubewarden's protocol, as its hosts read them.
//!
//! Source: [the policy specification](https://docs.kubewarden.io/reference/spec/intro-spec).

use std::sync::Arc;

use policy_host::cluster::Cluster;
use serde_json::{Value, json};

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
    let validate = |replicas: u32, settings: Value| {
        let case = create(mcpserver(json!({"transport": "stdio", "replicas": replicas}))).settings(settings);
        call("validate", &serde_json::from_str(&case.payload()).expect("is JSON"))
    };
    let names = |response: &Value| {
        let members = response.as_object().expect("is an object");
        members.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(validate(1, json!({})), json!({"accepted": true}));

    let warned = validate(3, json!({}));
    assert_eq!(names(&warned), ["accepted", "audit_annotations", "warnings"]);
    assert_eq!(warned["accepted"], true);
    assert!(warned["warnings"][0].is_string() && warned["audit_annotations"].is_object(), "{warned}");

    let refused = validate(3, json!({"declaredReplicas": "reject"}));
    assert_eq!((&refused["accepted"], &refused["code"]), (&json!(false), &json!(422)));
    assert!(refused["message"].is_string(), "{refused}");
    assert_eq!(names(&refused), ["accepted", "audit_annotations", "code", "message"]);

    let capped = validate(3, json!({"declaredReplicas": "cap"}));
    assert_eq!(capped["mutated_object"]["spec"]["replicas"], 1);
    assert_eq!(names(&capped), ["accepted", "audit_annotations", "mutated_object", "warnings"]);
}
