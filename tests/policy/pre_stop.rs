//! Shows how `preStopSeconds` adds a preStop hook to the pods of ToolHive's Deployments, and that it restarts none by itself.

use mcp_scaling_rules::ServerKind;
use serde_json::{Value, json};

use fixtures::case::{Case, GRACE_PERIOD, OPERATOR, create, deployment, mcpserver, statefulset, update, with};

const HOOK: &str = "/spec/template/spec/containers/0/lifecycle";
const IMAGE: &str = "/spec/template/spec/containers/0/image";

/// The Deployment of the `MCPServer` github with ToolHive's container and one beside it.
fn proxy() -> Value {
    let containers = json!([{"name": "toolhive", "image": "a"}, {"name": "sidecar", "image": "b"}]);
    with(deployment(1), "/spec/template/spec/containers", containers)
}

fn hook(seconds: u32) -> Value {
    json!({"preStop": {"sleep": {"seconds": seconds}}})
}

/// The request with a preStop hook of 15 seconds wanted.
fn wanted(case: Case) -> Case {
    case.lookup_finds(&mcpserver(json!({"transport": "sse"}))).settings(json!({"preStopSeconds": 15}))
}

#[test]
fn adds_a_hook_and_raises_the_grace_period_by_it() {
    let outcome = wanted(create(proxy()).by(OPERATOR)).run();
    assert_eq!(outcome.object(), with(with(proxy(), HOOK, hook(15)), GRACE_PERIOD, json!(45)));
    assert_eq!(outcome.annotations(), ["pre-stop=wanted=15", "termination-grace-period=requested=35 wanted=45"]);
    assert_eq!(outcome.warnings(), [""; 0]);
}

#[test]
fn keeps_a_container_that_is_null() {
    let containers = json!([null, {"name": "toolhive", "image": "a"}]);
    let outcome = wanted(create(with(proxy(), "/spec/template/spec/containers", containers)).by(OPERATOR)).run();
    let containers = &outcome.object()["spec"]["template"]["spec"]["containers"];
    assert_eq!(*containers, json!([null, {"name": "toolhive", "image": "a", "lifecycle": hook(15)}]));
}

#[test]
fn keeps_a_hook_in_what_an_operator_rolls_out() {
    let stored = with(with(proxy(), HOOK, hook(15)), GRACE_PERIOD, json!(45));
    // Operators write the whole pod template as they make it.
    let outcome = wanted(update(stored.clone(), with(proxy(), IMAGE, json!("c"))).by(OPERATOR)).run();
    assert_eq!(outcome.object(), with(stored.clone(), IMAGE, json!("c")));
    let unchanged = wanted(update(stored.clone(), proxy()).by(OPERATOR)).run();
    assert_eq!(unchanged.object(), stored, "nothing restarts");
}

#[test]
fn restarts_no_pods_for_the_hook_alone() {
    for changed in [with(proxy(), "/metadata/labels/team", json!("a")), with(proxy(), "/spec/replicas", json!(0))] {
        assert_eq!(wanted(update(proxy(), changed)).run().changes(), [""; 0], "the pod template stays");
    }
    let outcome = wanted(update(proxy(), with(proxy(), IMAGE, json!("c"))).by(OPERATOR)).run();
    assert_eq!(outcome.object()["spec"]["template"]["spec"]["containers"][0]["lifecycle"], hook(15));
}

#[test]
fn warns_a_person_who_removes_the_hook() {
    let stored = with(with(proxy(), HOOK, hook(15)), GRACE_PERIOD, json!(45));
    let outcome = wanted(update(stored.clone(), with(stored.clone(), HOOK, json!({})))).run();
    assert_eq!(outcome.object(), stored);
    assert_eq!(outcome.warnings(), ["container toolhive should have a preStop hook that sleeps 15 s"]);
    let moved = json!([{"name": "sidecar", "image": "b"}, {"name": "toolhive", "image": "a"}]);
    let outcome = wanted(update(stored.clone(), with(stored, "/spec/template/spec/containers", moved))).run();
    assert_eq!(outcome.object()["spec"]["template"]["spec"]["containers"][1]["lifecycle"], hook(15));
    assert_eq!(
        outcome.warnings(),
        ["container toolhive should have a preStop hook that sleeps 15 s"],
        "wherever it stands"
    );
}

