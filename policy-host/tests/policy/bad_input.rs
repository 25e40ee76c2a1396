//! Whatever comes in is accepted or refused, never a trap. What is malformed in an object is the API server's to refuse.

use std::sync::Arc;

use policy_host::host::empty;
use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use serde_json::{Value, json};

use crate::harness::{create, deployment, mcpserver, policy, update, with};

const GRACE: &str = "/spec/template/spec/terminationGracePeriodSeconds";

/// Puts bytes to the module as they are: the module's answer, or its error.
fn validate(payload: impl AsRef<[u8]>) -> Result<Value, String> {
    let finds_stdio = |_: &GetResourceRequest| Ok(br#"{"spec":{"transport":"stdio"}}"#.to_vec());
    let answer = policy().call("validate", payload.as_ref(), Arc::new(finds_stdio));
    let answer = answer.map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&answer).expect("an answer is JSON"))
}

/// The error of the module, which must be one of its own and no trap.
#[track_caller]
fn error(payload: impl AsRef<[u8]>) -> String {
    let error = validate(payload).expect_err("is an error");
    assert!(!error.contains("wasm"), "a trap: {error}");
    error.strip_prefix("Guest call failure: ").expect("is the module's own").to_owned()
}

/// Values that are no count, as JSON text.
const NO_COUNTS: [&str; 11] =
    ["-1", "2147483648", "1e400", "1.5", "2.0", "3e0", r#""3""#, "[]", "{}", "true", "-9223372036854775809"];

/// A payload with the text put in the place of `"@"`.
fn payload(request: &str, text: &str) -> String {
    format!(r#"{{"request":{},"settings":{{}}}}"#, request.replace(r#""@""#, text))
}

fn mcpserver_request(spec: &str) -> String {
    format!(
        r#"{{"uid":"1","kind":{{"group":"toolhive.stacklok.dev","version":"v1beta1","kind":"MCPServer"}},
            "operation":"CREATE","namespace":"default","object":{{"kind":"MCPServer","metadata":{{"name":"a"}},"spec":{spec}}}}}"#
    )
}

fn deployment_request(spec: &str) -> String {
    format!(
        r#"{{"uid":"1","kind":{{"group":"apps","version":"v1","kind":"Deployment"}},"operation":"CREATE",
            "namespace":"default","object":{{"kind":"Deployment","metadata":{{"name":"a",
            "labels":{{"toolhive":"true","toolhive-name":"a"}}}},"spec":{spec}}}}}"#
    )
}

fn accepted() -> Result<Value, String> {
    Ok(json!({"accepted": true}))
}

