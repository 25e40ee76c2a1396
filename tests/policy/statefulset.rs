//! Shows the decisions for a StatefulSet, which runs the MCP server's own pods: `spec.backendReplicas` declares its count,
//! and its label names the transport.

use std::sync::Arc;

use mcp_scaling_rules::ServerKind;
use mcp_scaling_rules::kind::API_VERSIONS;
use policy_host::host::{GetResourceRequest, callback_failure, not_found};
use serde_json::{Value, json};

use fixtures::case::{GRACE_PERIOD, OPERATOR, PROXY_RUNNER, admitted, create, mcpserver, statefulset, update, with};

fn http() -> Value {
    mcpserver(json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis"}}))
}

fn declaring(count: u32) -> Value {
    with(http(), "/spec/backendReplicas", json!(count))
}

#[test]
fn overrides_the_requested_count_with_spec_backend_replicas() {
    assert_eq!(admitted(create(statefulset(1, "sse")).lookup_finds(&declaring(3))), 3);
    assert_eq!(admitted(update(statefulset(3, "sse"), statefulset(5, "sse")).lookup_finds(&declaring(3))), 3);
    let proxy_only = with(http(), "/spec/replicas", json!(9));
    assert_eq!(admitted(update(statefulset(1, "sse"), statefulset(2, "sse")).lookup_finds(&proxy_only)), 2);
    let outcome = update(statefulset(3, "sse"), statefulset(5, "sse")).lookup_finds(&declaring(3));
    let outcome = outcome.settings(json!({"sessionStorage": "ignore"})).run();
    assert_eq!(outcome.warnings(), ["spec.backendReplicas of MCPServer github is 3 and overrides the requested 5"]);
}

#[test]
fn caps_where_the_label_or_the_mcpserver_says_stdio() {
    assert_eq!(admitted(create(statefulset(3, "stdio")).lookup_finds(&http())), 1, "the pods still run with stdio");
    let stdio = mcpserver(json!({"sessionStorage": {"provider": "redis"}}));
    assert_eq!(admitted(create(statefulset(3, "sse")).lookup_finds(&stdio)), 1, "anybody may edit the label");
    for label in [None, Some(json!("")), Some(json!("STDIO")), Some(json!(null))] {
        let unlabelled = with(statefulset(3, "x"), "/metadata/labels/toolhive-transport", label);
        assert_eq!(admitted(create(unlabelled).lookup_finds(&stdio)), 1, "the transport of the MCPServer applies");
    }
}

#[test]
fn caps_stdio_by_the_label_where_the_lookup_is_unsuccessful() {
    for error in [not_found, |_: &GetResourceRequest| callback_failure("timeout")] {
        let host = move |request: &GetResourceRequest| Err(error(request));
        let outcome = update(statefulset(1, "stdio"), statefulset(3, "stdio")).host(Arc::new(host)).run();
        assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
        let reset = update(statefulset(3, "sse"), statefulset(1, "sse")).by(PROXY_RUNNER).host(Arc::new(host));
        assert_eq!(admitted(reset), 1, "nothing is preserved where the declared count is unknown");
    }
}

#[test]
fn undoes_a_reset_by_toolhive_where_no_count_is_declared() {
    for user in [OPERATOR, PROXY_RUNNER] {
        let reset = || update(statefulset(3, "sse"), statefulset(1, "sse")).by(user);
        assert_eq!(admitted(reset().lookup_finds(&http())), 3, "{user}");
        assert_eq!(admitted(reset().lookup_finds(&declaring(1))), 1, "{user}");
        assert_eq!(admitted(reset().lookup_finds(&http()).settings(json!({"preserveScaling": false}))), 1, "{user}");
        let stdio = update(statefulset(5, "stdio"), statefulset(1, "stdio")).by(user);
        assert_eq!(admitted(stdio.lookup_finds(&mcpserver(json!({})))), 1, "{user}");
    }
}

#[test]
fn undoes_no_reset_by_another_account() {
    for user in [
        "system:serviceaccount:default:other-proxy-runner",
        "system:serviceaccount:elsewhere:github-proxy-runner",
        "system:serviceaccount:default:github",
        "github-proxy-runner",
    ] {
        let reset = update(statefulset(3, "sse"), statefulset(1, "sse")).by(user);
        assert_eq!(admitted(reset.lookup_finds(&http())), 1, "{user}");
    }
}

#[test]
fn does_not_warn_the_proxy_runner() {
    let case = update(statefulset(1, "stdio"), statefulset(3, "stdio")).by(PROXY_RUNNER);
    let outcome = case.lookup_finds(&mcpserver(json!({}))).run();
    assert_eq!(outcome.warnings(), [""; 0]);
    assert_eq!(outcome.annotations().len(), 2);
}

#[test]
fn leaves_the_grace_period_alone() {
    let short = with(statefulset(1, "sse"), GRACE_PERIOD, json!(1));
    update(statefulset(1, "sse"), short).run().assert_accepted_as_is("a short grace period");
}

#[test]
fn finds_the_owner_by_controller_reference() {
    let owner = json!([{"apiVersion": API_VERSIONS[0], "kind": ServerKind::McpServer.name(), "name": "github",
                        "controller": true}]);
    let owned = with(with(statefulset(3, "stdio"), "/metadata/labels", None), "/metadata/ownerReferences", owner);
    assert_eq!(admitted(create(owned).lookup_finds(&mcpserver(json!({})))), 1);
}

#[test]
fn ignores_statefulsets_that_are_not_toolhives() {
    for labels in [json!({"app": "github"}), json!({"app": "github", "toolhive": "false", "toolhive-name": "github"})] {
        let foreign = with(statefulset(3, "stdio"), "/metadata/labels", labels);
        create(foreign.clone()).run().assert_accepted_as_is("CREATE");
        update(foreign.clone(), with(foreign, "/spec/replicas", json!(5))).run().assert_accepted_as_is("UPDATE");
    }
}

#[test]
fn validates_a_statefulset_that_becomes_toolhives_with_the_update() {
    let foreign = with(statefulset(3, "stdio"), "/metadata/labels", json!({"app": "github"}));
    assert_eq!(admitted(update(foreign, statefulset(3, "stdio")).lookup_finds(&mcpserver(json!({})))), 1);
}

#[test]
fn caps_and_never_rejects_what_the_proxy_runner_writes() {
    let server = mcpserver(json!({"backendReplicas": 3}));
    for setting in ["cap", "reject", "warn"] {
        let settings = json!({"stdioReplicas": setting, "sessionStorage": "reject"});
        let case = create(statefulset(3, "stdio")).by(PROXY_RUNNER).lookup_finds(&server).settings(settings);
        assert_eq!(admitted(case), 1, "{setting}");
    }
    let unreachable = Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
    let settings = json!({"onLookupFailure": "reject"});
    let case = create(statefulset(3, "sse")).by(PROXY_RUNNER).host(unreachable).settings(settings);
    assert_eq!(admitted(case), 3, "ToolHive's own write is never refused");
}

#[test]
fn rejects_what_cannot_be_checked_if_stdio_is_not_capped() {
    let run = |on_failure: &str| {
        let unreachable = Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
        let settings = json!({"onLookupFailure": on_failure, "stdioReplicas": "warn"});
        create(statefulset(3, "stdio")).host(unreachable).settings(settings).run()
    };
    assert_eq!(run("reject").refusal().map(|(code, _)| code), Some(503), "anybody can set the label");
    let warnings = run("allow").warnings();
    assert!(
        warnings.contains(&"MCPServer github could not be read; spec.replicas was not checked".to_owned()),
        "{warnings:?}"
    );
}

#[test]
fn does_not_say_unchecked_beside_a_cap() {
    let unreachable = Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
    let settings = json!({"onLookupFailure": "reject"});
    let outcome = create(statefulset(3, "stdio")).host(unreachable).settings(settings).run();
    assert_eq!(outcome.refusal(), None, "the label is all that the cap needs");
    assert_eq!(outcome.warnings(), ["transport stdio supports 1 replica; spec.replicas requests 3"]);
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
}
