//! The row for StatefulSet: the backend's pods, `backendReplicas`, and the transport on the label.

use std::sync::Arc;

use policy_host::host::{callback_failure, not_found};
use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use serde_json::{Value, json};

use crate::harness::{OPERATOR, PROXY_RUNNER, admitted, create, mcpserver, statefulset, update, with};

fn http() -> Value {
    mcpserver(json!({"transport": "sse", "sessionStorage": {"provider": "redis"}}))
}

fn declaring(count: u32) -> Value {
    with(http(), "/spec/backendReplicas", json!(count))
}

#[test]
fn the_declared_count_is_backend_replicas() {
    assert_eq!(admitted(create(statefulset(1, "sse")).finds(&declaring(3))), 3);
    assert_eq!(admitted(update(statefulset(3, "sse"), statefulset(5, "sse")).finds(&declaring(3))), 3);
    let proxy_only = with(http(), "/spec/replicas", json!(9));
    assert_eq!(admitted(update(statefulset(1, "sse"), statefulset(2, "sse")).finds(&proxy_only)), 2);
    let outcome = update(statefulset(3, "sse"), statefulset(5, "sse")).finds(&declaring(3)).run();
    assert_eq!(outcome.warnings(), ["MCPServer spec.backendReplicas is 3 and wins; 5 requested"]);
}

#[test]
fn the_label_tells_the_transport() {
    assert_eq!(admitted(create(statefulset(3, "stdio")).finds(&http())), 1, "the pods run stdio still");
    let stdio = mcpserver(json!({"sessionStorage": {"provider": "redis"}}));
    assert_eq!(admitted(create(statefulset(3, "sse")).finds(&stdio)), 3, "the pods run sse still");
    for label in [None, Some(json!("")), Some(json!("STDIO")), Some(json!(null))] {
        let unlabelled = with(statefulset(3, "x"), "/metadata/labels/toolhive-transport", label);
        assert_eq!(admitted(create(unlabelled).finds(&stdio)), 1, "by lookup");
    }
}

#[test]
fn the_stdio_cap_needs_no_answer_to_the_lookup() {
    for error in [not_found, |_: &GetResourceRequest| callback_failure("timeout")] {
        let host = move |request: &GetResourceRequest| Err(error(request));
        let outcome = update(statefulset(1, "stdio"), statefulset(3, "stdio")).host(Arc::new(host)).run();
        assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
        let reset = update(statefulset(3, "sse"), statefulset(1, "sse")).by(PROXY_RUNNER).host(Arc::new(host));
        assert_eq!(admitted(reset), 1, "what is declared is not known, so nothing is preserved");
    }
}

#[test]
fn toolhives_resets_of_a_count_nobody_declared_are_undone() {
    for user in [OPERATOR, PROXY_RUNNER] {
        let reset = || update(statefulset(3, "sse"), statefulset(1, "sse")).by(user);
        assert_eq!(admitted(reset().finds(&http())), 3, "{user}");
        assert_eq!(admitted(reset().finds(&declaring(1))), 1, "{user}");
        assert_eq!(admitted(reset().finds(&http()).settings(json!({"preserveScaling": false}))), 1, "{user}");
        let stdio = update(statefulset(5, "stdio"), statefulset(1, "stdio")).by(user);
        assert_eq!(admitted(stdio.finds(&mcpserver(json!({})))), 1, "{user}");
    }
}

#[test]
fn only_the_servers_own_proxy_runner_is_one() {
    for user in [
        "system:serviceaccount:default:other-proxy-runner",
        "system:serviceaccount:elsewhere:github-proxy-runner",
        "system:serviceaccount:default:github",
        "github-proxy-runner",
    ] {
        let reset = update(statefulset(3, "sse"), statefulset(1, "sse")).by(user);
        assert_eq!(admitted(reset.finds(&http())), 1, "{user}");
    }
}

#[test]
fn the_proxy_runner_gets_no_warnings() {
    let case = update(statefulset(1, "stdio"), statefulset(3, "stdio")).by(PROXY_RUNNER);
    let outcome = case.finds(&mcpserver(json!({}))).run();
    assert_eq!(outcome.warnings(), [""; 0]);
    assert_eq!(outcome.annotations().len(), 2);
}

#[test]
fn grace_periods_are_left_alone() {
    let short = with(statefulset(1, "sse"), "/spec/template/spec/terminationGracePeriodSeconds", json!(1));
    update(statefulset(1, "sse"), short).run().assert_silent("a short grace period");
}

#[test]
fn an_owner_will_do_too() {
    let owner = json!([{"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPServer", "name": "github",
                        "controller": true}]);
    let owned = with(with(statefulset(3, "stdio"), "/metadata/labels", None), "/metadata/ownerReferences", owner);
    assert_eq!(admitted(create(owned).finds(&mcpserver(json!({})))), 1);
}

#[test]
fn what_is_not_toolhives_is_let_through_unread() {
    for labels in [json!({"app": "github"}), json!({"app": "github", "toolhive": "false", "toolhive-name": "github"})] {
        let foreign = with(statefulset(3, "stdio"), "/metadata/labels", labels);
        create(foreign.clone()).run().assert_silent("CREATE");
        update(foreign.clone(), with(foreign, "/spec/replicas", json!(5))).run().assert_silent("UPDATE");
    }
}

#[test]
fn what_becomes_toolhives_is_judged_whatever_it_was_before() {
    let unmarked = with(statefulset(3, "stdio"), "/metadata/labels", json!({"app": "github"}));
    assert_eq!(admitted(update(unmarked, statefulset(3, "stdio")).finds(&mcpserver(json!({})))), 1);
}
