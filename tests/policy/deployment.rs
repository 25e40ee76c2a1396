//! Shows the decisions for a Deployment: the count of replicas, the minimum of the grace period, which Deployments are
//! ToolHive's, and when the custom resource is looked up.

use std::sync::Arc;

use policy_host::host::{GetResourceRequest, callback_failure, not_found, not_served};
use serde_json::{Value, json};

use mcp_scaling_rules::ServerKind;

use fixtures::case::{
    AUTOSCALER, Case, GRACE_PERIOD, OPERATOR, PERSON, admitted, create, deployment, mcpserver, update, with,
};

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
fn caps_stdio_at_one() {
    let outcome = update(deployment(1), deployment(3)).lookup_finds(&stdio()).run();
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
    assert_eq!(outcome.warnings(), ["transport stdio supports 1 replica; spec.replicas requests 3"]);
    assert_eq!(outcome.annotations(), ["replicas=requested=3 wanted=1 reason=stdio", "stdio-replicas=spec.replicas=3"]);
    assert_eq!(outcome.lookups, ["toolhive.stacklok.dev/v1beta1 MCPServer default/github"]);
    assert_eq!(admitted(create(deployment(2)).lookup_finds(&stdio())), 1);
}

#[test]
fn leaves_stdio_at_zero_or_one_alone() {
    assert_eq!(admitted(create(deployment(0)).lookup_finds(&stdio())), 0);
    assert_eq!(admitted(create(deployment(1)).lookup_finds(&stdio())), 1);
    assert_eq!(admitted(update(deployment(1), deployment(0)).lookup_finds(&stdio())), 0);
    assert_eq!(admitted(update(deployment(0), deployment(1)).lookup_finds(&stdio())), 1);
}

#[test]
fn admits_the_requested_count_where_none_is_declared() {
    assert_eq!(admitted(create(deployment(1)).lookup_finds(&http())), 1);
    assert_eq!(admitted(create(deployment(4)).lookup_finds(&http())), 4);
    assert_eq!(admitted(update(deployment(1), deployment(4)).lookup_finds(&http())), 4);
    assert_eq!(admitted(update(deployment(4), deployment(1)).lookup_finds(&http())), 1, "a person may scale down");
    assert_eq!(admitted(update(deployment(4), deployment(0)).lookup_finds(&http())), 0);
}

#[test]
fn overrides_the_requested_count_with_the_declared_one() {
    assert_eq!(admitted(create(deployment(1)).lookup_finds(&declaring(3))), 3);
    assert_eq!(admitted(update(deployment(3), deployment(5)).lookup_finds(&declaring(3))), 3);
    assert_eq!(admitted(update(deployment(3), deployment(1)).lookup_finds(&declaring(3))), 3);
    assert_eq!(admitted(update(deployment(3), deployment(2)).lookup_finds(&declaring(0))), 0, "0 is a declared count");
    let outcome = update(deployment(3), deployment(5)).lookup_finds(&declaring(3)).run();
    assert_eq!(outcome.warnings(), ["spec.replicas of MCPServer github is 3 and overrides the requested 5"]);
    assert_eq!(outcome.annotations(), ["replicas=requested=5 wanted=3 reason=declared"]);
}

#[test]
fn caps_the_declared_count_of_a_stdio_server() {
    let server = with(stdio(), "/spec/replicas", json!(3));
    assert_eq!(admitted(create(deployment(1)).lookup_finds(&server)), 1);
    assert_eq!(admitted(update(deployment(1), deployment(3)).lookup_finds(&server)), 1);
    assert_eq!(admitted(update(deployment(1), deployment(0)).lookup_finds(&server)), 1);
}

#[test]
fn rejects_or_warns_about_stdio_above_one_where_the_settings_say_so() {
    let case = |setting: &str| {
        let settings = json!({"stdioReplicas": setting});
        update(deployment(1), deployment(3)).lookup_finds(&stdio()).settings(settings).run()
    };
    let outcome = case("reject");
    let (code, message) = outcome.refusal().expect("is refused");
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "transport stdio supports 1 replica; spec.replicas requests 3: lower it to 1, or use transport streamable-http \
         or sse"
    );
    let outcome = case("warn");
    assert_eq!(outcome.changes(), [""; 0]);
    assert_eq!(
        outcome.warnings(),
        ["transport stdio supports 1 replica; spec.replicas requests 3"],
        "nobody can use the others, with Redis neither"
    );
}

