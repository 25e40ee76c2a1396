//! Shows the decisions for a Scale, which `kubectl scale` and autoscalers write to `deployments/scale` and
//! `statefulsets/scale`.

use std::sync::Arc;

use mcp_scaling_rules::{ServerKind, Workload};
use policy_host::host::{GetResourceRequest, callback_failure, not_found, not_served};
use serde_json::{Value, json};

use fixtures::case::{AUTOSCALER, Case, OPERATOR, mcpserver, scale, scale_object, selector, server, with};

const V1BETA1: &str = "toolhive.stacklok.dev/v1beta1 MCPServer default/github";
const V1ALPHA1: &str = "toolhive.stacklok.dev/v1alpha1 MCPServer default/github";

/// A person's request to scale the Deployment.
fn deployment(old: u32, new: u32) -> Case {
    scale("deployments", &selector(Workload::Deployment), old, new)
}

/// A person's request to scale the StatefulSet.
fn statefulset(old: u32, new: u32) -> Case {
    scale("statefulsets", &selector(Workload::StatefulSet), old, new)
}

fn stdio() -> Value {
    mcpserver(json!({"transport": "stdio"}))
}

fn with_redis() -> Value {
    mcpserver(json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis"}}))
}

fn without_redis() -> Value {
    mcpserver(json!({"transport": "streamable-http"}))
}

#[test]
fn caps_stdio_at_one_on_both_workloads() {
    for case in [deployment(1, 3), statefulset(1, 3)] {
        let outcome = case.lookup_finds(&stdio()).run();
        assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
        assert_eq!(outcome.warnings(), ["transport stdio supports 1 replica; spec.replicas requests 3"]);
        assert_eq!(
            outcome.annotations(),
            ["replicas=requested=3 wanted=1 reason=stdio", "stdio-replicas=spec.replicas=3"]
        );
        assert_eq!(outcome.lookups, [V1BETA1]);
    }
}

#[test]
fn rejects_or_warns_about_stdio_above_one_where_the_settings_say_so() {
    for case in [deployment, statefulset] {
        let refused = case(1, 3).lookup_finds(&stdio()).settings(json!({"stdioReplicas": "reject"})).run();
        let message = "transport stdio supports 1 replica; spec.replicas requests 3: lower it to 1, or use transport \
                       streamable-http or sse";
        assert_eq!(refused.refusal(), Some((422, message.to_owned())));
        let warned =
            case(1, 3).lookup_finds(&stdio()).settings(json!({"stdioReplicas": "warn", "sessionStorage": "ignore"}));
        let warned = warned.run();
        assert_eq!(warned.changes(), [""; 0]);
        assert_eq!(warned.warnings(), ["transport stdio supports 1 replica; spec.replicas requests 3"]);
    }
}

#[test]
fn accepts_updates_that_do_not_raise_a_count_which_violated_a_rule_before() {
    let strict = json!({"stdioReplicas": "reject", "sessionStorage": "reject"});
    for server in [stdio(), without_redis()] {
        let refused =
            |old, new| deployment(old, new).lookup_finds(&server).settings(strict.clone()).run().refusal().is_some();
        assert!(refused(1, 2));
        assert!(refused(3, 4));
        assert!(!refused(3, 3));
        assert!(!refused(3, 2));
        assert!(!refused(3, 0));
    }
}

#[test]
fn warns_about_replicas_without_shared_sessions() {
    let outcome = deployment(1, 3).lookup_finds(&without_redis()).run();
    assert_eq!(
        outcome.warnings(),
        [
            "3 replicas without Redis: clients with sessions fail, most for good; v0.16+: spec.sessionStorage.provider redis"
        ]
    );
    assert_eq!(outcome.changes(), [""; 0]);
    deployment(1, 3).lookup_finds(&with_redis()).run().assert_accepted_as_is("sessions in Redis");
}

#[test]
fn warns_about_a_declared_count_that_overrides_the_requested_one() {
    let declaring = with(with(with_redis(), "/spec/replicas", json!(3)), "/spec/backendReplicas", json!(2));
    let outcome = deployment(3, 5).lookup_finds(&declaring).run();
    assert_eq!(outcome.warnings(), ["spec.replicas of MCPServer github is 3 and overrides the requested 5"]);
    assert_eq!(outcome.changes(), [""; 0]);
    let stdio = mcpserver(json!({"replicas": 3, "sessionStorage": {"provider": "redis"}}));
    for old in [0, 3] {
        let outcome = scale("deployments", &selector(Workload::Deployment), old, 1).lookup_finds(&stdio).run();
        assert!(!outcome.warnings().concat().contains("overrides"), "ToolHive makes 1 of the declared 3");
    }
    let outcome = statefulset(2, 5).lookup_finds(&declaring).run();
    let overrides = "spec.backendReplicas of MCPServer github is 2 and is set again when a proxy starts";
    assert_eq!(outcome.warnings().last().map(String::as_str), Some(overrides));
    let outcome = deployment(3, 0).lookup_finds(&declaring).run();
    assert_eq!(outcome.warnings(), ["spec.replicas of MCPServer github is 3 and overrides the requested 0"]);
    deployment(1, 3).lookup_finds(&declaring).run().assert_accepted_as_is("the declared count");
}

#[test]
fn leaves_counts_of_zero_and_one_alone() {
    for (old, new) in [(3, 1), (3, 0), (1, 0), (0, 1)] {
        let person = deployment(old, new).lookup_finds(&stdio()).run();
        assert_eq!((person.changes().len(), person.refusal()), (0, None), "{old} to {new}");
        // A lookup fails the test here.
        deployment(old, new)
            .by(AUTOSCALER)
            .run()
            .assert_accepted_as_is("by an autoscaler, which gets no warnings and needs no lookup");
    }
    for count in [0, 1] {
        deployment(count, count).run().assert_accepted_as_is("the count does not change");
    }
}

#[test]
fn caps_autoscalers_without_a_warning() {
    let outcome = deployment(1, 3).by(AUTOSCALER).lookup_finds(&stdio()).run();
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
    assert_eq!(outcome.warnings(), [""; 0]);
    assert_eq!(outcome.annotations().len(), 2);
}

#[test]
fn preserves_no_count_on_a_scale() {
    let outcome = deployment(3, 2).by(OPERATOR).lookup_finds(&with_redis()).run();
    outcome.assert_accepted_as_is("ToolHive does not reset counts through a Scale");
}

#[test]
fn trusts_the_selector_of_the_old_object_only() {
    let misleading = with(scale_object(3, "app=other"), "/metadata/labels", json!({"toolhive": "false"}));
    let outcome = deployment(1, 3).with_member("object", misleading).lookup_finds(&stdio()).run();
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
    let forged = scale_object(3, &selector(Workload::Deployment));
    let case = scale("deployments", "app=nginx", 1, 3).with_member("object", forged);
    case.run().assert_accepted_as_is("the selector that the API server set is another one");
}

#[test]
fn ignores_scales_of_workloads_that_are_not_toolhives_without_a_lookup() {
    for selector in ["app=nginx", "", "toolhive=false,toolhive-name=github", "toolhive=true"] {
        scale("deployments", selector, 1, 3).run().assert_accepted_as_is(selector);
    }
    for selector in ["app=other", "app=github,tier=db", "", "app.kubernetes.io/name=github"] {
        scale("statefulsets", selector, 1, 3).run().assert_accepted_as_is(selector);
    }
    for resource in ["replicasets", "replicationcontrollers"] {
        scale(resource, &selector(Workload::Deployment), 1, 3).run().assert_accepted_as_is(resource);
    }
    let other_group = json!({"group": "argoproj.io", "version": "v1alpha1", "resource": "deployments"});
    deployment(1, 3).with_member("resource", other_group).run().assert_accepted_as_is("another group");
}

#[test]
fn ignores_scales_of_copies_with_another_name() {
    for kind in ServerKind::ALL {
        let app = kind.app_name();
        // Flagger's copy has the labels of the original but for one.
        for selector in [
            format!("app={app},app.kubernetes.io/name={app},toolhive=true,toolhive-name=github"),
            format!("app=github-primary,app.kubernetes.io/name={app},toolhive=true,toolhive-name=github"),
        ] {
            for (old, new) in [(1, 3), (3, 0), (0, 1)] {
                let copy = |count| with(scale_object(count, &selector), "/metadata/name", json!("github-primary"));
                let case = scale("deployments", &selector, old, new).with_member("name", json!("github-primary"));
                let case = case.with_member("object", copy(new)).with_member("oldObject", copy(old));
                // A lookup fails the test here.
                case.run().assert_accepted_as_is(&selector);
            }
        }
    }
    scale("statefulsets", &selector(Workload::StatefulSet), 1, 3)
        .with_member("name", json!("github-copy"))
        .run()
        .assert_accepted_as_is("a copy of a StatefulSet");
}

#[test]
fn warns_people_with_accounts_in_kube_system() {
    for name in ["eks-admin", "admin-user", "default", "cluster-autoscaler", "deployment-controller-2"] {
        let user = format!("system:serviceaccount:kube-system:{name}");
        let outcome = deployment(1, 3).by(&user).lookup_finds(&stdio()).run();
        assert_eq!(outcome.changes(), ["/spec/replicas=1"], "{name}");
        assert_eq!(outcome.warnings(), ["transport stdio supports 1 replica; spec.replicas requests 3"], "{name}");
        let stopped = deployment(2, 0).by(&user).lookup_finds(&with_redis()).run();
        assert!(!stopped.warnings().is_empty(), "{name}");
    }
    for user in [
        AUTOSCALER,
        "system:kube-controller-manager",
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:serviceaccount:kube-system:storage-version-migrator-controller",
        "system:serviceaccount:extension-system:keda-operator",
    ] {
        let outcome = deployment(1, 3).by(user).lookup_finds(&stdio()).run();
        assert_eq!((outcome.changes().len(), outcome.warnings()), (1, vec![]), "{user}");
        deployment(2, 0).by(user).run().assert_accepted_as_is(user);
    }
}

#[test]
fn ignores_a_statefulset_whose_mcpserver_is_not_found() {
    for error in [not_found, |_: &GetResourceRequest| callback_failure("timeout")] {
        let host = move |request: &GetResourceRequest| Err(error(request));
        let strict = json!({"onLookupFailure": "reject"});
        let outcome = statefulset(1, 3).host(Arc::new(host)).settings(strict).run();
        outcome.assert_accepted_as_is("a StatefulSet that may belong to something else");
        assert!(outcome.lookups.len() <= 2);
    }
    let outcome = statefulset(1, 3).host(Arc::new(|request: &GetResourceRequest| Err(not_found(request)))).run();
    assert_eq!(outcome.lookups, [V1BETA1]);
}

#[test]
fn looks_up_the_older_api_version_where_the_newest_is_not_served() {
    let old_cluster = |request: &GetResourceRequest| {
        if request.api_version.ends_with("v1beta1") {
            return Err(not_served(&request.api_version, &request.kind));
        }
        Ok(br#"{"spec":{}}"#.to_vec())
    };
    let outcome = statefulset(1, 3).host(Arc::new(old_cluster)).run();
    assert_eq!(outcome.lookups, [V1BETA1, V1ALPHA1]);
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
}

#[test]
fn rejects_a_failed_lookup_only_where_the_count_may_violate_a_rule() {
    let unreachable = || Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
    let outcome = deployment(1, 3).host(unreachable()).run();
    assert_eq!(outcome.warnings(), ["MCPServer github could not be read; spec.replicas was not checked"]);
    let strict = json!({"onLookupFailure": "reject"});
    let code = |old, new| {
        let refusal = deployment(old, new).host(unreachable()).settings(strict.clone()).run().refusal();
        refusal.map(|(code, _)| code)
    };
    assert_eq!(code(1, 3), Some(503));
    assert_eq!(code(3, 4), Some(503));
    for (old, new) in [(3, 2), (3, 0), (0, 1), (3, 3)] {
        assert_eq!(code(old, new), None, "a change from {old} to {new} can violate no rule");
    }
}

#[test]
fn applies_the_same_rules_to_other_kinds() {
    let selector = "app=virtualmcpserver,app.kubernetes.io/name=virtualmcpserver,toolhive=true,toolhive-name=github";
    let outcome = scale("deployments", selector, 1, 3).lookup_finds(&server("VirtualMCPServer", json!({}))).run();
    assert_eq!(outcome.lookups, ["toolhive.stacklok.dev/v1beta1 VirtualMCPServer default/github"]);
    assert_eq!(
        outcome.warnings(),
        [
            "3 replicas without Redis: clients with sessions fail, most for good; v0.16+: spec.sessionStorage.provider redis"
        ]
    );
}

#[test]
fn ignores_malformed_scales() {
    for count in [json!("3"), json!(-1), json!(1.5), json!(2_147_483_648_u64), json!([]), json!({})] {
        let object = with(scale_object(3, &selector(Workload::Deployment)), "/spec/replicas", count.clone());
        deployment(1, 3).with_member("object", object).run().assert_accepted_as_is(&count.to_string());
    }
    for value in [None, Some(json!(null)), Some(json!([])), Some(json!("x")), Some(json!(7))] {
        for pointer in ["/status", "/status/selector"] {
            let old = with(scale_object(1, &selector(Workload::Deployment)), pointer, value.clone());
            if value == Some(json!("x")) && pointer == "/status/selector" {
                continue;
            }
            deployment(1, 3).with_member("oldObject", old).run().assert_accepted_as_is(pointer);
        }
        let object = with(scale_object(3, &selector(Workload::Deployment)), "/spec", value);
        deployment(1, 3).with_member("object", object).run().assert_accepted_as_is("spec");
    }
    deployment(1, 3).with_member("oldObject", json!(null)).run().assert_accepted_as_is("no old object");
    // The API server leaves an old count of 0 out.
    let old = with(scale_object(1, &selector(Workload::Deployment)), "/spec", json!({}));
    assert_eq!(
        deployment(1, 3).with_member("oldObject", old).lookup_finds(&stdio()).run().changes(),
        ["/spec/replicas=1"]
    );
}
