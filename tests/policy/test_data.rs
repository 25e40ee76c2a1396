//! Shows the verdict on each example request in `test_data`, as `make run` prints it.

use std::fs;
use std::sync::Arc;

use policy_host::admission::{AdmissionRequest, AdmissionResponse};
use policy_host::cluster::Cluster;
use policy_host::report::report;
use policy_host::session::Session;
use serde_json::{Value, json};

use fixtures::case::{policy, repository};

/// The lines that `make run` prints below the headline of this request.
fn verdict(name: &str) -> String {
    let test_data = repository().join("test_data");
    let text = fs::read_to_string(test_data.join(format!("requests/{name}.json"))).expect("exists");
    let request = AdmissionRequest::from_json(&text).expect("is a request");
    let cluster = Cluster::read(&test_data.join("cluster")).expect("is a cluster");
    let response = policy().validate(&request, &json!({}), Arc::new(cluster)).expect("the module answers");
    let report = report(&request, &response).expect("the response holds a patch");
    report.split_once('\n').expect("has a first line").1.to_owned()
}

#[test]
fn warns_about_an_mcpserver_with_stdio_and_three_replicas() {
    assert_eq!(
        verdict("mcpserver-stdio-three-replicas"),
        "verdict   accepted as it is\n\
         warning   transport stdio supports 1 replica; spec.replicas requests 3\n\
         audit     stdio-replicas: spec.replicas=3\n"
    );
}

#[test]
fn warns_about_an_mcpserver_without_redis() {
    assert_eq!(
        verdict("mcpserver-without-redis"),
        "verdict   accepted as it is\n\
         warning   2 replicas without Redis: clients with sessions fail, most for good; v0.16+: spec.sessionStorage.provider redis\n\
         audit     sessions-at-risk: spec.replicas=2\n"
    );
}

#[test]
fn accepts_an_mcpserver_with_redis() {
    assert_eq!(verdict("mcpserver-with-redis"), "verdict   accepted as it is\n");
}

#[test]
fn caps_a_stdio_deployment() {
    assert_eq!(
        verdict("deployment-stdio-three-replicas"),
        "verdict   accepted with changes\n\
         change    /spec/replicas: 3 -> 1\n\
         warning   transport stdio supports 1 replica; spec.replicas requests 3\n\
         audit     replicas: requested=3 wanted=1 reason=stdio\n\
         audit     stdio-replicas: spec.replicas=3\n"
    );
}

#[test]
fn sets_a_missing_grace_period() {
    assert_eq!(
        verdict("deployment-missing-grace-period"),
        "verdict   accepted with changes\n\
         change    /spec/template/spec/containers/0/lifecycle: absent -> {\"preStop\":{\"sleep\":{\"seconds\":5}}}\n\
         change    /spec/template/spec/terminationGracePeriodSeconds: absent -> 35\n\
         audit     pre-stop: wanted=5\n\
         audit     termination-grace-period: requested=none wanted=35\n"
    );
}

#[test]
fn accepts_a_deployment_that_violates_no_rule() {
    assert_eq!(verdict("deployment-needs-nothing"), "verdict   accepted as it is\n");
}

#[test]
fn ignores_a_deployment_that_is_not_toolhives() {
    assert_eq!(verdict("deployment-foreign"), "verdict   accepted as it is\n");
}

#[test]
fn undoes_a_reset_by_the_operator() {
    assert_eq!(
        verdict("deployment-reset-by-operator"),
        "verdict   accepted with changes\n\
         change    /spec/replicas: 1 -> 3\n\
         audit     replicas: requested=1 wanted=3 reason=preserved\n\
         audit     sessions-at-risk: spec.replicas=3\n"
    );
}

#[test]
fn undoes_a_reset_by_the_proxy_runner() {
    assert_eq!(
        verdict("statefulset-reset-by-proxy-runner"),
        "verdict   accepted with changes\n\
         change    /spec/replicas: 1 -> 3\n\
         audit     replicas: requested=1 wanted=3 reason=preserved\n\
         audit     sessions-at-risk: spec.replicas=3\n\
         audit     unpinned-backends: spec.replicas=3\n"
    );
}

#[test]
fn caps_the_scale_of_a_stdio_deployment() {
    assert_eq!(
        verdict("scale-deployment-stdio"),
        "verdict   accepted with changes\n\
         change    /spec/replicas: 3 -> 1\n\
         warning   transport stdio supports 1 replica; spec.replicas requests 3\n\
         audit     replicas: requested=3 wanted=1 reason=stdio\n\
         audit     stdio-replicas: spec.replicas=3\n"
    );
}

#[test]
fn annotates_the_scale_of_a_statefulset_by_an_autoscaler() {
    assert_eq!(
        verdict("scale-statefulset-by-autoscaler"),
        "verdict   accepted as it is\naudit     sessions-at-risk: spec.replicas=4\naudit     unpinned-backends: spec.replicas=4\n"
    );
}

#[test]
fn warns_about_an_autoscaler_for_a_stdio_server() {
    assert_eq!(
        verdict("autoscaler-stdio"),
        "verdict   accepted as it is\n\
         warning   transport stdio of MCPServer github supports 1 replica; the autoscaler may request 5\n\
         audit     stdio-replicas: maximum=5\n"
    );
}

#[test]
fn warns_about_a_scaledobject_for_a_declared_count() {
    assert_eq!(
        verdict("scaledobject-declared-count"),
        "verdict   accepted as it is\n\
         warning   spec.replicas of MCPServer fetch conflicts with the autoscaler; remove the field\n\
         audit     declared-replicas: spec.replicas=3\n"
    );
}

#[test]
fn ignores_statefulsets_and_scales_that_are_not_toolhives() {
    for name in ["statefulset-foreign", "scale-foreign-statefulset"] {
        assert_eq!(verdict(name), "verdict   accepted as it is\n", "{name}");
    }
}

/// The response to a request with these settings and the lookups of a recorded session, all of which are made.
fn replay(request: &str, session: &str, settings: &Value) -> AdmissionResponse {
    let test_data = repository().join("test_data");
    let text = fs::read_to_string(test_data.join(format!("requests/{request}.json"))).expect("exists");
    let request = AdmissionRequest::from_json(&text).expect("is a request");
    let session = Session::read(&test_data.join(format!("sessions/{session}.yaml"))).expect("is a session");
    let session = Arc::new(session);
    let response = policy().validate(&request, settings, session.clone()).expect("the module answers");
    assert_eq!(session.left(), 0);
    response
}

#[test]
fn makes_the_lookups_of_the_recorded_sessions() {
    let response = replay("deployment-stdio-three-replicas", "github-is-stdio", &json!({}));
    assert_eq!(response.patch_operations().expect("is a patch").0.len(), 1);
    let settings = json!({"readAutoscalers": true});
    let response = replay("mcpserver-without-redis", "search-has-an-autoscaler", &settings);
    let warning = "spec.replicas conflicts with HorizontalPodAutoscaler web; remove the field";
    assert_eq!(response.warnings.expect("has warnings")[1], warning);
}
