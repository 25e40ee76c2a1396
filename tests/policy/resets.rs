//! Shows that the policy undoes the resets of replica counts which ToolHive's issue 3329 describes, write by write as the
//! releases that make them send them.

use mcp_scaling_rules::Workload;
use serde_json::{Value, json};

use fixtures::case::{
    AUTOSCALER, OPERATOR, PROXY_RUNNER, create, deployment, mcpserver, scale, selector, statefulset, update, with,
};

fn http() -> Value {
    mcpserver(json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis"}}))
}

/// The object that the API server stores after an update by this user.
fn updated(old: &Value, new: Value, user: &str, server: &Value) -> Value {
    let outcome = update(old.clone(), new).by(user).lookup_finds(server).run();
    assert!(outcome.response.allowed, "{:?}", outcome.response);
    outcome.object()
}

/// The workload that the API server stores after the autoscaler scales it.
fn autoscaled(workload: Workload, object: Value, count: u32, server: &Value) -> Value {
    let old = object["spec"]["replicas"].as_u64().and_then(|old| u32::try_from(old).ok()).expect("has a count");
    let case = scale(workload.resource(), &selector(workload), old, count).by(AUTOSCALER);
    let outcome = case.lookup_finds(server).run();
    assert!(outcome.response.allowed, "{:?}", outcome.response);
    with(object, "/spec/replicas", outcome.object()["spec"]["replicas"].clone())
}

#[test]
fn undoes_the_reset_of_a_deployment_by_operator_v0_6() {
    let server = http();
    let created = create(deployment(1)).by(OPERATOR).lookup_finds(&server).run();
    created.assert_accepted_as_is("the operator creates the Deployment");
    let live = autoscaled(Workload::Deployment, deployment(1), 3, &server);
    assert_eq!(live["spec"]["replicas"], 3, "the autoscaler owns the count");
    // The operator sees another count than 1, writes 1, and tries again when the count is 3 after its write.
    let mut live = live;
    for _ in 0..3 {
        live = updated(&live, with(live.clone(), "/spec/replicas", json!(1)), OPERATOR, &server);
        assert_eq!(live["spec"]["replicas"], 3);
    }
    // Other changes of the same write are admitted.
    let rolled_out =
        with(with(live.clone(), "/spec/replicas", json!(1)), "/spec/template/spec/containers/0/image", json!("new"));
    let live = updated(&live, rolled_out, OPERATOR, &server);
    assert_eq!(live["spec"]["replicas"], 3);
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "new");
    let live = autoscaled(Workload::Deployment, live, 2, &server);
    assert_eq!(live["spec"]["replicas"], 2, "the autoscaler still scales down");
}

#[test]
fn undoes_the_reset_of_a_statefulset_by_the_proxy_runner() {
    let server = http();
    let live = autoscaled(Workload::StatefulSet, statefulset(1, "streamable-http"), 3, &server);
    assert_eq!(live["spec"]["replicas"], 3);
    // At each start, the proxy runner makes a forced server-side apply, which is an UPDATE with the whole object at admission.
    let apply = json!({"kind": "PatchOptions", "apiVersion": "meta.k8s.io/v1", "force": true,
                       "fieldManager": "toolhive-container-manager"});
    for _ in 0..3 {
        let reset = update(live.clone(), with(live.clone(), "/spec/replicas", json!(1))).by(PROXY_RUNNER);
        let outcome = reset.with_member("options", apply.clone()).lookup_finds(&server).run();
        assert_eq!(outcome.object()["spec"]["replicas"], 3);
    }
}

#[test]
fn undoes_the_reset_that_follows_the_removal_of_spec_backend_replicas() {
    let declaring = with(http(), "/spec/backendReplicas", json!(3));
    let live = updated(&statefulset(3, "sse"), statefulset(3, "sse"), PROXY_RUNNER, &declaring);
    // Without `spec.backendReplicas` the apply no longer contains the count, and the API server sets its default of 1.
    let live = updated(&live, statefulset(1, "sse"), PROXY_RUNNER, &http());
    assert_eq!(live["spec"]["replicas"], 3);
}

#[test]
fn leaves_the_stdio_cap_of_current_operators_alone() {
    let stdio = mcpserver(json!({"transport": "stdio"}));
    let live = updated(&deployment(5), deployment(1), OPERATOR, &stdio);
    assert_eq!(live["spec"]["replicas"], 1);
}

#[test]
fn admits_the_declared_count_that_the_operator_writes() {
    let declaring = with(http(), "/spec/replicas", json!(2));
    let live = updated(&deployment(5), deployment(2), OPERATOR, &declaring);
    assert_eq!(live["spec"]["replicas"], 2);
}
