//! Shows that malformed input never makes the module trap. A malformed field of an object is accepted, because the API server
//! rejects it afterwards; a payload that is no admission request is an error that names the fault.

use std::sync::Arc;

use policy_host::host::{GetResourceRequest, empty};
use serde_json::{Map, Value, json};

use fixtures::case::{GRACE_PERIOD, create, deployment, mcpserver, policy, update, with};

/// Sends a payload to the module as it is, in a cluster where every lookup finds a stdio server. The result is the response
/// of the module, without the members that are `null`, or the text of its error.
fn validate(payload: impl AsRef<[u8]>) -> Result<Value, String> {
    let finds_stdio = |_: &GetResourceRequest| Ok(br#"{"spec":{"transport":"stdio"}}"#.to_vec());
    let response = policy().call("validate", payload.as_ref(), Arc::new(finds_stdio));
    let response = response.map_err(|error| error.to_string())?;
    let mut response: Map<String, Value> = serde_json::from_slice(&response).expect("a response is an object");
    response.retain(|_, value| !value.is_null());
    Ok(Value::Object(response))
}

/// The error text for a payload. The error must come from the policy and not from a trap.
#[track_caller]
fn error(payload: impl AsRef<[u8]>) -> String {
    let error = validate(payload).expect_err("is an error");
    assert!(!error.contains("wasm"), "the module trapped: {error}");
    error.strip_prefix("Guest call failure: ").expect("is an error of the policy").to_owned()
}

/// Values that are not valid as a count, as JSON text.
const INVALID_COUNTS: [&str; 11] =
    ["-1", "2147483648", "1e400", "1.5", "2.0", "3e0", r#""3""#, "[]", "{}", "true", "-9223372036854775809"];

/// A payload with this request and default settings, where the text replaces `"@"`.
fn payload(request: &str, text: &str) -> String {
    format!(r#"{{"request":{},"settings":{{}}}}"#, request.replace(r#""@""#, text))
}

/// A request to create an `MCPServer` with this spec.
fn mcpserver_request(spec: &str) -> String {
    format!(
        r#"{{"uid":"1","kind":{{"group":"toolhive.stacklok.dev","version":"v1beta1","kind":"MCPServer"}},
            "operation":"CREATE","namespace":"default","object":{{"kind":"MCPServer","metadata":{{"name":"a"}},"spec":{spec}}}}}"#
    )
}

/// A request to create a Deployment of ToolHive's with this spec.
fn deployment_request(spec: &str) -> String {
    format!(
        r#"{{"uid":"1","kind":{{"group":"apps","version":"v1","kind":"Deployment"}},"operation":"CREATE",
            "namespace":"default","object":{{"kind":"Deployment","metadata":{{"name":"a",
            "labels":{{"toolhive":"true","toolhive-name":"a"}}}},"spec":{spec}}}}}"#
    )
}

/// The response that accepts a request as it is.
fn accepted() -> Result<Value, String> {
    Ok(json!({"accepted": true}))
}