#[test]
fn rejects_stdio_above_one_even_where_the_count_is_declared() {
    let server = with(stdio(), "/spec/replicas", json!(3));
    let settings = json!({"stdioReplicas": "reject"});
    assert!(create(deployment(3)).lookup_finds(&server).settings(settings).run().refusal().is_some());
    let settings = json!({"stdioReplicas": "warn"});
    assert_eq!(
        admitted(create(deployment(1)).lookup_finds(&server).settings(settings)),
        1,
        "a declared count is capped"
    );
}

#[test]
fn applies_a_declared_count_that_stdio_can_run_whatever_the_settings_say_of_others() {
    for declared in [0, 1] {
        let server = with(stdio(), "/spec/replicas", json!(declared));
        let warned = |old| {
            let case = update(deployment(old), deployment(3)).lookup_finds(&server);
            case.settings(json!({"stdioReplicas": "warn"}))
        };
        assert_eq!(admitted(warned(1)), declared, "the count changes");
        assert_eq!(admitted(warned(3)), declared, "the count stays");
        let reject = json!({"stdioReplicas": "reject"});
        let unchanged = update(deployment(3), deployment(3)).lookup_finds(&server).settings(reject);
        assert_eq!(admitted(unchanged), declared, "it is not refused, and the declared count applies");
        let audited = json!({"stdioReplicas": "warn", "corrections": "reject"});
        let refusal = create(deployment(3)).lookup_finds(&server).settings(audited).run().refusal();
        assert!(refusal.is_some_and(|(_, message)| message.contains(&format!("wants {declared}"))));
    }
}

#[test]
fn accepts_updates_that_do_not_raise_a_count_which_violated_a_rule_before() {
    let settings = json!({"stdioReplicas": "reject", "sessionStorage": "reject"});
    for server in [stdio(), mcpserver(json!({"transport": "sse"}))] {
        let refused = |old, new| {
            let case = update(deployment(old), deployment(new)).settings(settings.clone());
            case.lookup_finds(&server).run().refusal().is_some()
        };
        assert!(!refused(3, 3));
        assert!(!refused(3, 2));
        assert!(refused(3, 4));
        assert!(refused(1, 2));
    }
}

#[test]
fn warns_about_replicas_without_shared_sessions() {
    let outcome = update(deployment(1), deployment(3)).lookup_finds(&mcpserver(json!({"transport": "sse"}))).run();
    assert_eq!(
        outcome.warnings(),
        [
            "3 replicas without Redis: clients with sessions fail, most for good; v0.16+: spec.sessionStorage.provider redis"
        ]
    );
    assert_eq!(outcome.changes(), [""; 0]);
}

#[test]
fn undoes_a_reset_by_the_operator_where_no_count_is_declared() {
    let reset = || update(deployment(3), deployment(1)).by(OPERATOR);
    assert_eq!(admitted(reset().lookup_finds(&http())), 3);
    assert_eq!(reset().lookup_finds(&http()).run().annotations(), ["replicas=requested=1 wanted=3 reason=preserved"]);
    assert_eq!(admitted(reset().lookup_finds(&http()).settings(json!({"preserveScaling": false}))), 1);
    assert_eq!(admitted(reset().lookup_finds(&declaring(1))), 1, "a declared count applies");
    assert_eq!(admitted(reset().lookup_finds(&stdio())), 1, "stdio stays capped");
    assert_eq!(
        admitted(update(deployment(0), deployment(1)).by(OPERATOR).lookup_finds(&http())),
        0,
        "a count of 0 is preserved"
    );
    assert_eq!(admitted(update(deployment(3), deployment(1)).lookup_finds(&http())), 1, "a person may scale down");
    assert_eq!(
        admitted(update(deployment(3), deployment(1)).by(AUTOSCALER).lookup_finds(&http())),
        1,
        "an autoscaler may scale down"
    );
    assert_eq!(admitted(create(deployment(1)).by(OPERATOR).lookup_finds(&http())), 1, "a CREATE has no old count");
}

