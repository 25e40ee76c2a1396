//! Shows that with `corrections: reject` an object that needs a change is never changed: the request is refused with the
//! policy's own words, unless it is one that is never refused.

use std::sync::Arc;

use mcp_scaling_rules::Workload;
use policy_host::host::{GetResourceRequest, callback_failure};
use serde_json::{Value, json};

use fixtures::case::{
    Case, GRACE_PERIOD, OPERATOR, Outcome, PROXY_RUNNER, create, deployment, mcpserver, scale, selector, statefulset,
    update, with,
};

/// A server that declares 3 replicas of both workloads.
fn declaring() -> Value {
    mcpserver(json!({
        "transport": "sse", "replicas": 3, "backendReplicas": 3, "sessionStorage": {"provider": "redis"}
    }))
}

fn run(case: Case) -> Outcome {
    case.settings(json!({"corrections": "reject"})).run()
}

/// The message of a refusal with code 422.
#[track_caller]
fn refusal(case: Case) -> String {
    let (code, message) = run(case).refusal().expect("is refused");
    assert_eq!(code, 422, "{message}");
    message
}

#[track_caller]
fn assert_passes_unchanged(case: Case, annotations: &[&str]) {
    let outcome = run(case);
    assert_eq!((outcome.refusal(), outcome.changes()), (None, Vec::new()));
    assert_eq!(outcome.annotations(), annotations);
}

#[test]
fn rejects_a_count_that_differs_from_the_declared_one() {
    for (count, case) in [
        (5, create(deployment(5))),
        (1, create(deployment(1))),
        (5, update(deployment(3), deployment(5))),
        (2, update(deployment(0), deployment(2))),
    ] {
        assert_eq!(
            refusal(case.lookup_finds(&declaring())),
            format!(
                "spec.replicas requests {count} and spec.replicas of MCPServer github wants 3: request 3, or change the MCPServer"
            )
        );
    }
    assert_eq!(
        refusal(create(statefulset(5, "sse")).lookup_finds(&declaring())),
        "spec.replicas requests 5 and spec.backendReplicas of MCPServer github wants 3: request 3, or change the \
         MCPServer"
    );
}

#[test]
fn rejects_what_it_would_cap() {
    let stdio = mcpserver(json!({}));
    for case in [create(deployment(3)), scale("deployments", &selector(Workload::Deployment), 1, 3)] {
        let message = refusal(case.lookup_finds(&stdio));
        assert!(message.starts_with("transport stdio supports 1 replica; spec.replicas requests 3"), "{message}");
    }
    let declared = create(mcpserver(json!({"replicas": 3})));
    let settings = json!({"corrections": "reject", "declaredReplicas": "cap"});
    let (code, message) = declared.settings(settings).run().refusal().expect("is refused");
    assert_eq!(code, 422);
    assert!(message.starts_with("transport stdio supports 1 replica; spec.replicas requests 3"), "{message}");
}

#[test]
fn rejects_a_short_grace_period() {
    let short = |seconds: i64| with(deployment(3), GRACE_PERIOD, json!(seconds));
    let message = "the termination grace period should be at least 35 s; the pod template requests 5 s";
    for case in [create(short(5)), update(deployment(3), short(5)), update(short(6), short(5))] {
        let outcome = run(case.lookup_finds(&declaring()));
        assert_eq!(outcome.refusal(), Some((422, message.to_owned())));
        assert_eq!(outcome.warnings(), [""; 0], "the refusal says it");
    }
    let unchanged = update(short(5), short(5)).lookup_finds(&declaring());
    run(unchanged).assert_accepted_as_is("the pod template stays");
    let other_image = with(short(5), "/spec/template/spec/containers/0/image", json!("b"));
    let outcome = run(update(short(5), other_image).lookup_finds(&declaring()));
    assert_eq!((outcome.refusal(), outcome.warnings()), (None, vec![message.to_owned()]), "it is no worse");
}

#[test]
fn rejects_a_container_without_a_hook_unless_it_had_none_before() {
    let template = "/spec/template/spec/containers/0";
    let hookless = || with(deployment(3), &format!("{template}/lifecycle"), None);
    let settings = json!({"corrections": "reject", "preStopSeconds": 5});
    let run = |case: Case| case.lookup_finds(&declaring()).settings(settings.clone()).run();
    let message = "container toolhive should have a preStop hook that sleeps 5 s";
    for case in [create(hookless()), update(deployment(3), hookless())] {
        assert_eq!(run(case).refusal(), Some((422, message.to_owned())));
    }
    let other_image = with(hookless(), &format!("{template}/image"), json!("b"));
    let outcome = run(update(hookless(), other_image));
    assert_eq!((outcome.refusal(), outcome.changes()), (None, Vec::new()), "it is no worse");
    assert_eq!(outcome.annotations(), ["pre-stop=wanted=5"]);
}

