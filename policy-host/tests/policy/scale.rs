//! The row for `deployments/scale` and `statefulsets/scale`.

use std::sync::Arc;

use policy_host::host::{callback_failure, not_found, not_served};
use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use serde_json::{Value, json};

use crate::harness::{Case, DEPLOYMENT_SELECTOR, OPERATOR, STATEFULSET_SELECTOR, mcpserver, scale, server, with};

const HPA: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";
const V1BETA1: &str = "toolhive.stacklok.dev/v1beta1 MCPServer default/github";
const V1ALPHA1: &str = "toolhive.stacklok.dev/v1alpha1 MCPServer default/github";

fn deployment(old: u32, new: u32) -> Case {
    scale("deployments", DEPLOYMENT_SELECTOR, old, new)
}

fn statefulset(old: u32, new: u32) -> Case {
    scale("statefulsets", STATEFULSET_SELECTOR, old, new)
}

fn stdio() -> Value {
    mcpserver(json!({"transport": "stdio"}))
}

fn shared() -> Value {
    mcpserver(json!({"transport": "sse", "sessionStorage": {"provider": "redis"}}))
}

fn unshared() -> Value {
    mcpserver(json!({"transport": "sse"}))
}

#[test]
fn stdio_is_capped_on_both() {
    for case in [deployment(1, 3), statefulset(1, 3)] {
        let outcome = case.finds(&stdio()).run();
        assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
        assert_eq!(outcome.warnings(), ["stdio runs 1 replica; 3 requested in spec.replicas"]);
        assert_eq!(
            outcome.annotations(),
            ["replicas=requested=3 admitted=1 reason=stdio", "stdio-replicas=spec.replicas=3"]
        );
        assert_eq!(outcome.lookups, [V1BETA1]);
    }
}

#[test]
fn stdio_can_be_refused_or_only_warned_about() {
    for case in [deployment, statefulset] {
        let refused = case(1, 3).finds(&stdio()).settings(json!({"stdioReplicas": "reject"})).run();
        assert_eq!(refused.refusal().map(|(code, _)| code), Some(422));
        let warned = case(1, 3).finds(&stdio()).settings(json!({"stdioReplicas": "warn", "sessionStorage": "ignore"}));
        let warned = warned.run();
        assert_eq!(warned.changes(), [""; 0]);
        assert_eq!(warned.warnings(), ["stdio runs 1 replica; 3 requested in spec.replicas"]);
    }
}

#[test]
fn a_refusal_ratchets() {
    let strict = json!({"stdioReplicas": "reject", "sessionStorage": "reject"});
    for server in [stdio(), unshared()] {
        let refused = |old, new| deployment(old, new).finds(&server).settings(strict.clone()).run().refusal().is_some();
        assert!(refused(1, 2));
        assert!(refused(3, 4));
        assert!(!refused(3, 3));
        assert!(!refused(3, 2));
        assert!(!refused(3, 0));
    }
}

#[test]
fn sessions_at_risk_are_told() {
    let outcome = deployment(1, 3).finds(&unshared()).run();
    assert_eq!(
        outcome.warnings(),
        ["spec.replicas 3 without Redis loses sessions; set sessionStorage.provider of the MCPServer to redis"]
    );
    assert_eq!(outcome.changes(), [""; 0]);
    deployment(1, 3).finds(&shared()).run().assert_silent("shared sessions");
}

#[test]
fn a_declared_count_that_will_win_is_told_but_not_set() {
    let declaring = with(with(shared(), "/spec/replicas", json!(3)), "/spec/backendReplicas", json!(2));
    let outcome = deployment(3, 5).finds(&declaring).run();
    assert_eq!(outcome.warnings(), ["MCPServer spec.replicas is 3 and wins; 5 requested"]);
    assert_eq!(outcome.changes(), [""; 0]);
    let outcome = statefulset(2, 5).finds(&declaring).run();
    assert_eq!(outcome.warnings(), ["MCPServer spec.backendReplicas is 2 and wins; 5 requested"]);
    let outcome = deployment(3, 0).finds(&declaring).run();
    assert_eq!(outcome.warnings(), ["MCPServer spec.replicas is 3 and wins; 0 requested"]);
    deployment(1, 3).finds(&declaring).run().assert_silent("what is declared");
}

#[test]
fn scaling_to_zero_or_one_passes() {
    for (old, new) in [(3, 1), (3, 0), (1, 0), (0, 1)] {
        deployment(old, new).finds(&stdio()).run().assert_silent("by a person");
        // Without a custom resource to find, a lookup fails the test.
        deployment(old, new).by(HPA).run().assert_silent("by an autoscaler, which gets no warnings");
    }
    for count in [0, 1] {
        deployment(count, count).run().assert_silent("nothing changes");
    }
}

#[test]
fn autoscalers_are_capped_without_a_word() {
    let outcome = deployment(1, 3).by(HPA).finds(&stdio()).run();
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
    assert_eq!(outcome.warnings(), [""; 0]);
    assert_eq!(outcome.annotations().len(), 2);
}

#[test]
fn toolhive_may_scale_down_through_the_scale_too() {
    let outcome = deployment(3, 2).by(OPERATOR).finds(&shared()).run();
    outcome.assert_silent("a Scale is no reset");
}

