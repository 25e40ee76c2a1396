//! The row for Deployment: replicas, the stdio cap, the grace floor, and when a lookup is worth its price.

use std::sync::Arc;

use policy_host::host::{callback_failure, not_found, not_served};
use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use serde_json::{Value, json};

use crate::harness::{Case, OPERATOR, admitted, create, deployment, mcpserver, update, with};

const GRACE: &str = "/spec/template/spec/terminationGracePeriodSeconds";
const HPA: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

fn stdio() -> Value {
    mcpserver(json!({"transport": "stdio"}))
}

fn http() -> Value {
    mcpserver(json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis"}}))
}

fn declaring(replicas: u32) -> Value {
    with(http(), "/spec/replicas", json!(replicas))
}

#[test]
fn stdio_is_brought_back_to_one() {
    let outcome = update(deployment(1), deployment(3)).finds(&stdio()).run();
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
    assert_eq!(outcome.warnings(), ["stdio runs 1 replica; 3 requested in spec.replicas"]);
    assert_eq!(
        outcome.annotations(),
        ["replicas=requested=3 admitted=1 reason=stdio", "stdio-replicas=spec.replicas=3"]
    );
    assert_eq!(outcome.lookups, ["toolhive.stacklok.dev/v1beta1 MCPServer default/github"]);
    assert_eq!(admitted(create(deployment(2)).finds(&stdio())), 1);
}

#[test]
fn stdio_at_zero_or_one_stays() {
    assert_eq!(admitted(create(deployment(0)).finds(&stdio())), 0);
    assert_eq!(admitted(create(deployment(1)).finds(&stdio())), 1);
    assert_eq!(admitted(update(deployment(1), deployment(0)).finds(&stdio())), 0);
    assert_eq!(admitted(update(deployment(0), deployment(1)).finds(&stdio())), 1);
}

#[test]
fn with_nothing_declared_the_request_decides() {
    assert_eq!(admitted(create(deployment(1)).finds(&http())), 1);
    assert_eq!(admitted(create(deployment(4)).finds(&http())), 4);
    assert_eq!(admitted(update(deployment(1), deployment(4)).finds(&http())), 4);
    assert_eq!(admitted(update(deployment(4), deployment(1)).finds(&http())), 1, "a person may scale down");
    assert_eq!(admitted(update(deployment(4), deployment(0)).finds(&http())), 0);
}

#[test]
fn a_declared_count_wins() {
    assert_eq!(admitted(create(deployment(1)).finds(&declaring(3))), 3);
    assert_eq!(admitted(update(deployment(3), deployment(5)).finds(&declaring(3))), 3);
    assert_eq!(admitted(update(deployment(3), deployment(1)).finds(&declaring(3))), 3);
    assert_eq!(admitted(update(deployment(3), deployment(2)).finds(&declaring(0))), 0, "zero is declared too");
    let outcome = update(deployment(3), deployment(5)).finds(&declaring(3)).run();
    assert_eq!(outcome.warnings(), ["MCPServer spec.replicas is 3 and wins; 5 requested"]);
    assert_eq!(outcome.annotations(), ["replicas=requested=5 admitted=3 reason=declared"]);
}

#[test]
fn a_declared_count_of_a_stdio_server_ends_at_one() {
    let server = with(stdio(), "/spec/replicas", json!(3));
    assert_eq!(admitted(create(deployment(1)).finds(&server)), 1);
    assert_eq!(admitted(update(deployment(1), deployment(3)).finds(&server)), 1);
    assert_eq!(admitted(update(deployment(1), deployment(0)).finds(&server)), 1);
}

#[test]
fn stdio_can_be_refused_or_only_warned_about() {
    let case = |setting: &str| {
        let settings = json!({"stdioReplicas": setting});
        update(deployment(1), deployment(3)).finds(&stdio()).settings(settings).run()
    };
    let outcome = case("reject");
    let (code, message) = outcome.refusal().expect("is refused");
    assert_eq!(code, 422);
    assert!(message.contains("spec.replicas is 3") && message.contains("stdio"), "{message}");
    let outcome = case("warn");
    assert_eq!(outcome.changes(), [""; 0]);
    assert_eq!(
        outcome.warnings(),
        [
            "stdio runs 1 replica; 3 requested in spec.replicas",
            "spec.replicas 3 without Redis loses sessions; set sessionStorage.provider of the MCPServer to redis"
        ]
    );
}

#[test]
fn where_stdio_is_refused_a_declared_count_excuses_nothing() {
    let server = with(stdio(), "/spec/replicas", json!(3));
    let settings = json!({"stdioReplicas": "reject"});
    assert!(create(deployment(3)).finds(&server).settings(settings).run().refusal().is_some());
    let settings = json!({"stdioReplicas": "warn"});
    assert_eq!(admitted(create(deployment(1)).finds(&server).settings(settings)), 1, "a cap is not undone");
}

#[test]
fn an_object_that_broke_the_rule_already_may_be_edited_but_not_made_worse() {
    let settings = json!({"stdioReplicas": "reject", "sessionStorage": "reject"});
    for server in [stdio(), mcpserver(json!({"transport": "sse"}))] {
        let refused = |old, new| {
            let case = update(deployment(old), deployment(new)).settings(settings.clone());
            case.finds(&server).run().refusal().is_some()
        };
        assert!(!refused(3, 3));
        assert!(!refused(3, 2));
        assert!(refused(3, 4));
        assert!(refused(1, 2));
    }
}

#[test]
fn sessions_at_risk_are_told_to_the_person_who_scales() {
    let outcome = update(deployment(1), deployment(3)).finds(&mcpserver(json!({"transport": "sse"}))).run();
    assert_eq!(
        outcome.warnings(),
        ["spec.replicas 3 without Redis loses sessions; set sessionStorage.provider of the MCPServer to redis"]
    );
    assert_eq!(outcome.changes(), [""; 0]);
}

#[test]
fn an_operators_reset_of_a_count_nobody_declared_is_undone() {
    let reset = || update(deployment(3), deployment(1)).by(OPERATOR);
    assert_eq!(admitted(reset().finds(&http())), 3);
    assert_eq!(reset().finds(&http()).run().annotations(), ["replicas=requested=1 admitted=3 reason=preserved"]);
    assert_eq!(admitted(reset().finds(&http()).settings(json!({"preserveScaling": false}))), 1);
    assert_eq!(admitted(reset().finds(&declaring(1))), 1, "a declared change is never undone");
    assert_eq!(admitted(reset().finds(&stdio())), 1, "the operator's own stdio cap stands");
    assert_eq!(admitted(update(deployment(0), deployment(1)).by(OPERATOR).finds(&http())), 0, "scaled to zero");
    assert_eq!(admitted(update(deployment(3), deployment(1)).finds(&http())), 1, "a person may");
    assert_eq!(admitted(update(deployment(3), deployment(1)).by(HPA).finds(&http())), 1, "an autoscaler may");
    assert_eq!(admitted(create(deployment(1)).by(OPERATOR).finds(&http())), 1, "nothing to preserve on CREATE");
}

#[test]
fn controllers_get_no_warnings() {
    for user in [OPERATOR, HPA, "system:kube-controller-manager"] {
        let outcome = update(with(deployment(1), GRACE, json!(5)), with(deployment(3), GRACE, json!(5)));
        let outcome = outcome.by(user).finds(&stdio()).run();
        assert_eq!(outcome.warnings(), [""; 0], "{user}");
        assert_eq!(outcome.annotations().len(), 3, "{user} is audited all the same");
    }
}

#[test]
fn grace_periods_are_raised_to_the_floor() {
    let graced = |seconds: Value| update(deployment(1), with(deployment(1), GRACE, seconds));
    let outcome = graced(json!(10)).run();
    assert_eq!(outcome.changes(), ["/spec/template/spec/terminationGracePeriodSeconds=30"]);
    assert_eq!(outcome.warnings(), ["termination grace period floor is 30 s; 10 requested"]);
    assert_eq!(outcome.annotations(), ["termination-grace-period=requested=10 admitted=30"]);
    for short in [json!(0), json!(-1), json!(29), json!(null)] {
        assert_eq!(graced(short.clone()).run().object().pointer(GRACE), Some(&json!(30)), "{short}");
    }
    let absent = update(deployment(1), with(deployment(1), GRACE, None)).run();
    assert_eq!(absent.changes(), ["/spec/template/spec/terminationGracePeriodSeconds=30"]);
    graced(json!(30)).run().assert_silent("the floor");
    graced(json!(3600)).run().assert_silent("longer");
}

#[test]
fn the_grace_floor_is_a_setting() {
    let case = |floor: i64, seconds: i64| {
        let case = update(deployment(1), with(deployment(1), GRACE, json!(seconds)));
        case.settings(json!({"terminationGracePeriodSeconds": floor})).run()
    };
    assert_eq!(case(120, 60).object().pointer(GRACE), Some(&json!(120)));
    case(0, 1).assert_silent("0 leaves it alone");
}

#[test]
fn count_and_grace_period_change_together() {
    let outcome = create(with(deployment(3), GRACE, json!(5))).finds(&stdio()).run();
    let mut changes = outcome.changes();
    changes.sort();
    assert_eq!(changes, ["/spec/replicas=1", "/spec/template/spec/terminationGracePeriodSeconds=30"]);
}

#[test]
fn an_absent_count_is_one() {
    let absent = with(deployment(1), "/spec/replicas", None);
    create(absent.clone()).finds(&stdio()).run().assert_silent("absent");
    assert_eq!(admitted(create(absent).finds(&declaring(3))), 3);
}

#[test]
fn a_lookup_is_made_only_where_it_can_matter() {
    // Without a custom resource to find, a lookup fails the test.
    update(deployment(1), deployment(1)).run().assert_silent("one stays one");
    update(deployment(0), deployment(0)).run().assert_silent("zero stays zero");
    let other_change = with(deployment(1), "/metadata/labels/x", json!("y"));
    update(deployment(1), other_change).by(OPERATOR).run().assert_silent("something else changed");
    let outcome = update(deployment(3), deployment(3)).finds(&stdio()).run();
    assert_eq!(outcome.lookups.len(), 1, "three may have become too many");
}

#[test]
fn what_is_not_toolhives_is_let_through_unread() {
    let foreign = [
        with(with(deployment(3), "/metadata/ownerReferences", None), "/metadata/labels", None),
        with(with(deployment(3), "/metadata/ownerReferences", None), "/metadata/labels/toolhive", json!("false")),
        with(with(deployment(3), "/metadata/ownerReferences", None), "/metadata/labels/toolhive-name", None),
        {
            let mut deployment = deployment(3);
            deployment["metadata"]["ownerReferences"][0]["apiVersion"] = json!("example.com/v1");
            deployment
        },
        {
            let mut deployment = deployment(3);
            deployment["metadata"]["ownerReferences"][0]["kind"] = json!("MCPGroup");
            deployment
        },
    ];
    for deployment in foreign {
        let deployment = with(deployment, GRACE, json!(1));
        create(deployment.clone()).run().assert_silent(&deployment["metadata"].to_string());
    }
}

#[test]
fn what_becomes_toolhives_is_judged_whatever_it_was_before() {
    let unmarked =
        |replicas| with(with(deployment(replicas), "/metadata/ownerReferences", None), "/metadata/labels", None);
    assert_eq!(admitted(update(unmarked(3), deployment(3)).finds(&stdio())), 1);
    assert_eq!(admitted(update(unmarked(1), deployment(3)).finds(&stdio())), 1);
    update(deployment(3), unmarked(3)).run().assert_silent("no longer ToolHive's");
}

#[test]
fn the_controller_owner_decides_and_labels_only_where_there_is_none() {
    let owned = |owners: Value| with(deployment(3), "/metadata/ownerReferences", owners);
    let toolhive = |controller| {
        json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPServer", "name": "other",
               "controller": controller})
    };
    let foreign = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "x", "controller": true});
    let other = with(stdio(), "/metadata/name", json!("other"));

    create(owned(json!([toolhive(false), foreign]))).run().assert_silent("controlled by something else");
    assert_eq!(
        admitted(
            create(owned(json!([with(foreign.clone(), "/controller", json!(false)), toolhive(true)]))).finds(&other)
        ),
        1
    );
    let by_labels = create(owned(json!([toolhive(false)]))).finds(&stdio()).run();
    assert_eq!(by_labels.lookups, ["toolhive.stacklok.dev/v1beta1 MCPServer default/github"]);
    assert_eq!(admitted(create(owned(json!(null))).finds(&stdio())), 1, "labels alone");
}