#[test]
fn gives_a_refused_request_the_message_alone() {
    let cases = [
        (json!({"stdioReplicas": "reject"}), scale("deployments", &selector(Workload::Deployment), 1, 3)),
        (json!({"declaredReplicas": "reject"}), update(mcpserver(json!({})), mcpserver(json!({"replicas": 3})))),
    ];
    for (settings, case) in cases {
        let outcome = case.lookup_finds(&mcpserver(json!({"replicas": 2}))).settings(settings.clone()).run();
        assert_eq!(outcome.refusal().map(|(code, _)| code), Some(422), "{settings}");
        assert_eq!(outcome.warnings(), [""; 0], "{settings}");
    }
}

#[test]
fn passes_requests_of_toolhive_unchanged() {
    let annotation = "replicas=requested=5 wanted=3 reason=declared";
    for user in [OPERATOR, PROXY_RUNNER] {
        let changed = || update(deployment(3), deployment(5)).lookup_finds(&declaring()).by(user);
        assert_passes_unchanged(changed(), &[annotation]);
        assert_passes_unchanged(create(deployment(5)).lookup_finds(&declaring()).by(user), &[annotation]);
    }
    let stdio = create(statefulset(3, "stdio")).lookup_finds(&mcpserver(json!({}))).by(PROXY_RUNNER);
    let annotations = ["replicas=requested=3 wanted=1 reason=stdio", "stdio-replicas=spec.replicas=3"];
    assert_passes_unchanged(stdio, &annotations);
    let short = with(deployment(3), GRACE_PERIOD, json!(5));
    assert_passes_unchanged(
        create(short).lookup_finds(&declaring()).by(OPERATOR),
        &["termination-grace-period=requested=5 wanted=35"],
    );
    let undeclared = mcpserver(json!({"transport": "sse", "sessionStorage": {"provider": "redis"}}));
    let reset = update(deployment(3), deployment(1)).lookup_finds(&undeclared).by(OPERATOR);
    assert_passes_unchanged(reset, &[]);
}

#[test]
fn accepts_a_count_that_does_not_rise() {
    for (old, new) in [(5, 5), (5, 4), (5, 0), (3, 2)] {
        let outcome = run(update(deployment(old), deployment(new)).lookup_finds(&declaring()));
        assert_eq!((outcome.refusal(), outcome.changes()), (None, Vec::new()), "{old} to {new}");
        assert_eq!(outcome.warnings().len(), 1, "{old} to {new}");
    }
}

#[test]
fn does_not_say_that_a_statefulset_gets_its_declared_count() {
    let server = mcpserver(json!({"transport": "streamable-http", "backendReplicas": 3}));
    let lowered = update(statefulset(3, "streamable-http"), statefulset(1, "streamable-http"));
    let outcome = run(lowered.lookup_finds(&server));
    assert_eq!((outcome.refusal(), outcome.changes()), (None, Vec::new()));
    let warning = "spec.backendReplicas of MCPServer github is 3 and is set again when a proxy starts";
    assert_eq!(outcome.warnings(), [warning], "nothing of the sessions of 3 backends");
}

#[test]
fn rejects_what_cannot_be_checked_at_any_count_in_an_audit() {
    let settings = json!({"corrections": "reject", "onLookupFailure": "reject"});
    let refusal = |case: Case, settings: &Value| {
        let unreachable = Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
        case.host(unreachable).settings(settings.clone()).run().refusal().map(|(code, _)| code)
    };
    // The audit scanner sends requests to create what is there.
    for count in [0, 1, 3] {
        assert_eq!(refusal(create(deployment(count)), &settings), Some(503), "{count}");
    }
    assert_eq!(refusal(update(deployment(0), deployment(1)), &settings), None, "nobody is kept from starting a server");
    assert_eq!(refusal(create(deployment(1)).by(OPERATOR), &settings), None);
    let applying = json!({"onLookupFailure": "reject"});
    assert_eq!(refusal(create(deployment(1)), &applying), None, "1 breaks no rule that refuses");
}
