//! The module parses an object that it changes and writes it again. The host computes the patch from what it sent and what
//! it gets back, both parsed by `serde_json`: only the change may be in it, whatever else the object holds.
//!
//! The module is built with a feature of `serde_json` that this program has only if it is built with the whole workspace
//! (`float_roundtrip`). A host without it reads some floating-point numbers as a neighbour of what it wrote, which changes
//! them whatever the module does; here the numbers are those that it reads as it wrote them.

use std::sync::Arc;

use policy_host::host::GetResourceRequest;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use fixtures::case::{create, deployment, mcpserver, policy, with};

/// Texts of numbers that are easily read or written in another way.
const NUMBERS: [&str; 21] = [
    "0",
    "-0",
    "-0.0",
    "1.0",
    "1e3",
    "1E+2",
    "1e-7",
    "0.1",
    "0.30000000000000004",
    "2.2250738585072011e-308",
    "5e-324",
    "1.7976931348623157e308",
    "9007199254740993",
    "9007199254740993.0",
    "-9223372036854775808",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890",
    "0.1234567890123456789",
    "1e23",
];

/// The text of a Deployment of ToolHive's with 3 replicas and this member in its spec.
fn text_with(member: &str) -> String {
    deployment(3).to_string().replacen(r#""spec":{"#, &format!(r#""spec":{{"x":{member},"#), 1)
}

/// Sends a request to create the object with this text, of a `stdio` server. The result is the object that comes back.
fn changed(object: &str) -> Option<Value> {
    let case = create(deployment(3)).with_member("object", json!("@")).payload();
    let finds_stdio = |_: &GetResourceRequest| Ok(br#"{"spec":{"transport":"stdio"}}"#.to_vec());
    let payload = case.replace(r#""@""#, object);
    let response = policy().call("validate", payload.as_bytes(), Arc::new(finds_stdio)).expect("the module answers");
    let response: Value = serde_json::from_slice(&response).expect("is JSON");
    Some(response["mutated_object"].clone()).filter(|object| !object.is_null())
}

/// The value as this host reads it again and again, if it does.
fn settled(mut value: Value) -> Option<Value> {
    for _ in 0..10 {
        let read = serde_json::from_str(&value.to_string()).expect("is JSON");
        if read == value {
            return Some(value);
        }
        value = read;
    }
    None
}

/// What the host would get back if the module returned the text as it is, but for the count.
fn expected(text: &str) -> Value {
    with(serde_json::from_str(text).expect("is JSON"), "/spec/replicas", json!(1))
}

/// JSON of any kind, with members in any order and with names that need escapes.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::from),
            vec((any::<String>(), inner), 0..8).prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changes_the_count_and_nothing_else(value in any_json()) {
        let text = text_with(&value.to_string());
        prop_assert_eq!(changed(&text), Some(expected(&text)));
        if let Some(value) = settled(value) {
            let outcome = create(with(deployment(3), "/spec/x", value)).lookup_finds(&mcpserver(json!({}))).run();
            prop_assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
        }
    }

    #[test]
    fn keeps_each_float(float in any::<f64>().prop_filter("JSON has finite numbers only", |float| float.is_finite())) {
        let text = text_with(&json!(float).to_string());
        let object = changed(&text).expect("is changed");
        prop_assert_eq!(&object["spec"]["x"], &expected(&text)["spec"]["x"]);
    }
}

#[test]
fn keeps_numbers_however_they_are_written() {
    for number in NUMBERS {
        // A host parses the request before it writes it for the module.
        let text = text_with(&serde_json::from_str::<Value>(number).expect(number).to_string());
        assert_eq!(changed(&text), Some(expected(&text)), "{number}");
    }
}

#[test]
fn accepts_an_object_as_it_is_with_a_number_that_no_host_reads() {
    assert!(serde_json::from_str::<Value>("1e400").is_err());
    assert_eq!(changed(&text_with("1e400")), None);
}

#[test]
fn keeps_a_value_at_any_depth_that_a_host_reads() {
    for depth in [1, 50, 100, 120] {
        let text = text_with(&format!("{}1.5{}", "[".repeat(depth), "]".repeat(depth)));
        assert_eq!(changed(&text), Some(expected(&text)), "{depth}");
        let text = text_with(&format!("{}1.5{}", r#"{"a":"#.repeat(depth), "}".repeat(depth)));
        assert_eq!(changed(&text), Some(expected(&text)), "{depth}");
    }
}
