//! The interpreter, which the tests and `evaluate` use, and wasmtime, which Kubewarden uses, give the same responses.

use std::fs;
use std::sync::{Arc, OnceLock};

use fixtures::case::repository;
use fixtures::scenario::scenario;
use policy_host::admission::AdmissionRequest;
use policy_host::cluster::{Cluster, files};
use policy_host::host::{Host, empty};
use policy_host::policy::{Policy, payload};
use proptest::prelude::*;
use serde_json::json;
use wasmtime_host::Compiled;

/// The module in wasmtime.
fn compiled() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let module = fs::read(repository().join("policy.wasm")).expect("`make policy.wasm` builds it");
        Policy::from_module(Arc::new(Compiled::new(&module, false).expect("is a module")))
    })
}

/// The response of a policy, or its error.
fn answer(policy: &Policy, operation: &str, payload: &[u8], host: Arc<dyn Host>) -> Result<Vec<u8>, String> {
    policy.call(operation, payload, host).map_err(|error| error.to_string())
}

/// Asserts that both engines give the same response, and returns it.
#[track_caller]
fn assert_agreement(operation: &str, payload: &[u8], host: &Arc<dyn Host>) -> Result<Vec<u8>, String> {
    let interpreted = answer(fixtures::case::policy(), operation, payload, host.clone());
    assert_eq!(interpreted, answer(compiled(), operation, payload, host.clone()), "{operation}");
    interpreted
}

#[test]
fn agree_on_the_requests_in_test_data() {
    let test_data = repository().join("test_data");
    let cluster: Arc<dyn Host> = Arc::new(Cluster::read(&test_data.join("cluster")).expect("is a cluster"));
    let requests = files(&test_data.join("requests")).expect("is a folder");
    assert!(requests.len() > 10, "{requests:?}");
    for file in requests {
        let request = fs::read_to_string(&file).expect("exists");
        let request = AdmissionRequest::from_json(&request).expect("is a request");
        let payload = payload(&request, &json!({})).expect("is JSON");
        assert_agreement("validate", &payload, &cluster).expect("the module answers");
    }
}

#[test]
fn agree_on_input_that_is_refused() {
    for payload in ["", "{", "{}", r#"{"request":{"kind":1}}"#] {
        assert!(assert_agreement("validate", payload.as_bytes(), &empty()).is_err(), "{payload}");
    }
    for settings in ["{}", r#"{"stdioReplica":"cap"}"#, "1"] {
        assert_agreement("validate_settings", settings.as_bytes(), &empty()).expect("the module answers");
    }
    assert!(assert_agreement("unknown", b"", &empty()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn agree_on_random_requests(scenario in scenario()) {
        let payload = scenario.case().payload();
        assert_agreement("validate", payload.as_bytes(), &scenario.host()).expect("the module answers");
    }
}
