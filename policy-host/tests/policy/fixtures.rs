//! The fixtures that `make run` shows, through the library.

use std::fs;
use std::sync::Arc;

use policy_host::admission::AdmissionRequest;
use policy_host::cluster::Cluster;
use policy_host::report::report;
use policy_host::session::Session;
use serde_json::json;

use crate::harness::{policy, repository};

fn verdict(name: &str) -> String {
    let fixtures = repository().join("test_data");
    let text = fs::read_to_string(fixtures.join(format!("requests/{name}.json"))).expect("is there");
    let request = AdmissionRequest::from_json(&text).expect("is a request");
    let cluster = Cluster::read(&fixtures.join("cluster")).expect("is a cluster");
    let response = policy().validate(&request, &json!({}), Arc::new(cluster)).expect("the module answers");
    let report = report(&request, &response).expect("can be told");
    report.split_once('\n').expect("has a first line").1.to_owned()
}

#[test]
fn mcpserver_stdio_three_replicas() {
    assert_eq!(
        verdict("mcpserver-stdio-three-replicas"),
        "verdict   accepted as it is\n\
         warning   stdio runs 1 replica; 3 requested in spec.replicas\n\
         warning   spec.replicas 3 without Redis loses sessions; set sessionStorage.provider of the MCPServer to redis\n\
         audit     sessions-at-risk: spec.replicas=3\n\
         audit     stdio-replicas: spec.replicas=3\n"
    );
}

#[test]
fn mcpserver_without_redis() {
    assert_eq!(
        verdict("mcpserver-without-redis"),
        "verdict   accepted as it is\n\
         warning   spec.replicas 2 without Redis loses sessions; set sessionStorage.provider of the MCPServer to redis\n\
         audit     sessions-at-risk: spec.replicas=2\n"
    );
}

#[test]
fn mcpserver_with_redis() {
    assert_eq!(verdict("mcpserver-with-redis"), "verdict   accepted as it is\n");
}

#[test]
fn deployment_stdio_three_replicas() {
    assert_eq!(
        verdict("deployment-stdio-three-replicas"),
        "verdict   accepted with changes\n\
         change    /spec/replicas: 3 -> 1\n\
         warning   stdio runs 1 replica; 3 requested in spec.replicas\n\
         audit     replicas: requested=3 admitted=1 reason=stdio\n\
         audit     stdio-replicas: spec.replicas=3\n"
    );
}

#[test]
fn deployment_missing_grace_period() {
    assert_eq!(
        verdict("deployment-missing-grace-period"),
        "verdict   accepted with changes\n\
         change    /spec/template/spec/terminationGracePeriodSeconds: absent -> 30\n\
         audit     termination-grace-period: requested=none admitted=30\n"
    );
}

#[test]
fn deployment_needs_nothing() {
    assert_eq!(verdict("deployment-needs-nothing"), "verdict   accepted as it is\n");
}

#[test]
fn deployment_foreign() {
    assert_eq!(verdict("deployment-foreign"), "verdict   accepted as it is\n");
}

#[test]
fn deployment_reset_by_operator() {
    assert_eq!(
        verdict("deployment-reset-by-operator"),
        "verdict   accepted with changes\n\
         change    /spec/replicas: 1 -> 3\n\
         audit     replicas: requested=1 admitted=3 reason=preserved\n\
         audit     sessions-at-risk: spec.replicas=3\n"
    );
}

#[test]
fn statefulset_reset_by_proxy_runner() {
    assert_eq!(
        verdict("statefulset-reset-by-proxy-runner"),
        "verdict   accepted with changes\n\
         change    /spec/replicas: 1 -> 3\n\
         audit     replicas: requested=1 admitted=3 reason=preserved\n\
         audit     sessions-at-risk: spec.replicas=3\n"
    );
}

#[test]
fn scale_deployment_stdio() {
    assert_eq!(
        verdict("scale-deployment-stdio"),
        "verdict   accepted with changes\n\
         change    /spec/replicas: 3 -> 1\n\
         warning   stdio runs 1 replica; 3 requested in spec.replicas\n\
         audit     replicas: requested=3 admitted=1 reason=stdio\n\
         audit     stdio-replicas: spec.replicas=3\n"
    );
}

#[test]
fn scale_statefulset_by_autoscaler() {
    assert_eq!(
        verdict("scale-statefulset-by-autoscaler"),
        "verdict   accepted as it is\naudit     sessions-at-risk: spec.replicas=4\n"
    );
}

#[test]
fn autoscaler_stdio() {
    assert_eq!(
        verdict("autoscaler-stdio"),
        "verdict   accepted as it is\n\
         warning   the target stays at 1 replica: transport is stdio on MCPServer github\n\
         warning   above 1 replica sessions are lost without Redis: set sessionStorage.provider of MCPServer github\n\
         audit     sessions-at-risk: maximum=5\n\
         audit     stdio-replicas: maximum=5\n"
    );
}

#[test]
fn scaledobject_declared_count() {
    assert_eq!(
        verdict("scaledobject-declared-count"),
        "verdict   accepted as it is\n\
         warning   spec.replicas is declared and fights this autoscaler: remove it from MCPServer fetch\n\
         audit     declared-replicas: spec.replicas=3\n"
    );
}

#[test]
fn what_is_somebody_elses() {
    for name in ["statefulset-foreign", "scale-foreign-statefulset"] {
        assert_eq!(verdict(name), "verdict   accepted as it is\n", "{name}");
    }
}

#[test]
fn the_recorded_session_asks_what_the_module_asks() {
    let fixtures = repository().join("test_data");
    let text = fs::read_to_string(fixtures.join("requests/deployment-stdio-three-replicas.json")).expect("is there");
    let request = AdmissionRequest::from_json(&text).expect("is a request");
    let session = Arc::new(Session::read(&fixtures.join("sessions/github-is-stdio.yaml")).expect("is a session"));
    let response = policy().validate(&request, &json!({}), session.clone()).expect("the module answers");
    assert_eq!(response.patch_operations().expect("is a patch").0.len(), 1);
    assert_eq!(session.left(), 0);
}