#[test]
fn does_not_warn_controllers() {
    for user in [OPERATOR, AUTOSCALER, "system:kube-controller-manager"] {
        let outcome = create(with(deployment(3), GRACE_PERIOD, json!(5)));
        let outcome = outcome.by(user).lookup_finds(&stdio()).run();
        assert_eq!(outcome.warnings(), [""; 0], "{user}");
        assert_eq!(outcome.annotations().len(), 3, "audit annotations are written for {user} too");
    }
}

#[test]
fn raises_a_short_grace_period_to_the_minimum() {
    let requesting = |seconds: Value| update(deployment(1), with(deployment(1), GRACE_PERIOD, seconds));
    let outcome = requesting(json!(10)).run();
    assert_eq!(outcome.changes(), ["/spec/template/spec/terminationGracePeriodSeconds=35"]);
    assert_eq!(
        outcome.warnings(),
        ["the termination grace period should be at least 35 s; the pod template requests 10 s"]
    );
    assert_eq!(outcome.annotations(), ["termination-grace-period=requested=10 wanted=35"]);
    for short in [json!(0), json!(-1), json!(34)] {
        assert_eq!(requesting(short.clone()).run().object().pointer(GRACE_PERIOD), Some(&json!(35)), "{short}");
    }
    let absent = create(with(deployment(1), GRACE_PERIOD, None)).lookup_finds(&http()).run();
    assert_eq!(absent.changes(), ["/spec/template/spec/terminationGracePeriodSeconds=35"]);
    assert_eq!(
        absent.warnings(),
        ["the termination grace period should be at least 35 s; the pod template requests none"]
    );
    let stored = with(deployment(1), GRACE_PERIOD, json!(30));
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": "2026-11-28T12:00:00Z"});
    let restarted = update(stored.clone(), with(stored, "/spec/template/metadata/annotations", annotations)).run();
    assert_eq!(restarted.object().pointer(GRACE_PERIOD), Some(&json!(35)));
    assert_eq!(restarted.warnings(), [""; 0], "the person did not choose the grace period");
    requesting(json!(35)).run().assert_accepted_as_is("the minimum and the hook");
    requesting(json!(3600)).run().assert_accepted_as_is("a longer grace period");
}

#[test]
fn takes_the_minimum_grace_period_from_the_settings() {
    let outcome = |minimum: i64, seconds: i64| {
        let case = update(deployment(1), with(deployment(1), GRACE_PERIOD, json!(seconds)));
        case.settings(json!({"terminationGracePeriodSeconds": minimum})).run()
    };
    assert_eq!(outcome(120, 60).object().pointer(GRACE_PERIOD), Some(&json!(125)));
    outcome(0, 1).assert_accepted_as_is("a minimum of 0 turns the rule off");
}

#[test]
fn changes_count_and_grace_period_together() {
    let outcome = create(with(deployment(3), GRACE_PERIOD, json!(5))).lookup_finds(&stdio()).run();
    let mut changes = outcome.changes();
    changes.sort();
    assert_eq!(changes, ["/spec/replicas=1", "/spec/template/spec/terminationGracePeriodSeconds=35"]);
}

#[test]
fn takes_an_absent_count_for_one() {
    let absent = with(deployment(1), "/spec/replicas", None);
    create(absent.clone()).lookup_finds(&stdio()).run().assert_accepted_as_is("no spec.replicas");
    assert_eq!(admitted(create(absent).lookup_finds(&declaring(3))), 3);
}

