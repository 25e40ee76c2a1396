//! Shows the decisions for an `MCPServer`: the policy warns about the counts that its spec declares, or caps or rejects them
//! where the settings say so.

use mcp_scaling_rules::annotations;
use mcp_scaling_rules::kind::API_VERSIONS;
use serde_json::{Value, json};

use fixtures::case::{OPERATOR, create, mcpserver, server, update, with};

const STDIO: &str = "transport stdio supports 1 replica; spec.replicas requests 2";
const BACKEND_STDIO: &str = "transport stdio supports 1 replica; spec.backendReplicas requests 2";
const SESSIONS: &str =
    "2 replicas without Redis: clients with sessions fail, most for good; v0.16+: spec.sessionStorage.provider redis";

fn redis() -> Value {
    json!({"provider": "redis", "address": "redis:6379"})
}

#[test]
fn accepts_counts_that_violate_no_rule() {
    for spec in [
        json!({}),
        json!({"replicas": 0}),
        json!({"replicas": 1, "backendReplicas": 1}),
        json!({"transport": "stdio", "replicas": null}),
        json!({"transport": "streamable-http", "replicas": 3, "backendReplicas": 1, "sessionStorage": redis()}),
        json!({"transport": "sse", "replicas": 2, "backendReplicas": 1, "sessionStorage": redis()}),
        json!({"transport": "streamable-http", "replicas": 9, "sessionStorage": redis()}),
    ] {
        create(mcpserver(spec.clone())).run().assert_accepted_as_is(&spec.to_string());
    }
}

#[test]
fn gives_a_warning_once_if_it_is_the_same_for_both_counts() {
    let both = json!({"transport": "streamable-http", "replicas": 2, "backendReplicas": 2});
    let warnings = create(mcpserver(both)).run().warnings();
    assert_eq!(warnings.iter().filter(|warning| *warning == SESSIONS).count(), 1, "{warnings:?}");
}

#[test]
fn warns_about_stdio_above_one() {
    let outcome = create(mcpserver(json!({"transport": "stdio", "replicas": 2, "sessionStorage": redis()}))).run();
    assert_eq!(outcome.warnings(), [STDIO]);
    assert_eq!(outcome.annotations(), ["stdio-replicas=spec.replicas=2"]);
    assert_eq!(outcome.changes(), [""; 0]);
    assert_eq!(outcome.refusal(), None);
}

#[test]
fn takes_an_absent_transport_for_stdio() {
    let outcome = create(mcpserver(json!({"replicas": 2, "sessionStorage": redis()}))).run();
    assert_eq!(outcome.warnings(), [STDIO]);
}

#[test]
fn validates_spec_backend_replicas_too() {
    let outcome = create(mcpserver(json!({"backendReplicas": 2, "sessionStorage": redis()}))).run();
    assert_eq!(outcome.warnings(), [BACKEND_STDIO]);
    let outcome = create(mcpserver(json!({"transport": "streamable-http", "backendReplicas": 2}))).run();
    assert_eq!(outcome.warnings().last().map(String::as_str), Some(SESSIONS));
    assert!(outcome.annotations().contains(&"sessions-at-risk=spec.backendReplicas=2".to_owned()));
}

#[test]
fn warns_about_replicas_without_shared_sessions() {
    for storage in [json!(null), json!({}), json!({"provider": "memory"})] {
        let spec = json!({"transport": "sse", "replicas": 2, "sessionStorage": storage});
        let outcome = create(mcpserver(spec)).run();
        assert_eq!(outcome.warnings(), [SESSIONS]);
        assert_eq!(outcome.annotations(), ["sessions-at-risk=spec.replicas=2"]);
    }
}

#[test]
fn recommends_no_redis_for_stdio() {
    for action in ["warn", "reject"] {
        let outcome = create(mcpserver(json!({"replicas": 2}))).settings(json!({"sessionStorage": action})).run();
        assert_eq!(outcome.warnings(), [STDIO], "its count becomes 1, or nobody can use the others");
        assert_eq!(outcome.annotations(), ["stdio-replicas=spec.replicas=2"]);
        assert_eq!(outcome.refusal(), None);
    }
}