#[test]
fn accepts_invalid_counts_of_an_mcpserver() {
    let sse = mcpserver_request(r#"{"transport":"sse","replicas":"@"}"#);
    let stdio = mcpserver_request(r#"{"backendReplicas":"@","sessionStorage":{"provider":"redis"}}"#);
    for count in ["null", "0", "1", "-0"].into_iter().chain(INVALID_COUNTS) {
        assert_eq!(validate(payload(&sse, count)), accepted(), "{count}");
    }
    for count in ["null", "1"].into_iter().chain(INVALID_COUNTS) {
        assert_eq!(validate(payload(&stdio, count)), accepted(), "{count}");
    }
    for count in ["2", "2147483647"] {
        for request in [&sse, &stdio] {
            let warnings = validate(payload(request, count)).expect("is accepted")["warnings"].clone();
            assert!(warnings[0].as_str().is_some_and(|warning| warning.contains(count)), "{warnings}");
        }
    }
}

#[test]
fn accepts_invalid_counts_of_a_deployment() {
    let template = r#""template":{"spec":{"terminationGracePeriodSeconds":30}}"#;
    let request = deployment_request(&format!(r#"{{"replicas":"@",{template}}}"#));
    for count in ["null", "0", "1", "-0"].into_iter().chain(INVALID_COUNTS) {
        assert_eq!(validate(payload(&request, count)), accepted(), "{count}");
    }
    for count in ["2", "2147483647"] {
        let response = validate(payload(&request, count)).expect("is accepted");
        assert_eq!(response["mutated_object"]["spec"]["replicas"], 1, "{count}");
    }
    let absent = deployment_request(&format!("{{{template}}}"));
    assert_eq!(validate(payload(&absent, "")), accepted());
}

#[test]
fn accepts_invalid_grace_periods() {
    let request = deployment_request(r#"{"replicas":1,"template":{"spec":{"terminationGracePeriodSeconds":"@"}}}"#);
    for seconds in ["30", "31", "2147483648", "9223372036854775807"] {
        assert_eq!(validate(payload(&request, seconds)), accepted(), "{seconds}");
    }
    for seconds in ["9223372036854775808", "1e400", "1.5", "2.0", "3e0", r#""3""#, "[]", "{}", "true"] {
        assert_eq!(validate(payload(&request, seconds)), accepted(), "the API server rejects {seconds}");
    }
    for seconds in ["null", "0", "1", "-1", "29", "-9223372036854775808"] {
        let response = validate(payload(&request, seconds)).expect("is accepted");
        assert_eq!(response["mutated_object"].pointer(GRACE_PERIOD), Some(&json!(30)), "{seconds}");
    }
}

#[test]
fn ignores_objects_with_a_missing_or_mistyped_parent_field() {
    let wrong = [
        None,
        Some(json!(null)),
        Some(json!([])),
        Some(json!("x")),
        Some(json!(7)),
        Some(json!(-7.5)),
        Some(json!(true)),
    ];
    let levels = [
        (deployment(3), &["/spec", "/spec/template", "/spec/template/spec", "/metadata"][..]),
        (mcpserver(json!({"replicas": 3})), &["/spec"][..]),
    ];
    for (object, pointers) in levels {
        for pointer in pointers {
            for value in &wrong {
                let case = format!("{} {pointer} {value:?}", object["kind"]);
                create(with(object.clone(), pointer, value.clone())).run().assert_accepted_as_is(&case);
            }
        }
    }
    // The decisions for an MCPServer do not depend on its metadata.
    for value in &wrong {
        let outcome = create(with(mcpserver(json!({"replicas": 3})), "/metadata", value.clone())).run();
        assert_eq!(outcome.warnings().len(), 1, "{value:?}");
    }
    for value in [json!({}), json!("x"), json!(7)] {
        create(with(deployment(3), "/metadata/ownerReferences", value.clone()))
            .run()
            .assert_accepted_as_is("ownerReferences");
        let labels = with(with(deployment(3), "/metadata/ownerReferences", None), "/metadata/labels", value.clone());
        create(labels).run().assert_accepted_as_is("labels");
        let owner = with(deployment(3), "/metadata/ownerReferences", json!([value]));
        let owner = with(owner, "/metadata/labels", json!({}));
        create(owner).run().assert_accepted_as_is("an owner reference");
    }
    for member in ["apiVersion", "kind", "name"] {
        for value in [json!(null), json!(7), json!([])] {
            let mut deployment = deployment(3);
            deployment["metadata"]["ownerReferences"][0][member] = value;
            create(deployment).run().assert_accepted_as_is(member);
        }
    }
}

#[test]
fn tolerates_objects_that_are_none() {
    for object in [json!(null), json!([]), json!("x"), json!(7), json!({})] {
        for kind in [deployment(3), mcpserver(json!({"replicas": 3}))] {
            let case = create(kind.clone()).with_member("object", object.clone());
            case.run().assert_accepted_as_is(&format!("{object}"));
        }
    }
    let stdio = mcpserver(json!({}));
    for old in [json!(null), json!([]), json!("x"), json!({}), json!({"spec": 7}), json!({"spec": {"replicas": "3"}})] {
        let outcome = update(old.clone(), deployment(3)).lookup_finds(&stdio).run();
        assert_eq!(outcome.changes(), ["/spec/replicas=1"], "{old}");
        let strict = json!({"declaredReplicas": "reject"});
        let outcome = update(old.clone(), mcpserver(json!({"replicas": 3}))).settings(strict).run();
        assert!(outcome.refusal().is_some(), "an invalid old object violated no rule before: {old}");
    }
}

#[test]
fn ignores_unknown_transports_and_storages() {
    for transport in [json!(""), json!("STDIO"), json!("grpc"), json!(7), json!([]), json!({})] {
        let spec = json!({"transport": transport, "replicas": 3});
        create(mcpserver(spec.clone())).run().assert_accepted_as_is(&spec.to_string());
    }
    for storage in [
        json!([]),
        json!("redis"),
        json!(7),
        json!({"provider": ""}),
        json!({"provider": "valkey"}),
        json!({"provider": 7}),
    ] {
        let spec = json!({"transport": "sse", "replicas": 3, "sessionStorage": storage});
        create(mcpserver(spec.clone())).run().assert_accepted_as_is(&spec.to_string());
    }
    let spec = json!({"transport": "sse", "replicas": 3, "sessionStorage": {"provider": "redis"}});
    create(mcpserver(spec)).run().assert_accepted_as_is("the API server rejects Redis without an address");
}

#[test]
fn rejects_payloads_that_are_no_request() {
    for (payload, expected) in [
        ("", "JSON"),
        ("{", "JSON"),
        ("null", "not an object"),
        ("[]", "not an object"),
        ("7", "not an object"),
        ("{}", "request is missing"),
        (r#"{"request":null}"#, "request is missing"),
        (r#"{"request":[]}"#, "request is not an object"),
        (r#"{"request":"secret"}"#, "request is not an object"),
        (r#"{"request":{}}"#, "request.kind is missing"),
        (r#"{"request":{"kind":7}}"#, "request.kind is not an object"),
        (r#"{"request":{"kind":{}}}"#, "request.kind.kind is missing"),
        (r#"{"request":{"kind":{"kind":7}}}"#, "request.kind.kind is not a string"),
        (r#"{"request":{"kind":{"kind":"Pod"}}}"#, "request.kind.group is missing"),
        (r#"{"request":{"kind":{"kind":"Pod","group":""}}}"#, "request.operation is missing"),
        (r#"{"request":{"kind":{"kind":"Pod","group":""},"operation":[]}}"#, "request.operation is not a string"),
        (r#"{"request":{"kind":{"kind":"Pod","group":""},"operation":"CREATE"}} x"#, "JSON"),
        (r#"{"request":{"secret" 1}}"#, "JSON"),
    ] {
        let error = error(payload);
        assert!(error.contains(expected), "{payload}: {error}");
        assert!(!error.contains("secret"), "{payload}: {error}");
    }
    assert!(error(b"{\"request\":\"\xff\"}").contains("UTF-8"));
}

#[test]
fn rejects_invalid_settings_of_a_request() {
    let payload = create(mcpserver(json!({}))).settings(json!({"stdioReplicas": 7})).payload();
    assert!(error(payload).contains("stdioReplicas"));
}

#[test]
fn rejects_truncated_payloads() {
    let payload = update(deployment(1), deployment(3)).payload();
    for end in (0..payload.len()).step_by(7) {
        error(&payload[..end]);
    }
}

#[test]
fn reads_the_last_of_two_members_with_the_same_name() {
    let template = r#""template":{"spec":{"terminationGracePeriodSeconds":30}}"#;
    let request = deployment_request(&format!(r#"{{"replicas":1,"replicas":3,{template}}}"#));
    let response = validate(payload(&request, "")).expect("is accepted");
    assert_eq!(response["mutated_object"]["spec"]["replicas"], 1);
    let request = deployment_request(&format!(r#"{{"replicas":3,"replicas":1,{template}}}"#));
    assert_eq!(validate(payload(&request, "")), accepted());
}

#[test]
fn survives_deep_nesting() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    for nested in [deep("[", "]"), deep(r#"{"a":"#, "1}").replace("1}1}", "1}}").replace("}1}", "}}")] {
        for member in ["x", "metadata", "spec", "status"] {
            let request = deployment_request("{}")
                .replace(r#""kind":"Deployment","metadata""#, &format!(r#""{member}":"@","metadata""#));
            // The payload may be accepted or rejected with an error, but the module must not trap.
            if let Err(error) = validate(payload(&request, &nested)) {
                assert!(!error.contains("wasm"), "the module trapped for {member}: {error}");
            }
        }
    }
    // The deepest nesting that serde_json in the host passes on.
    let mut value = json!(1);
    for _ in 0..110 {
        value = json!([value]);
    }
    let outcome = create(with(deployment(3), "/spec/x", value)).lookup_finds(&mcpserver(json!({}))).run();
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
}

#[test]
fn ignores_unknown_operations() {
    for operation in ["CONNECT", "PATCH", "", "create"] {
        create(deployment(3)).with_member("operation", json!(operation)).run().assert_accepted_as_is(operation);
    }
}

#[test]
fn rejects_unknown_wapc_operations() {
    let error = policy().call("nonsense", b"", empty()).expect_err("is unknown").to_string();
    assert!(error.contains("No handler registered"), "{error}");
}