#[test]
fn looks_up_only_where_the_answer_can_matter() {
    // A lookup fails the test here.
    update(deployment(1), deployment(1)).run().assert_accepted_as_is("the count stays 1");
    update(deployment(0), deployment(0)).run().assert_accepted_as_is("the count stays 0");
    let other_change = with(deployment(1), "/metadata/labels/x", json!("y"));
    update(deployment(1), other_change).by(OPERATOR).run().assert_accepted_as_is("the update changes something else");
    let outcome = update(deployment(3), deployment(3)).lookup_finds(&stdio()).run();
    assert_eq!(outcome.lookups.len(), 1, "a count above 1 is checked even where it stays");
}

#[test]
fn ignores_deployments_that_are_not_toolhives() {
    let without_owner = || with(deployment(3), "/metadata/ownerReferences", None);
    let foreign = [
        with(without_owner(), "/metadata/labels", None),
        with(without_owner(), "/metadata/labels/toolhive", json!("false")),
        with(without_owner(), "/metadata/labels/toolhive-name", None),
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
        let deployment = with(deployment, GRACE_PERIOD, json!(1));
        create(deployment.clone()).run().assert_accepted_as_is(&deployment["metadata"].to_string());
    }
}

#[test]
fn validates_a_deployment_that_becomes_toolhives_with_the_update() {
    let foreign =
        |replicas| with(with(deployment(replicas), "/metadata/ownerReferences", None), "/metadata/labels", None);
    assert_eq!(admitted(update(foreign(3), deployment(3)).lookup_finds(&stdio())), 1);
    assert_eq!(admitted(update(foreign(1), deployment(3)).lookup_finds(&stdio())), 1);
    update(deployment(3), foreign(3)).run().assert_accepted_as_is("no longer ToolHive's");
}

#[test]
fn finds_the_owner_by_controller_reference_and_by_labels_only_without_one() {
    let named = |name: &str| with(deployment(3), "/metadata/name", json!(name));
    let owned = |owners: Value| with(named("other"), "/metadata/ownerReferences", owners);
    let toolhive = |controller| {
        json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPServer", "name": "other",
               "controller": controller})
    };
    let foreign = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "x", "controller": true});
    let other = with(stdio(), "/metadata/name", json!("other"));

    create(owned(json!([toolhive(false), foreign]))).run().assert_accepted_as_is("controlled by something else");
    assert_eq!(
        admitted(
            create(owned(json!([with(foreign.clone(), "/controller", json!(false)), toolhive(true)])))
                .lookup_finds(&other)
        ),
        1
    );
    let by_labels = |owners: Value| create(with(named("github"), "/metadata/ownerReferences", owners));
    let outcome = by_labels(json!([toolhive(false)])).lookup_finds(&stdio()).run();
    assert_eq!(outcome.lookups, ["toolhive.stacklok.dev/v1beta1 MCPServer default/github"]);
    assert_eq!(admitted(by_labels(json!(null)).lookup_finds(&stdio())), 1, "labels alone");
}

#[test]
fn leaves_a_copy_with_another_name_alone() {
    for kind in ServerKind::ALL {
        for name in ["github-debug", "github-primary", "github-canary", "copy-of-github", "Github"] {
            // A lookup fails the test here.
            let copy = |count: u32| {
                let mut copy = with(deployment(count), "/metadata/name", json!(name));
                copy["metadata"]["ownerReferences"][0]["kind"] = json!(kind.name());
                copy["metadata"]["labels"]["app.kubernetes.io/name"] = json!(kind.app_name());
                with(copy, GRACE_PERIOD, json!(1))
            };
            let orphan = |count: u32| with(copy(count), "/metadata/ownerReferences", None);
            create(copy(3)).run().assert_accepted_as_is(name);
            create(orphan(3)).run().assert_accepted_as_is(name);
            update(copy(1), copy(0)).run().assert_accepted_as_is(name);
            update(copy(3), copy(1)).by(OPERATOR).run().assert_accepted_as_is("no reset of a server");
        }
    }
    let unnamed = with(with(deployment(3), "/metadata/name", None), "/metadata/generateName", json!("github-"));
    create(unnamed).run().assert_accepted_as_is("it gets a name of its own after admission");
}

