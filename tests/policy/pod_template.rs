//! Shows that no pod restarts for a correction alone: the policy corrects a pod template where it is new or changes anyway, and only
//! there.

use fixtures::case::{
    Case, GRACE_PERIOD, OPERATOR, PERSON, create, deployment, mcpserver, scale, selector, server, statefulset, update,
    with,
};
use mcp_scaling_rules::{ServerKind, Workload};
use serde_json::{Value, json};

const LIFECYCLE: &str = "/spec/template/spec/containers/0/lifecycle";
const IMAGE: &str = "/spec/template/spec/containers/0/image";
const ANNOTATIONS: &str = "/spec/template/metadata";

/// Everybody who writes Deployments.
const USERS: [&str; 6] = [
    PERSON,
    OPERATOR,
    "system:serviceaccount:elsewhere:toolhive-operator",
    "system:serviceaccount:kube-system:deployment-controller",
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:storage-version-migrator-controller",
];

/// The Deployment of the server github of this kind with this grace period, as ToolHive makes it: without a hook.
fn proxies(kind: ServerKind, seconds: impl Into<Option<i64>>) -> Value {
    let mut deployment = with(deployment(1), GRACE_PERIOD, seconds.into().map(Value::from));
    deployment["metadata"]["ownerReferences"][0]["kind"] = json!(kind.name());
    deployment["metadata"]["labels"]["app.kubernetes.io/name"] = json!(kind.app_name());
    with(with(deployment, LIFECYCLE, None), "/spec/template/spec/containers/0/name", json!(kind.container_name()))
}

/// The request with this minimum of the grace period, and this long a hook.
fn wanting(case: Case, grace_period: i64, pre_stop: i64) -> Case {
    let settings = json!({"terminationGracePeriodSeconds": grace_period, "preStopSeconds": pre_stop});
    case.settings(settings).lookup_finds(&mcpserver(json!({"transport": "sse"})))
}

/// The pod template after the request.
fn template_after(case: Case) -> Value {
    let outcome = case.run();
    assert_eq!(outcome.refusal(), None);
    outcome.object()["spec"]["template"].clone()
}

fn hook(seconds: i64) -> Value {
    json!({"preStop": {"sleep": {"seconds": seconds}}})
}

/// The Deployment with what the policy sets of it: a grace period, and a hook if it is not 0.
fn corrected(deployment: Value, grace_period: i64, pre_stop: i64) -> Value {
    let deployment = with(deployment, GRACE_PERIOD, json!(grace_period));
    if pre_stop == 0 { deployment } else { with(deployment, LIFECYCLE, hook(pre_stop)) }
}

#[test]
fn restarts_nothing_where_the_pod_template_stays() {
    for kind in ServerKind::ALL {
        for user in USERS {
            for seconds in [None, Some(0), Some(5), Some(30)] {
                let old = proxies(kind, seconds);
                for (change, new) in [
                    ("nothing", old.clone()),
                    ("a label", with(old.clone(), "/metadata/labels/team", json!("a"))),
                    ("an annotation", with(old.clone(), "/metadata/annotations", json!({"note": "x"}))),
                    ("pause", with(old.clone(), "/spec/paused", json!(true))),
                    ("the strategy", with(old.clone(), "/spec/strategy", json!({"type": "Recreate"}))),
                    ("the count", with(old.clone(), "/spec/replicas", json!(0))),
                    ("the history", with(old.clone(), "/spec/revisionHistoryLimit", json!(3))),
                    ("the garbage collector orphans it", with(old.clone(), "/metadata/ownerReferences", json!([]))),
                ] {
                    let case = wanting(update(old.clone(), new.clone()).by(user), 60, 15);
                    let after = template_after(case);
                    assert_eq!(after, new["spec"]["template"], "{} {change} by {user} from {seconds:?}", kind.name());
                }
            }
        }
    }
}