#[test]
fn leaves_other_hooks_and_containers_alone() {
    let own = json!({"preStop": {"exec": {"command": ["drain"]}}});
    wanted(create(with(proxy(), HOOK, own))).run().assert_accepted_as_is("it has a hook");
    let post_start = json!({"postStart": {"exec": {"command": ["x"]}}});
    let outcome = wanted(create(with(proxy(), HOOK, post_start.clone())).by(OPERATOR)).run();
    let lifecycle = &outcome.object()["spec"]["template"]["spec"]["containers"][0]["lifecycle"];
    assert_eq!(*lifecycle, json!({"preStop": {"sleep": {"seconds": 15}}, "postStart": post_start["postStart"]}));
    let renamed = with(proxy(), "/spec/template/spec/containers/0/name", json!("other"));
    wanted(create(renamed)).run().assert_accepted_as_is("ToolHive's container is not there");
    wanted(create(statefulset(1, "sse"))).run().assert_accepted_as_is("a backend");
    let lifecycle = |value| json!([{"name": "toolhive", "lifecycle": value}]);
    let malformed = [lifecycle(json!("x")), lifecycle(json!([])), lifecycle(json!(7))];
    for malformed in
        malformed.into_iter().chain([json!(null), json!({}), json!("x"), json!([7]), json!([{"name": 7}]), json!([])])
    {
        let deployment = with(proxy(), "/spec/template/spec/containers", malformed.clone());
        wanted(create(deployment)).run().assert_accepted_as_is(&malformed.to_string());
    }
    let off =
        create(proxy()).lookup_finds(&mcpserver(json!({"transport": "sse"}))).settings(json!({"preStopSeconds": 0}));
    off.run().assert_accepted_as_is("off");
}

#[test]
fn adds_a_hook_of_five_seconds_by_default() {
    let outcome = create(proxy()).by(OPERATOR).lookup_finds(&mcpserver(json!({"transport": "sse"}))).run();
    assert_eq!(outcome.object(), with(with(proxy(), HOOK, hook(5)), GRACE_PERIOD, json!(35)));
}

#[test]
fn counts_the_sleep_of_a_hook_that_is_there() {
    let sleeping =
        |seconds: u32, grace_period: i64| with(with(proxy(), HOOK, hook(seconds)), GRACE_PERIOD, json!(grace_period));
    for (case, expected) in [
        (create(sleeping(20, 30)), 50),
        (create(sleeping(20, 50)), 50),
        (create(sleeping(20, 90)), 90),
        (create(with(sleeping(20, 30), HOOK, json!({"preStop": {"sleep": {"seconds": -9}}}))), 30),
        (create(with(sleeping(20, 30), HOOK, json!({"preStop": {"sleep": 9}}))), 30),
        (create(with(sleeping(20, 30), HOOK, json!({"preStop": {"exec": {"command": ["drain"]}}}))), 30),
        (update(sleeping(5, 35), with(sleeping(5, 30), IMAGE, json!("b"))), 35),
        (update(sleeping(5, 35), sleeping(5, 30)), 35),
        (update(sleeping(5, 30), with(sleeping(5, 30), "/metadata/labels/team", json!("a"))), 30),
    ] {
        let outcome = case.by(OPERATOR).lookup_finds(&mcpserver(json!({"transport": "sse"}))).run();
        assert_eq!(outcome.object().pointer(GRACE_PERIOD), Some(&json!(expected)), "{}", outcome.object());
    }
    let off = create(sleeping(20, 20)).settings(json!({"terminationGracePeriodSeconds": 0}));
    off.lookup_finds(&mcpserver(json!({"transport": "sse"}))).run().assert_accepted_as_is("no minimum");
}

#[test]
fn finds_the_container_of_each_kind() {
    for kind in ServerKind::ALL {
        let mut deployment = with(proxy(), "/spec/template/spec/containers/0/name", json!(kind.container_name()));
        deployment["metadata"]["ownerReferences"][0]["kind"] = json!(kind.name());
        let outcome = create(deployment).by(OPERATOR).settings(json!({"preStopSeconds": 5}));
        let server = fixtures::case::server(kind.name(), json!({}));
        let outcome = outcome.lookup_finds(&server).run();
        let lifecycle = &outcome.object()["spec"]["template"]["spec"]["containers"][0]["lifecycle"];
        assert_eq!(*lifecycle, hook(5), "{}", kind.name());
    }
}

#[test]
fn lets_the_pod_live_as_long_as_the_hook_without_a_minimum_of_the_grace_period() {
    let settings = json!({"preStopSeconds": 40, "terminationGracePeriodSeconds": 0});
    let server = mcpserver(json!({"transport": "sse"}));
    let outcome = create(proxy()).lookup_finds(&server).settings(settings).by(OPERATOR).run();
    // The API server refuses a hook that sleeps longer than the grace period.
    assert_eq!(outcome.object().pointer(GRACE_PERIOD), Some(&json!(40)));
}

#[test]
fn rejects_a_missing_hook_with_corrections_reject() {
    let settings = json!({"preStopSeconds": 15, "corrections": "reject"});
    let run = |case: Case| {
        let server = mcpserver(json!({"transport": "sse"}));
        case.lookup_finds(&server).settings(settings.clone()).run()
    };
    let (code, message) = run(create(proxy())).refusal().expect("is refused");
    assert_eq!(code, 422);
    assert!(message.contains("container toolhive should have a preStop hook that sleeps 15 s"), "{message}");
    let outcome = run(create(proxy()).by(OPERATOR));
    assert_eq!((outcome.refusal(), outcome.changes()), (None, Vec::new()));
}
