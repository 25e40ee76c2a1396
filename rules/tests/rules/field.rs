//! Reading fields of JSON that nobody validated.

use mcp_scaling_rules::Field::{self, Absent, Malformed, Value};
use serde::Deserialize;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Outer {
    text: Field<String>,
    flag: Field<bool>,
    count: Field<u32>,
    inner: Field<Inner>,
    list: Field<Vec<Field<Inner>>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Inner {
    a: Field<String>,
    b: Field<String>,
}

fn outer(json: &str) -> Outer {
    serde_json::from_str::<Field<Outer>>(json).expect(json).value().expect(json)
}

fn text(text: &str) -> Field<String> {
    Value(text.to_owned())
}

#[test]
fn reads_what_is_named_and_skips_the_rest() {
    assert_eq!(
        outer(
            r#"{"x":{"text":9},"text":"\u0061\n","inner":{"c":[1],"a":"1"},"flag":true,"count":3,"list":[{"b":"2"}]}"#
        ),
        Outer {
            text: text("a\n"),
            flag: Value(true),
            count: Value(3),
            inner: Value(Inner { a: text("1"), b: Absent }),
            list: Value(vec![Value(Inner { a: Absent, b: text("2") })]),
        }
    );
}

#[test]
fn reads_null_as_absent() {
    assert_eq!(outer(r#"{"text":null,"flag":null,"count":null,"inner":null,"list":null}"#), Outer::default());
    assert_eq!(outer(r#"{"list":[null]}"#).list, Value(vec![Absent]));
}

#[test]
fn reads_another_type_as_malformed_and_goes_on_after_it() {
    for json in
        ["true", "1", "-1", "1.5", "1e300", r#""x""#, r#""\n""#, "[]", "[1,[2]]", "{}", r#"{"a":{"b":1},"z":[]}"#]
    {
        let outer = outer(&format!(r#"{{"text":{json},"flag":{json},"count":{json},"inner":{json},"list":{json}}}"#));
        let is = |prefix: &str| json.starts_with(prefix);
        assert_eq!(outer.text == Malformed, !is("\""), "{json}");
        assert_eq!(outer.flag == Malformed, json != "true", "{json}");
        assert_eq!(outer.count == Malformed, json != "1", "{json}");
        assert_eq!(outer.inner == Malformed, !is("{"), "{json}");
        assert_eq!(outer.list == Malformed, !is("["), "{json}");
    }
    assert_eq!(serde_json::from_str::<Field<Outer>>("[]").expect("is JSON"), Malformed);
}

#[test]
fn fails_for_bad_syntax_and_for_a_name_that_stands_twice() {
    for json in
        ["", "{", r#"{"text" 1}"#, r#"{"inner":{"a":x}}"#, "{} {}", r#"{"text":"a","text":"b"}"#, r#"{"list":[{]}"#]
    {
        assert!(serde_json::from_str::<Field<Outer>>(json).is_err(), "{json}");
    }
    assert!(serde_json::from_str::<Field<Outer>>(r#"{"inner":{"a":"1","a":"2"}}"#).is_err());
}
