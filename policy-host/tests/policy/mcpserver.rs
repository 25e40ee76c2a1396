//! The row for MCPServer: what its spec declares is warned about, or capped or refused where the settings say so.

use serde_json::{Value, json};

use crate::harness::{OPERATOR, create, mcpserver, update, with};

const TWO_STDIO: &str = "stdio runs 1 replica; 2 requested in spec.replicas";
const TWO_BACKENDS_STDIO: &str = "stdio runs 1 replica; 2 requested in spec.backendReplicas";
const TWO_UNSHARED: &str =
    "spec.replicas 2 without Redis loses sessions; set sessionStorage.provider of the MCPServer to redis";

fn redis() -> Value {
    json!({"provider": "redis", "address": "redis:6379"})
}

#[test]
fn counts_that_break_no_rule_pass_in_silence() {
    for spec in [
        json!({}),
        json!({"replicas": 0}),
        json!({"replicas": 1, "backendReplicas": 1}),
        json!({"transport": "stdio", "replicas": null}),
        json!({"transport": "sse", "replicas": 2, "backendReplicas": 3, "sessionStorage": redis()}),
        json!({"transport": "streamable-http", "replicas": 9, "sessionStorage": redis()}),
    ] {
        create(mcpserver(spec.clone())).run().assert_silent(&spec.to_string());
    }
}

#[test]
fn stdio_above_one_is_warned_about_and_audited() {
    let outcome = create(mcpserver(json!({"transport": "stdio", "replicas": 2, "sessionStorage": redis()}))).run();
    assert_eq!(outcome.warnings(), [TWO_STDIO]);
    assert_eq!(outcome.annotations(), ["stdio-replicas=spec.replicas=2"]);
    assert_eq!(outcome.changes(), [""; 0]);
    assert_eq!(outcome.refusal(), None);
}

#[test]
fn an_absent_transport_is_stdio() {
    let outcome = create(mcpserver(json!({"replicas": 2, "sessionStorage": redis()}))).run();
    assert_eq!(outcome.warnings(), [TWO_STDIO]);
}

#[test]
fn backend_replicas_count_too() {
    let outcome = create(mcpserver(json!({"backendReplicas": 2, "sessionStorage": redis()}))).run();
    assert_eq!(outcome.warnings(), [TWO_BACKENDS_STDIO]);
    let outcome = create(mcpserver(json!({"transport": "sse", "backendReplicas": 2}))).run();
    assert_eq!(outcome.warnings(), [TWO_UNSHARED.replace("spec.replicas", "spec.backendReplicas")]);
}

#[test]
fn replicas_without_redis_are_warned_about() {
    for storage in [json!(null), json!({}), json!({"provider": "memory"})] {
        let spec = json!({"transport": "sse", "replicas": 2, "sessionStorage": storage});
        let outcome = create(mcpserver(spec)).run();
        assert_eq!(outcome.warnings(), [TWO_UNSHARED]);
        assert_eq!(outcome.annotations(), ["sessions-at-risk=spec.replicas=2"]);
    }
}

#[test]
fn stdio_without_redis_raises_both() {
    let outcome = create(mcpserver(json!({"replicas": 2}))).run();
    assert_eq!(outcome.warnings(), [TWO_STDIO, TWO_UNSHARED]);
}

#[test]
fn the_default_storage_is_a_setting() {
    let server = mcpserver(json!({"transport": "sse", "replicas": 2}));
    create(server).settings(json!({"defaultSessionStorage": "redis"})).run().assert_silent("redis by default");
    let declared = mcpserver(json!({"transport": "sse", "replicas": 2, "sessionStorage": {"provider": "memory"}}));
    let outcome = create(declared).settings(json!({"defaultSessionStorage": "redis"})).run();
    assert_eq!(outcome.warnings(), [TWO_UNSHARED], "what is declared wins over the default");
}

#[test]
fn session_storage_can_be_ignored_or_insisted_on() {
    let server = || mcpserver(json!({"transport": "sse", "replicas": 2}));
    create(server()).settings(json!({"sessionStorage": "ignore"})).run().assert_silent("ignored");
    let outcome = create(server()).settings(json!({"sessionStorage": "reject"})).run();
    let (code, message) = outcome.refusal().expect("is refused");
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "spec.replicas is 2, but replicas share sessions only in Redis: lower it to 1, or set \
         spec.sessionStorage.provider of the MCPServer to redis"
    );
}

#[test]
fn a_declared_count_is_refused_where_the_settings_say_so() {
    let reject = json!({"declaredReplicas": "reject"});
    let outcome = create(mcpserver(json!({"replicas": 2, "sessionStorage": redis()}))).settings(reject).run();
    let (code, message) = outcome.refusal().expect("is refused");
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "spec.replicas is 2, but an MCPServer with transport stdio runs 1 replica: lower it to 1, or use transport \
         streamable-http or sse"
    );
    assert_eq!(outcome.warnings(), [""; 0], "the refusal says it already");
}

#[test]
fn two_refusals_are_told_in_one() {
    let settings = json!({"declaredReplicas": "reject", "sessionStorage": "reject"});
    let (_, message) =
        create(mcpserver(json!({"replicas": 2}))).settings(settings).run().refusal().expect("is refused");
    assert!(message.contains("stdio") && message.contains("Redis"), "{message}");
}