#[test]
fn takes_a_template_that_means_the_same_for_the_same() {
    let old = proxies(ServerKind::McpServer, 30);
    let spec = r#"{"terminationGracePeriodSeconds": 30, "containers": [{"image": "example/proxyrunner", "name": "toolhive"}]}"#;
    let reordered = format!(r#"{{"spec": {spec}, "metadata": {}}}"#, old["spec"]["template"]["metadata"]);
    let reordered: Value = serde_json::from_str(&reordered).expect("is JSON");
    let with_null = with(old["spec"]["template"].clone(), "/metadata", json!({"creationTimestamp": null}));
    let with_null_only = with(old["spec"]["template"].clone(), "/spec/nodeName", json!(null));
    let without_default = with(old.clone(), GRACE_PERIOD, None)["spec"]["template"].clone();
    let null_default = with(old.clone(), GRACE_PERIOD, json!(null))["spec"]["template"].clone();
    for template in [reordered, with_null_only, without_default, null_default] {
        for user in USERS {
            let new = with(old.clone(), "/spec/template", template.clone());
            let outcome = wanting(update(old.clone(), new).by(user), 60, 15).run();
            assert_eq!(outcome.changes(), [""; 0], "{template} by {user}");
        }
    }
    // Metadata without a value is metadata all the same.
    let with_metadata = with(old.clone(), "/spec/template", with_null);
    let other = with(with_metadata.clone(), "/spec/template/metadata", json!({}));
    assert_eq!(wanting(update(with_metadata, other), 60, 15).run().changes(), [""; 0]);
}

#[test]
fn corrects_a_template_that_is_new_or_changes_anyway() {
    for kind in ServerKind::ALL {
        let old = || proxies(kind, 30);
        let restarted = json!({"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-11-20T00:00:00Z"}});
        for new in
            [with(old(), IMAGE, json!("b")), with(old(), ANNOTATIONS, restarted), with(old(), GRACE_PERIOD, json!(40))]
        {
            for user in USERS {
                let case = wanting(update(old(), new.clone()).by(user), 60, 15);
                let expected = corrected(new.clone(), 75, 15);
                assert_eq!(template_after(case), expected["spec"]["template"], "{new} by {user}");
            }
        }
        for user in USERS {
            let case = wanting(create(old()).by(user), 60, 15);
            assert_eq!(template_after(case), corrected(old(), 75, 15)["spec"]["template"], "new, by {user}");
        }
        let shortened = wanting(update(old(), with(old(), GRACE_PERIOD, json!(10))), 60, 15);
        assert_eq!(
            template_after(shortened),
            corrected(old(), 75, 15)["spec"]["template"],
            "a person asks for other pods"
        );
    }
}

#[test]
fn keeps_what_it_set_where_an_operator_writes_the_template_without_it() {
    // What the policy set once, and what the settings are now.
    for (had, now) in [
        ((60, 0), (60, 0)),
        ((60, 0), (45, 0)),
        ((60, 0), (90, 0)),
        ((75, 15), (60, 15)),
        ((75, 15), (60, 0)),
        ((75, 15), (30, 5)),
        ((45, 15), (30, 20)),
        ((30, 15), (30, 15)),
        ((60, 0), (60, 15)),
    ] {
        for kind in ServerKind::ALL {
            let stored = corrected(proxies(kind, 30), had.0, had.1);
            let written = with(proxies(kind, 30), "/spec/replicas", json!(0));
            for user in USERS.into_iter().filter(|user| *user != PERSON) {
                let case = wanting(update(stored.clone(), written.clone()).by(user), now.0, now.1);
                let outcome = case.run();
                let after = outcome.object()["spec"]["template"].clone();
                assert_eq!(after, stored["spec"]["template"], "{had:?} with {now:?} by {user}: nothing restarts");
                assert_eq!(outcome.warnings(), [""; 0]);
                // The next write is as the last one: there is no fight.
                let again = wanting(update(outcome.object(), written.clone()).by(user), now.0, now.1).run();
                assert_eq!(again.object()["spec"]["template"], stored["spec"]["template"]);
            }
            // With another image all pods restart anyway, and become as the settings say.
            let rolled_out = with(written.clone(), IMAGE, json!("b"));
            let case = wanting(update(stored.clone(), rolled_out.clone()).by(OPERATOR), now.0, now.1);
            let expected = corrected(rolled_out, now.0 + now.1, now.1);
            assert_eq!(template_after(case), expected["spec"]["template"], "{had:?} with {now:?}");
        }
    }
}

#[test]
fn keeps_a_hook_of_earlier_settings_that_an_operator_leaves_out() {
    for kind in ServerKind::ALL {
        let old = with(proxies(kind, 30), LIFECYCLE, hook(20));
        let template = old["spec"]["template"].clone();
        let case = update(old, proxies(kind, 30)).by(OPERATOR);
        assert_eq!(template_after(wanting(case, 30, 0)), template, "{kind:?}: no pod restarts");
    }
}

