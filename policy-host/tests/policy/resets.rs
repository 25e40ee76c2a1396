//! The resets of ToolHive #3329, step by step, as the releases that make them send them.

use serde_json::{Value, json};

use crate::harness::{
    DEPLOYMENT_SELECTOR, OPERATOR, PROXY_RUNNER, STATEFULSET_SELECTOR, create, deployment, mcpserver, scale,
    statefulset, update, with,
};

const HPA: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

fn http() -> Value {
    mcpserver(json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis"}}))
}

/// What the API server stores of an update.
fn stored(old: &Value, new: Value, user: &str, server: &Value) -> Value {
    let outcome = update(old.clone(), new).by(user).finds(server).run();
    assert!(outcome.response.allowed, "{:?}", outcome.response);
    outcome.object()
}

/// The workload once a Scale of `count` went through.
fn scaled(workload: Value, resource: &str, selector: &str, user: &str, count: u32, server: &Value) -> Value {
    let old = workload["spec"]["replicas"].as_u64().and_then(|old| u32::try_from(old).ok()).expect("has a count");
    let outcome = scale(resource, selector, old, count).by(user).finds(server).run();
    assert!(outcome.response.allowed, "{:?}", outcome.response);
    with(workload, "/spec/replicas", outcome.object()["spec"]["replicas"].clone())
}

#[test]
fn operator_v0_6_sets_a_deployment_back_to_one() {
    let server = http();
    let created = create(deployment(1)).by(OPERATOR).finds(&server).run();
    created.assert_silent("the operator creates the Deployment");
    let live = scaled(deployment(1), "deployments", DEPLOYMENT_SELECTOR, HPA, 3, &server);
    assert_eq!(live["spec"]["replicas"], 3, "the autoscaler owns the count");
    // The operator finds the count changed, writes 1, is given 3 and tries again.
    let mut live = live;
    for _ in 0..3 {
        live = stored(&live, with(live.clone(), "/spec/replicas", json!(1)), OPERATOR, &server);
        assert_eq!(live["spec"]["replicas"], 3);
    }
    // It may change whatever else it likes with the same write.
    let rolled_out =
        with(with(live.clone(), "/spec/replicas", json!(1)), "/spec/template/spec/containers/0/image", json!("new"));
    let live = stored(&live, rolled_out, OPERATOR, &server);
    assert_eq!(live["spec"]["replicas"], 3);
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "new");
    let live = scaled(live, "deployments", DEPLOYMENT_SELECTOR, HPA, 2, &server);
    assert_eq!(live["spec"]["replicas"], 2, "the autoscaler still scales down");
}

#[test]
fn a_proxy_runner_sets_a_statefulset_back_to_one() {
    let server = http();
    let live = scaled(statefulset(1, "streamable-http"), "statefulsets", STATEFULSET_SELECTOR, HPA, 3, &server);
    assert_eq!(live["spec"]["replicas"], 3);
    // A forced server-side apply at each of its starts: to admission, an UPDATE with the whole object.
    let apply = json!({"kind": "PatchOptions", "apiVersion": "meta.k8s.io/v1", "force": true,
                       "fieldManager": "toolhive-container-manager"});
    for _ in 0..3 {
        let reset = update(live.clone(), with(live.clone(), "/spec/replicas", json!(1))).by(PROXY_RUNNER);
        let outcome = reset.request("options", apply.clone()).finds(&server).run();
        assert_eq!(outcome.object()["spec"]["replicas"], 3);
    }
}

#[test]
fn a_proxy_runner_drops_to_one_when_the_declaration_is_removed() {
    let declaring = with(http(), "/spec/backendReplicas", json!(3));
    let live = stored(&statefulset(3, "sse"), statefulset(3, "sse"), PROXY_RUNNER, &declaring);
    // `backendReplicas` is removed: the apply no longer holds the field, and the API server defaults it to 1.
    let live = stored(&live, statefulset(1, "sse"), PROXY_RUNNER, &http());
    assert_eq!(live["spec"]["replicas"], 3);
}

#[test]
fn the_present_operators_stdio_cap_stands() {
    let stdio = mcpserver(json!({"transport": "stdio"}));
    let live = stored(&deployment(5), deployment(1), OPERATOR, &stdio);
    assert_eq!(live["spec"]["replicas"], 1);
}

#[test]
fn a_declared_change_goes_through_whoever_writes_it() {
    let declaring = with(http(), "/spec/replicas", json!(2));
    let live = stored(&deployment(5), deployment(2), OPERATOR, &declaring);
    assert_eq!(live["spec"]["replicas"], 2);
}
