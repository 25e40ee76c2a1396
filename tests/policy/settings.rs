//! Shows which settings `validate_settings` accepts, and that a refusal names the key.

use std::fs;

use mcp_scaling_rules::accounts::KEDA_OPERATOR;
use policy_host::host::empty;
use policy_host::policy::SettingsValidationResponse;
use serde_json::{Value, json};

use fixtures::{OPERATOR, policy, repository};

/// A setting of the policy.
pub(crate) struct Setting {
    /// Its name.
    pub(crate) key: &'static str,
    /// Valid values, the default first.
    pub(crate) values: Vec<Value>,
    /// Whether no other value is valid and each is a string.
    pub(crate) is_choice: bool,
}

impl Setting {
    fn choice(key: &'static str, values: &[&str]) -> Self {
        Self { key, values: values.iter().map(|value| json!(value)).collect(), is_choice: true }
    }

    fn free(key: &'static str, values: &[Value]) -> Self {
        Self { key, values: values.to_vec(), is_choice: false }
    }
}

/// Every setting of the policy.
pub(crate) fn settings() -> [Setting; 13] {
    [
        Setting::choice("stdioReplicas", &["cap", "reject", "warn"]),
        Setting::choice("declaredReplicas", &["warn", "cap", "reject"]),
        Setting::choice("sessionStorage", &["warn", "reject", "ignore"]),
        Setting::choice("defaultSessionStorage", &["memory", "redis"]),
        Setting::free("terminationGracePeriodSeconds", &[json!(30), json!(0), json!(3600)]),
        Setting::free("preStopSeconds", &[json!(0), json!(15)]),
        Setting::free("preserveScaling", &[json!(true), json!(false)]),
        Setting::free("keepBackendsOnScale", &[json!(true), json!(false)]),
        Setting::free("operatorServiceAccounts", &[json!([OPERATOR]), json!([]), json!(["a", "b"])]),
        Setting::free("controllerServiceAccounts", &[json!([KEDA_OPERATOR]), json!([]), json!(["a", "b"])]),
        Setting::choice("onLookupFailure", &["allow", "reject"]),
        Setting::free("readAutoscalers", &[json!(false), json!(true)]),
        Setting::choice("corrections", &["apply", "reject"]),
    ]
}

/// The message of a refusal; `None` where the settings are valid.
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
    for Setting { key, values, .. } in settings() {
        for value in values {
            assert_eq!(refusal(&json!({key: value.clone()})), None, "{key}: {value}");
        }
    }
}

#[test]
fn rejects_unknown_keys_and_wrong_values_by_key() {
    for Setting { key, .. } in settings() {
        for wrong in [json!(null), json!({}), json!(-1), json!(1.5), json!("x"), json!([7]), json!([""])] {
            let message = refusal(&json!({key: wrong.clone()})).unwrap_or_else(|| panic!("{key}: {wrong} is accepted"));
            assert!(message.contains(key), "{message}");
        }
    }
    let message = refusal(&json!({"stdioReplica": "cap"})).expect("is unknown");
    assert!(message.contains("\"stdioReplica\""), "{message}");
    for Setting { key, .. } in settings() {
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

#[test]
fn documents_the_key_of_each_field_of_the_type() {
    let source = fs::read_to_string(repository().join("src/settings.rs")).expect("exists");
    let documented: Vec<_> =
        source.lines().filter_map(|line| line.strip_prefix("    /// `")?.split('`').next()).collect();
    assert_eq!(documented, settings().map(|setting| setting.key));
}