#[test]
fn what_the_client_says_of_the_workload_counts_for_nothing() {
    let lying = with(crate::harness::scale_object(3, "app=other"), "/metadata/labels", json!({"toolhive": "false"}));
    let outcome = deployment(1, 3).request("object", lying).finds(&stdio()).run();
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
    let forged = crate::harness::scale_object(3, DEPLOYMENT_SELECTOR);
    let case = scale("deployments", "app=nginx", 1, 3).request("object", forged);
    case.run().assert_silent("the server's own selector is another's");
}

#[test]
fn a_scale_of_somebody_elses_costs_no_lookup() {
    for selector in ["app=nginx", "", "toolhive=false,toolhive-name=github", "toolhive=true"] {
        scale("deployments", selector, 1, 3).run().assert_silent(selector);
    }
    for selector in ["app=other", "app=github,tier=db", "", "app.kubernetes.io/name=github"] {
        scale("statefulsets", selector, 1, 3).run().assert_silent(selector);
    }
    for resource in ["replicasets", "replicationcontrollers"] {
        scale(resource, DEPLOYMENT_SELECTOR, 1, 3).run().assert_silent(resource);
    }
    let other_group = json!({"group": "argoproj.io", "version": "v1alpha1", "resource": "deployments"});
    deployment(1, 3).request("resource", other_group).run().assert_silent("another group");
}

#[test]
fn a_statefulset_that_only_looks_like_toolhives_costs_one_lookup_and_no_word() {
    for error in [not_found, |_: &GetResourceRequest| callback_failure("timeout")] {
        let host = move |request: &GetResourceRequest| Err(error(request));
        let strict = json!({"onLookupFailure": "reject"});
        let outcome = statefulset(1, 3).host(Arc::new(host)).settings(strict).run();
        outcome.assert_silent("a guess");
        assert!(outcome.lookups.len() <= 2);
    }
    let outcome = statefulset(1, 3).host(Arc::new(|request: &GetResourceRequest| Err(not_found(request)))).run();
    assert_eq!(outcome.lookups, [V1BETA1]);
    let old_cluster = |request: &GetResourceRequest| {
        if request.api_version.ends_with("v1beta1") {
            return Err(not_served(request));
        }
        Ok(br#"{"spec":{}}"#.to_vec())
    };
    let outcome = statefulset(1, 3).host(Arc::new(old_cluster)).run();
    assert_eq!(outcome.lookups, [V1BETA1, V1ALPHA1]);
    assert_eq!(outcome.changes(), ["/spec/replicas=1"]);
}

#[test]
fn a_lookup_that_fails() {
    let unreachable = || Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
    let outcome = deployment(1, 3).host(unreachable()).run();
    assert_eq!(outcome.warnings(), ["MCPServer could not be read; spec.replicas is unchecked"]);
    let strict = json!({"onLookupFailure": "reject"});
    let code = |old, new| {
        let refusal = deployment(old, new).host(unreachable()).settings(strict.clone()).run().refusal();
        refusal.map(|(code, _)| code)
    };
    assert_eq!(code(1, 3), Some(503));
    assert_eq!(code(3, 4), Some(503));
    for (old, new) in [(3, 2), (3, 0), (0, 1), (3, 3)] {
        assert_eq!(code(old, new), None, "{old} to {new} can break no rule");
    }
}

#[test]
fn other_kinds_are_scaled_by_the_same_rules() {
    let selector = "app=virtualmcpserver,app.kubernetes.io/name=virtualmcpserver,toolhive=true,toolhive-name=github";
    let outcome = scale("deployments", selector, 1, 3).finds(&server("VirtualMCPServer", json!({}))).run();
    assert_eq!(outcome.lookups, ["toolhive.stacklok.dev/v1beta1 VirtualMCPServer default/github"]);
    assert_eq!(
        outcome.warnings(),
        ["spec.replicas 3 without Redis loses sessions; set sessionStorage.provider of the VirtualMCPServer to redis"]
    );
}

#[test]
fn malformed_scales() {
    for count in [json!("3"), json!(-1), json!(1.5), json!(2_147_483_648_u64), json!([]), json!({})] {
        let object = with(crate::harness::scale_object(3, DEPLOYMENT_SELECTOR), "/spec/replicas", count.clone());
        deployment(1, 3).request("object", object).run().assert_silent(&count.to_string());
    }
    for value in [None, Some(json!(null)), Some(json!([])), Some(json!("x")), Some(json!(7))] {
        for pointer in ["/status", "/status/selector"] {
            let old = with(crate::harness::scale_object(1, DEPLOYMENT_SELECTOR), pointer, value.clone());
            if value == Some(json!("x")) && pointer == "/status/selector" {
                continue;
            }
            deployment(1, 3).request("oldObject", old).run().assert_silent(pointer);
        }
        let object = with(crate::harness::scale_object(3, DEPLOYMENT_SELECTOR), "/spec", value.clone());
        deployment(1, 3).request("object", object).run().assert_silent("spec");
        let resource = value.clone().unwrap_or_default();
        deployment(1, 3).request("resource", json!({"group": resource, "version": "v1", "resource": "deployments"}));
    }
    deployment(1, 3).request("oldObject", json!(null)).run().assert_silent("no old object");
    // An old count that is missing was zero.
    let old = with(crate::harness::scale_object(1, DEPLOYMENT_SELECTOR), "/spec", json!({}));
    assert_eq!(deployment(1, 3).request("oldObject", old).finds(&stdio()).run().changes(), ["/spec/replicas=1"]);
}