#[test]
fn the_owners_own_api_version_is_asked_first_then_the_other() {
    let mut old = deployment(3);
    old["metadata"]["ownerReferences"][0]["apiVersion"] = json!("toolhive.stacklok.dev/v1alpha1");
    let outcome = create(old).finds(&stdio()).run();
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
    assert_eq!(
        outcome.lookups,
        [
            "toolhive.stacklok.dev/v1alpha1 MCPServer default/github",
            "toolhive.stacklok.dev/v1beta1 MCPServer default/github"
        ]
    );
    let not_yet_served = |request: &GetResourceRequest| {
        if request.api_version == "toolhive.stacklok.dev/v1beta1" {
            return Err(not_served(request));
        }
        Ok(br#"{"spec":{"transport":"stdio"}}"#.to_vec())
    };
    assert_eq!(admitted(create(deployment(3)).host(Arc::new(not_yet_served))), 1);
}

/// Lookups that come to nothing, each with whether it is a failure.
fn failing_lookups() -> Vec<(&'static str, Case, bool)> {
    let answers = |answer: &'static [u8]| {
        let host = move |_: &GetResourceRequest| Ok(answer.to_vec());
        update(deployment(1), deployment(3)).host(Arc::new(host))
    };
    let errors = |error: fn(&GetResourceRequest) -> String| {
        let host = move |request: &GetResourceRequest| Err(error(request));
        update(deployment(1), deployment(3)).host(Arc::new(host))
    };
    vec![
        ("not found", errors(not_found), false),
        ("not served", errors(not_served), true),
        ("unreachable", errors(|_| callback_failure("error trying to connect: tcp connect error")), true),
        ("not granted", errors(|_| "Policy has not been granted access to Kubernetes resources".to_owned()), true),
        ("no JSON", answers(b"<html>"), true),
        ("no UTF-8", answers(b"\"\xff\""), true),
        ("nothing", answers(b""), true),
        ("null", answers(b"null"), true),
        ("a list", answers(b"[]"), true),
        ("no spec", answers(b"{}"), true),
        ("spec null", answers(br#"{"spec":null}"#), true),
        ("spec a list", answers(br#"{"spec":[]}"#), true),
        ("count a string", answers(br#"{"spec":{"replicas":"3"}}"#), true),
        ("transport unknown", answers(br#"{"spec":{"transport":"STDIO"}}"#), true),
        ("storage unknown", answers(br#"{"spec":{"sessionStorage":{"provider":"x"}}}"#), true),
    ]
}

#[test]
fn a_lookup_that_comes_to_nothing_lets_the_count_be() {
    for (what, case, is_failure) in failing_lookups() {
        let outcome = case.run();
        assert!(outcome.response.allowed, "{what}");
        assert_eq!(outcome.changes(), [""; 0], "{what}");
        if is_failure {
            assert_eq!(outcome.warnings(), ["MCPServer could not be read; spec.replicas is unchecked"], "{what}");
            assert_eq!(outcome.annotations(), ["lookup=failed"], "{what}");
        } else {
            outcome.assert_silent(what);
        }
    }
}

#[test]
fn a_lookup_that_fails_refuses_where_the_settings_say_so() {
    for (what, case, is_failure) in failing_lookups() {
        let refusal = case.settings(json!({"onLookupFailure": "reject"})).run().refusal();
        assert_eq!(refusal.is_some(), is_failure, "{what}");
        if let Some((code, message)) = refusal {
            assert_eq!(code, 503);
            assert_eq!(message, "MCPServer github could not be read, so spec.replicas cannot be checked: try again");
        }
    }
    let unreachable = Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
    let unchanged = update(deployment(3), with(deployment(3), "/metadata/labels/x", json!("y"))).host(unreachable);
    assert_eq!(
        unchanged.settings(json!({"onLookupFailure": "reject"})).run().refusal(),
        None,
        "the count is as it was"
    );
}

#[test]
fn the_grace_floor_needs_no_lookup() {
    let unreachable = Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
    let outcome = create(with(deployment(3), GRACE, json!(1))).host(unreachable).run();
    assert_eq!(outcome.changes(), ["/spec/template/spec/terminationGracePeriodSeconds=30"]);
}

#[test]
fn deleting_is_never_in_the_way() {
    let deleted = |replicas| with(deployment(replicas), "/metadata/deletionTimestamp", json!("2026-11-20T00:00:00Z"));
    update(deleted(1), deleted(3)).run().assert_silent("being deleted");
    let case = create(deployment(3)).request("operation", json!("DELETE"));
    case.request("object", json!(null)).request("oldObject", deployment(3)).run().assert_silent("DELETE");
}

#[test]
fn unknown_fields_and_the_order_of_names_survive() {
    let text = r#"{"zz":[1.0,1e3,"\u00fc"],"spec":{"y":{"replicas":7},"replicas":3,"b":null,"a":[],"template":{"spec":{"terminationGracePeriodSeconds":30}}},"metadata":{"labels":{"toolhive":"true","toolhive-name":"github"}},"kind":"Deployment","apiVersion":"apps/v1","aa":18446744073709551615}"#;
    let request = format!(
        r#"{{"request":{{"uid":"1","kind":{{"group":"apps","version":"v1","kind":"Deployment"}},"operation":"CREATE","namespace":"default","object":{text}}},"settings":null}}"#
    );
    let host = Arc::new(|_: &GetResourceRequest| Ok(br#"{"spec":{"transport":"stdio"}}"#.to_vec()));
    let answer = crate::harness::policy().call("validate", request.as_bytes(), host).expect("answers");
    let answer = String::from_utf8(answer).expect("is UTF-8");
    let expected = text.replace(r#""replicas":3"#, r#""replicas":1"#);
    assert!(answer.ends_with(&format!(r#","mutated_object":{expected}}}"#)), "{answer}");
}