#[test]
fn keeps_a_longer_grace_period_that_a_person_gave_until_something_else_changes() {
    let stored = proxies(ServerKind::McpServer, 3600);
    let written = proxies(ServerKind::McpServer, 30);
    let outcome = wanting(update(stored.clone(), written.clone()).by(OPERATOR), 30, 0).run();
    assert_eq!(outcome.object(), stored);
    assert_eq!(outcome.annotations(), ["termination-grace-period=requested=30 wanted=3600"]);
    let rolled_out = with(written.clone(), IMAGE, json!("b"));
    let case = wanting(update(stored.clone(), rolled_out.clone()).by(OPERATOR), 30, 0);
    assert_eq!(template_after(case), rolled_out["spec"]["template"]);
    let off = wanting(update(stored.clone(), written.clone()).by(OPERATOR), 0, 0).run();
    assert_eq!(off.changes(), [""; 0], "a minimum of 0 leaves the grace period alone");
    let by_person = wanting(update(stored, written), 30, 0).run();
    assert_eq!(by_person.changes(), [""; 0], "a person asks for other pods");
}

#[test]
fn keeps_no_hook_that_is_not_the_policys() {
    let own = with(proxies(ServerKind::McpServer, 30), LIFECYCLE, json!({"preStop": {"exec": {"command": ["drain"]}}}));
    let case = wanting(update(own, proxies(ServerKind::McpServer, 30)).by(OPERATOR), 30, 15);
    let expected = corrected(proxies(ServerKind::McpServer, 30), 45, 15);
    assert_eq!(template_after(case), expected["spec"]["template"]);
}

#[test]
fn changes_nothing_where_it_cannot_tell_what_the_template_was() {
    let new = || proxies(ServerKind::McpServer, 5);
    for old in [json!(null), json!({}), json!({"spec": null}), json!({"spec": {}}), json!([]), json!("x")] {
        for user in USERS {
            let outcome = wanting(update(old.clone(), new()).by(user), 60, 15).run();
            assert_eq!(outcome.changes(), [""; 0], "{old} by {user}");
        }
    }
    for pointer in ["/spec/template", "/spec/template/spec", GRACE_PERIOD] {
        for value in [json!(null), json!([]), json!("x"), json!(1.5)] {
            if (pointer, &value) == (GRACE_PERIOD, &json!(null)) {
                continue;
            }
            let old = with(new(), pointer, value.clone());
            let outcome = wanting(update(old, new()), 60, 15).run();
            assert_eq!(outcome.changes(), [""; 0], "{pointer} was {value}");
            let malformed = with(new(), pointer, value.clone());
            let outcome = wanting(update(new(), malformed), 60, 15).run();
            assert_eq!(outcome.changes(), [""; 0], "{pointer} is {value}");
        }
    }
    let outcome = wanting(update(new(), with(new(), IMAGE, json!("b"))).with_member("oldObject", json!(null)), 60, 15);
    assert_eq!(outcome.run().changes(), [""; 0], "no old object");
}

#[test]
fn touches_no_pod_template_of_a_backend_or_of_a_scale() {
    let short = || with(statefulset(1, "sse"), "/spec/template/spec/terminationGracePeriodSeconds", json!(5));
    for case in [create(short()), update(short(), with(short(), "/spec/template/spec/containers/0/image", json!("b")))]
    {
        assert_eq!(wanting(case, 60, 15).run().changes(), [""; 0]);
    }
    for workload in Workload::ALL {
        let case = scale(workload.resource(), &selector(workload), 1, 0);
        assert_eq!(wanting(case, 60, 15).run().changes(), [""; 0]);
    }
}

/// An edit of the spec raises the generation, which is in the pod templates of an `MCPServer` from v0.24.1 on.
#[test]
fn caps_no_declared_count_of_a_spec_that_stays() {
    let settings = || json!({"declaredReplicas": "cap"});
    let redis = json!({"provider": "redis"});
    let old = server("MCPServer", json!({"replicas": 3, "backendReplicas": 2, "sessionStorage": redis}));
    for new in [
        old.clone(),
        with(old.clone(), "/metadata/annotations", json!({"note": "x"})),
        with(old.clone(), "/metadata/finalizers", json!(["mcpserver.toolhive.stacklok.dev/finalizer"])),
        with(old.clone(), "/spec/image", json!(null)),
    ] {
        for user in USERS {
            let outcome = update(old.clone(), new.clone()).by(user).settings(settings()).run();
            assert_eq!((outcome.refusal(), outcome.changes()), (None, Vec::new()), "{new} by {user}");
            assert_eq!(outcome.annotations(), ["stdio-replicas=spec.replicas=3,spec.backendReplicas=2"]);
        }
    }
    let other_image = with(old.clone(), "/spec/image", json!("b"));
    let changed = update(old.clone(), other_image).settings(settings()).run().object();
    assert_eq!((&changed["spec"]["replicas"], &changed["spec"]["backendReplicas"]), (&json!(1), &json!(1)));
    // GitOps applies its own count again and again.
    let capped = create(old.clone()).settings(settings()).run().object();
    assert_eq!(update(capped.clone(), old).settings(settings()).run().object(), capped);
}