#[test]
fn counts_of_an_mcpserver() {
    let sse = mcpserver_request(r#"{"transport":"sse","replicas":"@"}"#);
    let stdio = mcpserver_request(r#"{"backendReplicas":"@","sessionStorage":{"provider":"redis"}}"#);
    for count in ["null", "0", "1", "-0"].into_iter().chain(NO_COUNTS) {
        assert_eq!(validate(payload(&sse, count)), accepted(), "{count}");
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
fn counts_of_a_deployment() {
    let template = r#""template":{"spec":{"terminationGracePeriodSeconds":30}}"#;
    let request = deployment_request(&format!(r#"{{"replicas":"@",{template}}}"#));
    for count in ["null", "0", "1", "-0"].into_iter().chain(NO_COUNTS) {
        assert_eq!(validate(payload(&request, count)), accepted(), "{count}");
    }
    for count in ["2", "2147483647"] {
        let answer = validate(payload(&request, count)).expect("is accepted");
        assert_eq!(answer["mutated_object"]["spec"]["replicas"], 1, "{count}");
    }
    let absent = deployment_request(&format!("{{{template}}}"));
    assert_eq!(validate(payload(&absent, "")), accepted());
}

#[test]
fn grace_periods() {
    let request = deployment_request(r#"{"replicas":1,"template":{"spec":{"terminationGracePeriodSeconds":"@"}}}"#);
    for seconds in ["30", "31", "2147483648", "9223372036854775807"] {
        assert_eq!(validate(payload(&request, seconds)), accepted(), "{seconds}");
    }
    for seconds in ["9223372036854775808", "1e400", "1.5", "2.0", "3e0", r#""3""#, "[]", "{}", "true"] {
        assert_eq!(validate(payload(&request, seconds)), accepted(), "{seconds} is the API server's to refuse");
    }
    for seconds in ["null", "0", "1", "-1", "29", "-9223372036854775808"] {
        let answer = validate(payload(&request, seconds)).expect("is accepted");
        assert_eq!(answer["mutated_object"].pointer(GRACE), Some(&json!(30)), "{seconds}");
    }
}

#[test]
fn a_level_that_is_missing_or_of_the_wrong_type() {
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
                let what = format!("{} {pointer} {value:?}", object["kind"]);
                create(with(object.clone(), pointer, value.clone())).run().assert_silent(&what);
            }
        }
    }
    // Nothing but its name is read of an MCPServer's metadata, and nothing of it is missed.
    for value in &wrong {
        let outcome = create(with(mcpserver(json!({"replicas": 3})), "/metadata", value.clone())).run();
        assert_eq!(outcome.warnings().len(), 2, "{value:?}");
    }
    for value in [json!({}), json!("x"), json!(7)] {
        create(with(deployment(3), "/metadata/ownerReferences", value.clone())).run().assert_silent("ownerReferences");
        let labels = with(with(deployment(3), "/metadata/ownerReferences", None), "/metadata/labels", value.clone());
        create(labels).run().assert_silent("labels");
        let owner = with(deployment(3), "/metadata/ownerReferences", json!([value]));
        let owner = with(owner, "/metadata/labels", json!({}));
        create(owner).run().assert_silent("an owner reference");
    }
    for member in ["apiVersion", "kind", "name"] {
        for value in [json!(null), json!(7), json!([])] {
            let mut deployment = deployment(3);
            deployment["metadata"]["ownerReferences"][0][member] = value;
            create(deployment).run().assert_silent(member);
        }
    }
}

#[test]
fn objects_that_are_none() {
    for object in [json!(null), json!([]), json!("x"), json!(7), json!({})] {
        for kind in [deployment(3), mcpserver(json!({"replicas": 3}))] {
            let case = create(kind.clone()).request("object", object.clone());
            case.run().assert_silent(&format!("{object}"));
        }
    }
    let stdio = mcpserver(json!({}));
    for old in [json!(null), json!([]), json!("x"), json!({}), json!({"spec": 7}), json!({"spec": {"replicas": "3"}})] {
        let outcome = update(old.clone(), deployment(3)).finds(&stdio).run();
        assert_eq!(outcome.changes(), ["/spec/replicas=1"], "{old}");
        let strict = json!({"declaredReplicas": "reject"});
        let outcome = update(old.clone(), mcpserver(json!({"replicas": 3}))).settings(strict).run();
        assert!(outcome.refusal().is_some(), "{old} excuses nothing");
    }
}

#[test]
fn transports_and_storages_that_are_none() {
    for transport in [json!(""), json!("STDIO"), json!("pigeon"), json!(7), json!([]), json!({})] {
        let spec = json!({"transport": transport, "replicas": 3});
        create(mcpserver(spec.clone())).run().assert_silent(&spec.to_string());
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
        create(mcpserver(spec.clone())).run().assert_silent(&spec.to_string());
    }
    let spec = json!({"transport": "sse", "replicas": 3, "sessionStorage": {"provider": "redis"}});
    create(mcpserver(spec)).run().assert_silent("redis without an address is the API server's to refuse");
}

#[test]
fn requests_that_are_none() {
    for (payload, names) in [
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
        assert!(error.contains(names), "{payload}: {error}");
        assert!(!error.contains("secret"), "{payload}: {error}");
    }
    assert!(error(b"{\"request\":\"\xff\"}").contains("UTF-8"));
}

#[test]
fn settings_that_validate_settings_would_refuse() {
    let payload = create(mcpserver(json!({}))).settings(json!({"stdioReplicas": 7})).payload();
    assert!(error(payload).contains("stdioReplicas"));
}

#[test]
fn a_request_cut_off_anywhere_is_an_error() {
    let payload = update(deployment(1), deployment(3)).payload();
    for end in (0..payload.len()).step_by(7) {
        error(&payload[..end]);
    }
}

#[test]
fn of_two_members_of_a_name_the_last_one_counts() {
    let template = r#""template":{"spec":{"terminationGracePeriodSeconds":30}}"#;
    let request = deployment_request(&format!(r#"{{"replicas":1,"replicas":3,{template}}}"#));
    let answer = policy().call(
        "validate",
        payload(&request, "").as_bytes(),
        Arc::new(|_: &GetResourceRequest| Ok(br#"{"spec":{}}"#.to_vec())),
    );
    let answer = String::from_utf8(answer.expect("is accepted")).expect("is UTF-8");
    assert!(answer.contains(r#""replicas":1,"replicas":1"#), "{answer}");
    let request = deployment_request(&format!(r#"{{"replicas":3,"replicas":1,{template}}}"#));
    assert_eq!(validate(payload(&request, "")), accepted());
}

#[test]
fn nesting_without_end() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    for nested in [deep("[", "]"), deep(r#"{"a":"#, "1}").replace("1}1}", "1}}").replace("}1}", "}}")] {
        for member in ["x", "metadata", "spec", "status"] {
            let request = deployment_request("{}")
                .replace(r#""kind":"Deployment","metadata""#, &format!(r#""{member}":"@","metadata""#));
            // It may be accepted or be an error; a trap would be neither.
            if let Err(error) = validate(payload(&request, &nested)) {
                assert!(!error.contains("wasm"), "{member}: {error}");
            }
        }
    }
    // As deep as serde_json lets the host pass on.
    let mut value = json!(1);
    for _ in 0..110 {
        value = json!([value]);
    }
    let outcome = create(with(deployment(3), "/spec/x", value)).finds(&mcpserver(json!({}))).run();
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
}

#[test]
fn operations_nobody_knows() {
    for operation in ["CONNECT", "PATCH", "", "create"] {
        create(deployment(3)).request("operation", json!(operation)).run().assert_silent(operation);
    }
}

#[test]
fn wapc_operations_nobody_knows() {
    let error = policy().call("nonsense", b"", empty()).expect_err("is unknown").to_string();
    assert!(error.contains("No handler registered"), "{error}");
}
