//! The messages of Kubewarden's protocol are those of the types in Kubewarden's SDK.

use std::collections::BTreeMap;
use std::sync::Arc;

use kubewarden_policy_sdk::protocol_version_guest;
use kubewarden_policy_sdk::response::ValidationResponse;
use kubewarden_policy_sdk::settings::SettingsValidationResponse;
use policy_host::cluster::Cluster;
use serde_json::{Value, json};

use fixtures::case::{Case, create, mcpserver, policy};

/// The response of the module to an operation.
fn call(operation: &str, payload: &str) -> Vec<u8> {
    let nothing_to_look_up = Arc::new(Cluster::default());
    policy().call(operation, payload.as_bytes(), nothing_to_look_up).expect("the module answers")
}

/// The response to a request, read with the SDK's type, which knows each of its members.
fn response(case: &Case) -> ValidationResponse {
    let response = call("validate", &case.payload());
    let members: BTreeMap<String, Value> = serde_json::from_slice(&response).expect("is an object");
    let read: ValidationResponse = serde_json::from_slice(&response).expect("is a response");
    let known = serde_json::to_value(&read).expect("is JSON");
    for (name, value) in members {
        assert_eq!(known.get(&name), Some(&value), "{name}");
    }
    read
}

#[test]
fn tells_the_protocol_version_of_the_sdk() {
    assert_eq!(call("protocol_version", ""), protocol_version_guest(&[]).expect("is a version"));
}

#[test]
fn answers_validate_settings_with_the_sdks_type() {
    let response = |settings: Value| {
        let response = call("validate_settings", &settings.to_string());
        serde_json::from_slice::<SettingsValidationResponse>(&response).expect("is a response")
    };
    let valid = response(json!({"stdioReplicas": "cap"}));
    assert!(valid.valid && valid.message.is_none(), "{valid:?}");
    let invalid = response(json!({"stdioReplicas": "none \"quoted\""}));
    assert!(!invalid.valid && invalid.message.is_some_and(|message| message.contains("stdioReplicas")));
}

#[test]
fn answers_validate_with_the_sdks_type() {
    let stdio = mcpserver(json!({"transport": "stdio", "replicas": 3}));
    let warned = response(&create(stdio.clone()));
    assert!(warned.accepted && warned.warnings.is_some() && warned.audit_annotations.is_some(), "{warned:?}");
    let refused = response(&create(stdio.clone()).settings(json!({"declaredReplicas": "reject"})));
    assert!(!refused.accepted && refused.message.is_some(), "{refused:?}");
    assert_eq!(refused.code, Some(422));
    let capped = response(&create(stdio).settings(json!({"declaredReplicas": "cap"})));
    assert_eq!(capped.mutated_object.expect("is changed")["spec"]["replicas"], 1);
}
