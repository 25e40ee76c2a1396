//! `validate_settings` through the real module, and that every part of the project speaks of the same settings.

use std::fs;

use policy_host::host::empty;
use kubewarden_policy_sdk::settings::SettingsValidationResponse;
use serde_json::{Value, json};

use crate::harness::{policy, repository};

/// Every setting with the values that it takes, the default first.
fn table() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        ("stdioReplicas", vec![json!("cap"), json!("reject"), json!("warn")]),
        ("declaredReplicas", vec![json!("warn"), json!("cap"), json!("reject")]),
        ("sessionStorage", vec![json!("warn"), json!("reject"), json!("ignore")]),
        ("defaultSessionStorage", vec![json!("memory"), json!("redis")]),
        ("terminationGracePeriodSeconds", vec![json!(30), json!(0), json!(3600)]),
        ("preserveScaling", vec![json!(true), json!(false)]),
        (
            "operatorServiceAccounts",
            vec![json!(["system:serviceaccount:toolhive-system:toolhive-operator"]), json!([]), json!(["a", "b"])],
        ),
        ("onLookupFailure", vec![json!("allow"), json!("reject")]),
    ]
}

fn refusal(settings: &Value) -> Option<String> {
    let answer = policy().validate_settings(settings).expect("the module answers");
    assert_eq!(answer.valid, answer.message.is_none());
    answer.message
}

#[test]
fn nothing_set_is_valid() {
    assert_eq!(refusal(&json!({})), None);
    assert_eq!(refusal(&json!(null)), None);
}

#[test]
fn every_value_of_the_table_is_valid() {
    for (key, values) in table() {
        for value in values {
            assert_eq!(refusal(&json!({key: value.clone()})), None, "{key}: {value}");
        }
    }
}

#[test]
fn what_is_not_in_the_table_is_refused_by_name() {
    for (key, _) in table() {
        for wrong in [json!(null), json!({}), json!(-1), json!(1.5), json!("x"), json!([7]), json!([""])] {
            let message = refusal(&json!({key: wrong.clone()})).unwrap_or_else(|| panic!("{key}: {wrong} is valid"));
            assert!(message.contains(key), "{message}");
        }
    }
    let message = refusal(&json!({"stdioReplica": "cap"})).expect("is unknown");
    assert!(message.contains("\"stdioReplica\"") && message.contains("preserveScaling"), "{message}");
}

#[test]
fn settings_that_are_no_settings() {
    for settings in [json!([]), json!("cap"), json!(7), json!(true)] {
        assert!(refusal(&settings).is_some(), "{settings}");
    }
    for bytes in [&b""[..], b"{", b"\xff", b"{\"stdioReplicas\":\"\xff\"}"] {
        let answer = policy().call("validate_settings", bytes, empty()).expect("the module answers");
        let answer: SettingsValidationResponse = serde_json::from_slice(&answer).expect("is a response");
        assert!(!answer.valid && answer.message.is_some());
    }
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("is there");
    for (key, values) in table() {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("README.md has no row for {key}"));
        let default = values[0].as_str().map_or_else(|| values[0].to_string(), str::to_owned);
        let default = default.trim_matches(['[', ']', '"']);
        let cell = row.split('|').nth(2).expect("has a cell");
        assert!(cell.trim_start().starts_with(&format!("`{default}`")), "{key}: {cell} does not begin with {default}");
    }
}