#[test]
fn looks_up_the_owners_api_version_first_and_then_the_other() {
    let mut old = deployment(3);
    old["metadata"]["ownerReferences"][0]["apiVersion"] = json!("toolhive.stacklok.dev/v1alpha1");
    let outcome = create(old).lookup_finds(&stdio()).run();
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
    assert_eq!(
        outcome.lookups,
        [
            "toolhive.stacklok.dev/v1alpha1 MCPServer default/github",
            "toolhive.stacklok.dev/v1beta1 MCPServer default/github"
        ]
    );
    let old_cluster = |request: &GetResourceRequest| {
        if request.api_version == "toolhive.stacklok.dev/v1beta1" {
            return Err(not_served(&request.api_version, &request.kind));
        }
        Ok(br#"{"spec":{"transport":"stdio"}}"#.to_vec())
    };
    assert_eq!(admitted(create(deployment(3)).host(Arc::new(old_cluster))), 1);
}

/// Requests whose lookup does not give a valid custom resource, each with a description and with whether the lookup
/// failed. A custom resource that does not exist is no failure.
fn unsuccessful_lookups() -> Vec<(&'static str, Case, bool)> {
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
        ("API version not served", errors(|request| not_served(&request.api_version, &request.kind)), true),
        ("unreachable", errors(|_| callback_failure("error trying to connect: tcp connect error")), true),
        (
            "access not granted",
            errors(|_| "Policy has not been granted access to Kubernetes resources".to_owned()),
            true,
        ),
        ("not JSON", answers(b"<html>"), true),
        ("not UTF-8", answers(b"\"\xff\""), true),
        ("an empty answer", answers(b""), true),
        ("null", answers(b"null"), true),
        ("a list", answers(b"[]"), true),
        ("no spec", answers(b"{}"), true),
        ("a spec that is null", answers(br#"{"spec":null}"#), true),
        ("a spec that is a list", answers(br#"{"spec":[]}"#), true),
        ("a count that is a string", answers(br#"{"spec":{"replicas":"3"}}"#), false),
        ("an unknown transport", answers(br#"{"spec":{"transport":"STDIO"}}"#), false),
        ("an unknown storage", answers(br#"{"spec":{"sessionStorage":{"provider":"x"}}}"#), false),
    ]
}

#[test]
fn leaves_the_count_alone_where_the_lookup_is_unsuccessful() {
    for (description, case, is_failure) in unsuccessful_lookups() {
        let outcome = case.run();
        assert!(outcome.response.allowed, "{description}");
        assert_eq!(outcome.changes(), [""; 0], "{description}");
        if is_failure {
            assert_eq!(
                outcome.warnings(),
                ["MCPServer github could not be read; spec.replicas was not checked"],
                "{description}"
            );
            assert_eq!(outcome.annotations(), ["lookup=failed"], "{description}");
        } else {
            outcome.assert_accepted_as_is(description);
        }
    }
}

#[test]
fn rejects_a_failed_lookup_where_the_settings_say_so() {
    for (description, case, is_failure) in unsuccessful_lookups() {
        let refusal = case.settings(json!({"onLookupFailure": "reject"})).run().refusal();
        assert_eq!(refusal.is_some(), is_failure, "{description}");
        if let Some((code, message)) = refusal {
            assert_eq!(code, 503);
            assert_eq!(
                message,
                "MCPServer github could not be read, so that spec.replicas cannot be checked: try again"
            );
        }
    }
    let unreachable = Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
    let unchanged = update(deployment(3), with(deployment(3), "/metadata/labels/x", json!("y"))).host(unreachable);
    assert_eq!(
        unchanged.settings(json!({"onLookupFailure": "reject"})).run().refusal(),
        None,
        "the count does not change"
    );
}

#[test]
fn raises_the_grace_period_where_the_lookup_fails() {
    let unreachable = Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
    let outcome = create(with(deployment(3), GRACE_PERIOD, json!(1))).host(unreachable).run();
    assert_eq!(outcome.changes(), ["/spec/template/spec/terminationGracePeriodSeconds=35"]);
}

#[test]
fn accepts_deletions() {
    let deleted = |replicas| with(deployment(replicas), "/metadata/deletionTimestamp", json!("2026-11-20T00:00:00Z"));
    update(deleted(1), deleted(3)).run().assert_accepted_as_is("an update of a Deployment that is being deleted");
    let case = create(deployment(3)).with_member("operation", json!("DELETE"));
    case.with_member("object", json!(null))
        .with_member("oldObject", deployment(3))
        .run()
        .assert_accepted_as_is("DELETE");
}

#[test]
fn names_a_declaration_as_the_reason_where_it_decides() {
    let declared = |count: u32, requested: u32| {
        let server = with(stdio(), "/spec/replicas", json!(count));
        update(deployment(1), deployment(requested)).lookup_finds(&server).run()
    };
    let outcome = declared(0, 3);
    assert_eq!(
        outcome.annotations(),
        ["replicas=requested=3 wanted=0 reason=declared", "stdio-replicas=spec.replicas=3"]
    );
    assert_eq!(
        outcome.warnings(),
        [
            "transport stdio supports 1 replica; spec.replicas requests 3",
            "spec.replicas of MCPServer github is 0 and overrides the requested 3"
        ]
    );
    // The limit of the transport lowers it, and not what is declared.
    for requested in [2, 3] {
        let warning = format!("transport stdio supports 1 replica; spec.replicas requests {requested}");
        assert_eq!(declared(3, requested).warnings(), [warning]);
    }
    let outcome = declared(3, 0);
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
    assert_eq!(outcome.warnings(), ["spec.replicas of MCPServer github is 3 and overrides the requested 0"]);
}

#[test]
fn does_not_call_a_count_requested_where_the_request_leaves_it() {
    let rollout = with(deployment(5), "/metadata/labels/x", json!("y"));
    let outcome = update(deployment(5), rollout).lookup_finds(&declaring(3)).run();
    assert_eq!(outcome.warnings(), ["spec.replicas of MCPServer github is 3 and overrides the current 5"]);
}

#[test]
fn lets_a_stopped_server_start_again_and_rejects_no_scale_down() {
    let server = mcpserver(json!({"transport": "sse", "replicas": 3}));
    let settings = || json!({"stdioReplicas": "reject", "sessionStorage": "reject", "onLookupFailure": "reject"});
    for (old, new, user) in [(0, 3, OPERATOR), (0, 1, PERSON), (0, 3, PERSON), (3, 2, PERSON)] {
        let case = update(deployment(old), deployment(new)).by(user).lookup_finds(&server).settings(settings());
        assert_eq!(case.run().refusal(), None, "{old} to {new} by {user}");
    }
    let unreachable = Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
    let down = update(deployment(3), deployment(2)).host(unreachable).settings(settings());
    assert_eq!(down.run().refusal(), None);
}

#[test]
fn ignores_a_deletion_timestamp_that_the_client_writes() {
    let deleted = with(deployment(3), "/metadata/deletionTimestamp", json!("2026-11-20T00:00:00Z"));
    assert_eq!(admitted(update(deployment(1), deleted.clone()).lookup_finds(&stdio())), 1);
    update(deleted, deployment(3)).run().assert_accepted_as_is("the object is being deleted");
}

#[test]
fn does_not_warn_other_controllers() {
    for user in [
        "system:serviceaccount:keda:keda-operator",
        "system:serviceaccount:openshift-keda:keda-operator",
        "system:serviceaccount:kube-system:keda-operator",
        "system:serviceaccount:mcp:toolhive-operator",
    ] {
        let outcome = update(deployment(1), deployment(3)).by(user).lookup_finds(&stdio()).run();
        assert_eq!((outcome.warnings(), outcome.changes()), (vec![], vec!["/spec/replicas=1".to_owned()]), "{user}");
    }
    let settings = json!({"controllerServiceAccounts": ["system:serviceaccount:argocd:controller"]});
    let by = |user: &str| {
        update(deployment(1), deployment(3)).by(user).lookup_finds(&stdio()).settings(settings.clone()).run().warnings()
    };
    assert_eq!(by("system:serviceaccount:argocd:controller"), [""; 0]);
    assert_eq!(by("system:serviceaccount:argocd:server").len(), 1);
}