#[test]
fn takes_the_default_storage_from_the_settings() {
    let server = mcpserver(json!({"transport": "sse", "replicas": 2}));
    create(server)
        .settings(json!({"defaultSessionStorage": "redis"}))
        .run()
        .assert_accepted_as_is("Redis is the default");
    let declared = mcpserver(json!({"transport": "sse", "replicas": 2, "sessionStorage": {"provider": "memory"}}));
    let outcome = create(declared).settings(json!({"defaultSessionStorage": "redis"})).run();
    let lacks_password =
        "memory gets the address of ToolHive's default Redis without its password; remove spec.sessionStorage";
    assert_eq!(outcome.warnings(), [lacks_password], "ToolHive uses its default Redis in place of memory");
}

#[test]
fn ignores_or_rejects_replicas_without_shared_sessions_where_the_settings_say_so() {
    let server = || mcpserver(json!({"transport": "sse", "replicas": 2}));
    create(server()).settings(json!({"sessionStorage": "ignore"})).run().assert_accepted_as_is("the setting ignore");
    let outcome = create(server()).settings(json!({"sessionStorage": "reject"})).run();
    let (code, message) = outcome.refusal().expect("is refused");
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "spec.replicas requests 2, and replicas share sessions only in Redis: lower it to 1, or set \
         spec.sessionStorage.provider of the MCPServer to redis (ToolHive v0.16 or newer)"
    );
}

#[test]
fn rejects_stdio_above_one_where_the_settings_say_so() {
    let reject = json!({"declaredReplicas": "reject"});
    let outcome = create(mcpserver(json!({"replicas": 2, "sessionStorage": redis()}))).settings(reject).run();
    let (code, message) = outcome.refusal().expect("is refused");
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "transport stdio supports 1 replica; spec.replicas requests 2: lower it to 1, or use transport streamable-http \
         or sse"
    );
    assert_eq!(outcome.warnings(), [""; 0], "the refusal takes the place of the warning");
}

#[test]
fn gives_both_reasons_in_one_refusal() {
    let spec = json!({"transport": "sse", "replicas": 2, "backendReplicas": 3});
    let settings = json!({"sessionStorage": "reject"});
    let (_, message) = create(mcpserver(spec)).settings(settings).run().refusal().expect("is refused");
    assert_eq!(
        message,
        "spec.replicas requests 2, and replicas share sessions only in Redis: lower it to 1, or set \
         spec.sessionStorage.provider of the MCPServer to redis (ToolHive v0.16 or newer); \
         spec.backendReplicas requests 3, and replicas share sessions only in Redis: lower it to 1, or use transport \
         streamable-http and set spec.sessionStorage.provider of the MCPServer to redis (ToolHive v0.16 or newer)"
    );
}

#[test]
fn caps_stdio_and_annotates_the_requested_counts_where_the_settings_say_so() {
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
        [STDIO.replace("requests 2", "requests 3").as_str(), BACKEND_STDIO],
        "there is no warning about sessions for the admitted single replica"
    );
    update(object.clone(), object).settings(cap).run().assert_accepted_as_is("the capped MCPServer");
}

#[test]
fn leaves_other_annotations_alone() {
    let annotated = |annotations| with(mcpserver(json!({"replicas": 3})), "/metadata/annotations", annotations);
    let requested = annotations::REQUESTED_REPLICAS;
    for (before, after) in [
        (json!(null), json!({requested: "spec.replicas=3"})),
        (json!({"a/b": "c"}), json!({"a/b": "c", requested: "spec.replicas=3"})),
        (json!({requested: "spec.replicas=9"}), json!({requested: "spec.replicas=3"})),
    ] {
        let outcome = create(annotated(before)).settings(json!({"declaredReplicas": "cap"})).run();
        assert_eq!(outcome.object()["metadata"]["annotations"], after);
    }
}

#[test]
fn caps_stdio_only() {
    let server = mcpserver(json!({"transport": "sse", "replicas": 3, "sessionStorage": redis()}));
    create(server).settings(json!({"declaredReplicas": "cap"})).run().assert_accepted_as_is("sse");
}

#[test]
fn writes_audit_annotations_but_no_warnings_for_the_operator() {
    let outcome = create(mcpserver(json!({"replicas": 2}))).by(OPERATOR).run();
    assert_eq!(outcome.warnings(), [""; 0]);
    assert_eq!(outcome.annotations(), ["stdio-replicas=spec.replicas=2"]);
}

#[test]
fn takes_the_operators_accounts_from_the_settings() {
    let settings = json!({"operatorServiceAccounts": ["system:serviceaccount:mcp:op"]});
    let server = || mcpserver(json!({"transport": "sse", "replicas": 2}));
    let case = || create(server()).settings(settings.clone());
    assert_eq!(case().by("system:serviceaccount:mcp:op").run().warnings(), [""; 0]);
    assert_eq!(case().by("system:serviceaccount:mcp:other").run().warnings(), [SESSIONS]);
    assert_eq!(
        case().by(OPERATOR).run().warnings(),
        [""; 0],
        "an operator that the settings do not name reads none either"
    );
}