#[test]
fn a_declared_count_is_capped_with_a_trace_where_the_settings_say_so() {
    let cap = json!({"declaredReplicas": "cap"});
    let server = mcpserver(json!({"replicas": 3, "backendReplicas": 2, "image": "x"}));
    let outcome = create(server).settings(cap.clone()).run();
    let object = outcome.object();
    assert_eq!(object["spec"], json!({"replicas": 1, "backendReplicas": 1, "image": "x"}));
    assert_eq!(
        object["metadata"]["annotations"],
        json!({"mcpserver-scaling-policy/requested-replicas": "spec.replicas=3,spec.backendReplicas=2"})
    );
    assert_eq!(
        outcome.warnings(),
        ["stdio runs 1 replica; 3 requested in spec.replicas", TWO_BACKENDS_STDIO],
        "one replica shares its sessions with nobody"
    );
    update(object.clone(), object).settings(cap).run().assert_silent("once capped, there is nothing more to do");
}

#[test]
fn the_trace_leaves_other_annotations_alone() {
    let annotated = |annotations| with(mcpserver(json!({"replicas": 3})), "/metadata/annotations", annotations);
    let trace = "mcpserver-scaling-policy/requested-replicas";
    for (before, after) in [
        (json!(null), json!({trace: "spec.replicas=3"})),
        (json!({"a/b": "c"}), json!({"a/b": "c", trace: "spec.replicas=3"})),
        (json!({trace: "spec.replicas=9"}), json!({trace: "spec.replicas=3"})),
    ] {
        let outcome = create(annotated(before)).settings(json!({"declaredReplicas": "cap"})).run();
        assert_eq!(outcome.object()["metadata"]["annotations"], after);
    }
}

#[test]
fn only_stdio_is_capped() {
    let server = mcpserver(json!({"transport": "sse", "replicas": 3, "sessionStorage": redis()}));
    create(server).settings(json!({"declaredReplicas": "cap"})).run().assert_silent("sse");
}

#[test]
fn the_operator_is_audited_but_not_warned() {
    let outcome = create(mcpserver(json!({"replicas": 2}))).by(OPERATOR).run();
    assert_eq!(outcome.warnings(), [""; 0]);
    assert_eq!(outcome.annotations(), ["sessions-at-risk=spec.replicas=2", "stdio-replicas=spec.replicas=2"]);
}

#[test]
fn who_the_operator_is_can_be_set() {
    let settings = json!({"operatorServiceAccounts": ["system:serviceaccount:mcp:op"]});
    let server = || mcpserver(json!({"transport": "sse", "replicas": 2}));
    let case = || create(server()).settings(settings.clone());
    assert_eq!(case().by("system:serviceaccount:mcp:op").run().warnings(), [""; 0]);
    assert_eq!(case().by(OPERATOR).run().warnings(), [TWO_UNSHARED], "no longer the operator");
}

#[test]
fn a_request_without_a_user_is_warned_like_a_person() {
    let case = create(mcpserver(json!({"transport": "sse", "replicas": 2}))).request("userInfo", json!({}));
    assert_eq!(case.run().warnings(), [TWO_UNSHARED]);
}

#[test]
fn an_object_that_broke_the_rule_already_may_be_edited_but_not_made_worse() {
    let settings = json!({"declaredReplicas": "reject", "sessionStorage": "reject"});
    let server = |transport, replicas| mcpserver(json!({"transport": transport, "replicas": replicas}));
    let refused = |old, new| update(old, new).settings(settings.clone()).run().refusal().is_some();

    assert!(!refused(server("stdio", 3), with(server("stdio", 3), "/metadata/labels", json!({"a": "b"}))));
    assert!(!refused(server("stdio", 3), server("stdio", 2)), "better, if not good");
    assert!(!refused(server("stdio", 3), server("stdio", 1)));
    assert!(refused(server("stdio", 3), server("stdio", 4)), "worse");
    assert!(refused(server("stdio", 1), server("stdio", 2)), "broken anew");
    assert!(!refused(server("sse", 3), server("sse", 3)));
    assert!(refused(server("sse", 3), server("stdio", 3)), "another rule than the one it broke");

    let shared = with(server("sse", 3), "/spec/sessionStorage", redis());
    assert!(refused(shared.clone(), server("sse", 3)), "Redis taken away");
    assert!(!refused(server("sse", 3), shared));

    let still_broken = update(server("stdio", 3), server("stdio", 3)).settings(settings.clone()).run();
    assert_eq!(still_broken.warnings().len(), 2, "let through, but not in silence");
}

#[test]
fn deleting_is_never_in_the_way() {
    let strict = json!({"declaredReplicas": "reject", "sessionStorage": "reject"});
    let server = || mcpserver(json!({"replicas": 3}));
    let deleted = || with(server(), "/metadata/deletionTimestamp", json!("2026-11-20T00:00:00Z"));
    let case = create(server()).request("operation", json!("DELETE")).request("oldObject", server());
    case.request("object", json!(null)).settings(strict.clone()).run().assert_silent("DELETE");
    let finalizer_removed = with(deleted(), "/spec/replicas", json!(4));
    update(deleted(), finalizer_removed).settings(strict).run().assert_silent("being deleted");
}

#[test]
fn both_api_versions_are_judged() {
    let server = with(
        mcpserver(json!({"transport": "sse", "replicas": 2})),
        "/apiVersion",
        json!("toolhive.stacklok.dev/v1alpha1"),
    );
    assert_eq!(create(server).run().warnings(), [TWO_UNSHARED]);
}

#[test]
fn subresources_are_none_of_ours() {
    let case = create(mcpserver(json!({"replicas": 3}))).request("subResource", json!("status"));
    case.run().assert_silent("status");
}
