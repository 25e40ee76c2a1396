//! Shows which settings `validate_settings` accepts, and that a refusal names the key.

use mcpserver_scaling_policy::settings::{SETTINGS, Setting, Values};
use policy_host::host::empty;
use policy_host::policy::SettingsValidationResponse;
use serde_json::{Value, json};

use fixtures::case::policy;

/// Values of a setting that are valid, the default among them.
fn valid_values(setting: &Setting) -> Vec<Value> {
    let others = match setting.values {
        Values::Choice(names) => names.iter().map(|name| json!(name)).collect(),
        Values::Seconds => vec![json!(0), json!(3600)],
        Values::Boolean => vec![json!(true), json!(false)],
        Values::UserNames => vec![json!([]), json!(["a", "b"])],
    };
    [vec![(setting.default)()], others].concat()
}

/// The message of a refusal; `None` if the settings are valid.
fn refusal(settings: &Value) -> Option<String> {
    let response = policy().validate_settings(settings).expect("the module answers");
    assert_eq!(response.valid, response.message.is_none());
    response.message
}

#[test]
fn accepts_empty_settings() {
    assert_eq!(refusal(&json!({})), None);
    assert_eq!(refusal(&json!(null)), None);
}

#[test]
fn accepts_every_documented_value() {
    for setting in SETTINGS {
        let key = setting.key;
        for value in valid_values(setting) {
            assert_eq!(refusal(&json!({key: value.clone()})), None, "{key}: {value}");
        }
    }
}

#[test]
fn rejects_unknown_keys_and_wrong_values_by_key() {
    for key in SETTINGS.iter().map(|setting| setting.key) {
        for wrong in [json!(null), json!({}), json!(-1), json!(1.5), json!("x"), json!([7]), json!([""])] {
            let message = refusal(&json!({key: wrong.clone()})).unwrap_or_else(|| panic!("{key}: {wrong} is accepted"));
            assert!(message.contains(key), "{message}");
        }
    }
    let message = refusal(&json!({"stdioReplica": "cap"})).expect("is unknown");
    assert!(message.contains("\"stdioReplica\""), "{message}");
    for key in SETTINGS.iter().map(|setting| setting.key) {
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn rejects_settings_that_are_no_object() {
    for settings in [json!([]), json!("cap"), json!(7), json!(true)] {
        assert!(refusal(&settings).is_some(), "{settings}");
    }
    for bytes in [&b""[..], b"{", b"\xff", b"{\"stdioReplicas\":\"\xff\"}"] {
        let response = policy().call("validate_settings", bytes, empty()).expect("the module answers");
        let response: SettingsValidationResponse = serde_json::from_slice(&response).expect("is a response");
        assert!(!response.valid && response.message.is_some());
    }
}