#[test]
fn warns_where_the_request_names_no_user() {
    let case = create(mcpserver(json!({"transport": "sse", "replicas": 2}))).with_member("userInfo", json!({}));
    assert_eq!(case.run().warnings(), [SESSIONS]);
}

#[test]
fn accepts_updates_that_do_not_raise_a_count_which_violated_a_rule_before() {
    let settings = json!({"declaredReplicas": "reject", "sessionStorage": "reject"});
    let server = |transport, replicas| mcpserver(json!({"transport": transport, "replicas": replicas}));
    let refused = |old, new| update(old, new).settings(settings.clone()).run().refusal().is_some();

    assert!(!refused(server("stdio", 3), with(server("stdio", 3), "/metadata/labels", json!({"a": "b"}))));
    assert!(!refused(server("stdio", 3), server("stdio", 2)), "a lower count that still violates the rule");
    assert!(!refused(server("stdio", 3), server("stdio", 1)));
    assert!(refused(server("stdio", 3), server("stdio", 4)), "a higher count");
    assert!(refused(server("stdio", 1), server("stdio", 2)), "the first violation");
    assert!(!refused(server("sse", 3), server("sse", 3)));
    assert!(refused(server("sse", 3), server("stdio", 3)), "another rule than the one that was violated before");
    assert!(refused(server("stdio", 3), server("sse", 3)), "with stdio it lost no sessions");

    let with_redis = with(server("sse", 3), "/spec/sessionStorage", redis());
    assert!(refused(with_redis.clone(), server("sse", 3)), "Redis is removed");
    assert!(!refused(server("sse", 3), with_redis));

    let still_violating = update(server("stdio", 3), server("stdio", 3)).settings(settings.clone()).run();
    assert_eq!(still_violating.warnings().len(), 1, "the update is accepted with a warning");
}

#[test]
fn accepts_deletions() {
    let strict = json!({"declaredReplicas": "reject", "sessionStorage": "reject"});
    let server = || mcpserver(json!({"replicas": 3}));
    let deleted = || with(server(), "/metadata/deletionTimestamp", json!("2026-11-20T00:00:00Z"));
    let case = create(server()).with_member("operation", json!("DELETE")).with_member("oldObject", server());
    case.with_member("object", json!(null)).settings(strict.clone()).run().assert_accepted_as_is("DELETE");
    let finalizer_removed = with(deleted(), "/spec/replicas", json!(4));
    update(deleted(), finalizer_removed)
        .settings(strict)
        .run()
        .assert_accepted_as_is("an update of an MCPServer that is being deleted");
}

#[test]
fn validates_both_api_versions() {
    for api_version in API_VERSIONS {
        let server = with(mcpserver(json!({"transport": "sse", "replicas": 2})), "/apiVersion", json!(api_version));
        assert_eq!(create(server).run().warnings(), [SESSIONS], "{api_version}");
    }
}

#[test]
fn ignores_subresources() {
    let case = create(mcpserver(json!({"replicas": 3}))).with_member("subResource", json!("status"));
    case.run().assert_accepted_as_is("status");
}

#[test]
fn joins_the_audit_annotations_of_both_fields() {
    for (transport, annotation) in [("stdio", "stdio-replicas"), ("streamable-http", "sessions-at-risk")] {
        let spec = json!({"transport": transport, "replicas": 3, "backendReplicas": 2});
        let outcome = create(mcpserver(spec)).run();
        assert_eq!(outcome.annotations()[0], format!("{annotation}=spec.replicas=3,spec.backendReplicas=2"));
    }
}

#[test]
fn keeps_the_annotation_of_capped_counts_complete_and_current() {
    const ANNOTATION: &str = "/metadata/annotations/mcpserver-scaling-policy~1requested-replicas";
    let cap = || json!({"declaredReplicas": "cap", "sessionStorage": "ignore"});
    let server = |spec: Value, annotation: Option<&str>| {
        let server = with(mcpserver(spec), "/metadata/annotations", json!({}));
        with(server, ANNOTATION, annotation.map(Value::from))
    };
    let capped = |old: Value, new: Value| update(old, new).settings(cap()).run().changes();
    let first = || server(json!({"replicas": 1}), Some("spec.replicas=3"));

    let both = server(json!({"replicas": 1, "backendReplicas": 2}), Some("spec.replicas=3"));
    assert_eq!(
        capped(first(), both),
        [format!("{ANNOTATION}=\"spec.replicas=3,spec.backendReplicas=2\""), "/spec/backendReplicas=1".to_owned()]
    );
    let labelled = with(first(), "/metadata/labels", json!({"x": "y"}));
    assert_eq!(capped(first(), labelled), [""; 0], "the cap still applies");
    for spec in [json!({}), json!({"replicas": 0}), json!({"replicas": 1, "transport": "sse"})] {
        let changed = server(spec.clone(), Some("spec.replicas=3"));
        assert_eq!(capped(first(), changed), [format!("{ANNOTATION}=removed")], "{spec}");
    }
}

#[test]
fn says_that_a_count_is_there_where_the_request_does_not_change_it() {
    let server = mcpserver(json!({"replicas": 3, "sessionStorage": redis()}));
    let labelled = with(server.clone(), "/metadata/labels", json!({"x": "y"}));
    let outcome = update(server, labelled).run();
    assert_eq!(outcome.warnings(), ["transport stdio supports 1 replica; spec.replicas is 3"]);
}

#[test]
fn rejects_nothing_that_toolhive_writes() {
    let settings = json!({"declaredReplicas": "reject", "sessionStorage": "reject"});
    let outcome = create(mcpserver(json!({"replicas": 3}))).by(OPERATOR).settings(settings).run();
    assert_eq!(outcome.refusal(), None);
}

const RESTART: &str = "ToolHive v0.24.1 and newer restart all proxies of an MCPServer when a declared count changes";

#[test]
fn tells_a_person_that_a_changed_count_restarts_all_proxies() {
    let server = |counts: Value| {
        let mut server = mcpserver(json!({"transport": "streamable-http", "sessionStorage": redis()}));
        server["spec"].as_object_mut().expect("is an object").extend(counts.as_object().expect("is one").clone());
        server
    };
    let both = |count: u32| json!({"replicas": count, "backendReplicas": count});
    let none = "scaling the Deployment or the StatefulSet";
    for (old, new, what) in [
        (json!({"replicas": 2}), json!({"replicas": 3}), "kubectl -n default scale deploy github --replicas=3"),
        (json!({}), json!({"replicas": 3}), "kubectl -n default scale deploy github --replicas=3"),
        (json!({"replicas": 2}), json!({}), none),
        (
            json!({"backendReplicas": 2}),
            json!({"backendReplicas": 1}),
            "kubectl -n default scale sts github --replicas=1",
        ),
        (both(2), both(1), "kubectl -n default scale deploy github --replicas=1"),
    ] {
        let case = || update(server(old.clone()), server(new.clone()));
        let advice = |what: &str| format!("with no count declared, {what} restarts nothing");
        assert_eq!(case().run().warnings(), [RESTART, &advice(what)], "{old} to {new}");
        let long = case().with_member("name", json!("n".repeat(63))).run().warnings();
        assert_eq!(long, [RESTART, &advice(none)], "a name that does not fit");
        assert_eq!(case().by(OPERATOR).run().warnings(), [""; 0]);
    }
    let stdio = |count: u32| mcpserver(json!({"replicas": count, "sessionStorage": redis()}));
    assert_eq!(update(stdio(3), stdio(1)).run().warnings(), [RESTART], "1 is the only count, which needs no advice");
    let counts = json!({"replicas": 2, "backendReplicas": 2});
    let other_image = with(server(counts.clone()), "/spec/image", json!("b"));
    update(server(counts), other_image).run().assert_accepted_as_is("another field");
    create(server(json!({"replicas": 2}))).run().assert_accepted_as_is("nothing runs yet");
}

#[test]
fn tells_of_no_restart_where_the_count_stays_at_the_cap_or_the_kind_has_no_generation_in_its_pods() {
    let stdio = |count: u32| mcpserver(json!({"replicas": count, "sessionStorage": redis()}));
    let capped = update(stdio(1), stdio(3)).settings(json!({"declaredReplicas": "cap"})).run();
    assert_eq!(capped.changes().len(), 2);
    assert_eq!(capped.warnings(), [STDIO.replace('2', "3")]);
    for kind in ["VirtualMCPServer", "MCPRemoteProxy"] {
        let server = |count: u32| server(kind, json!({"replicas": count, "sessionStorage": redis()}));
        update(server(2), server(3)).run().assert_accepted_as_is(kind);
    }
}
