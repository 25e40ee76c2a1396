//! The row for HorizontalPodAutoscaler and ScaledObject: warnings, and nothing else.

use std::sync::Arc;

use policy_host::host::{callback_failure, not_found};
use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use serde_json::{Value, json};

use crate::harness::{OPERATOR, create, mcpserver, update, with};

const STAYS: &str = "the target stays at 1 replica: transport is stdio on MCPServer github";
const FIGHTS: &str = "spec.replicas is declared and fights this autoscaler: remove it from MCPServer github";
const LOSES: &str = "above 1 replica sessions are lost without Redis: set sessionStorage.provider of MCPServer github";

fn autoscaler(api_version: &str, maximum: u32) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "github", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "github"},
            "minReplicas": 1,
            "maxReplicas": maximum
        }
    })
}

fn hpa(maximum: u32) -> Value {
    autoscaler("autoscaling/v2", maximum)
}

fn scaled_object(spec: Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "github", "namespace": "default"},
        "spec": spec
    })
}

fn redis(transport: &str) -> Value {
    mcpserver(json!({"transport": transport, "sessionStorage": {"provider": "redis"}}))
}

#[test]
fn a_target_that_stays_at_one() {
    for version in ["autoscaling/v1", "autoscaling/v2"] {
        let outcome = create(autoscaler(version, 5)).finds(&redis("stdio")).run();
        assert_eq!(outcome.warnings(), [STAYS]);
        assert_eq!(outcome.annotations(), ["stdio-replicas=maximum=5"]);
        assert_eq!(outcome.changes(), [""; 0]);
        assert_eq!(outcome.lookups, ["toolhive.stacklok.dev/v1beta1 MCPServer default/github"]);
    }
}

#[test]
fn a_declared_count_fights_the_autoscaler_whatever_it_is() {
    for declared in [0, 1, 3] {
        let server = with(redis("sse"), "/spec/replicas", json!(declared));
        assert_eq!(create(hpa(5)).finds(&server).run().warnings(), [FIGHTS]);
        assert_eq!(create(hpa(1)).finds(&server).run().warnings(), [FIGHTS]);
    }
}

#[test]
fn sessions_that_are_not_shared() {
    let server = mcpserver(json!({"transport": "sse"}));
    assert_eq!(create(hpa(5)).finds(&server).run().warnings(), [LOSES]);
    create(hpa(1)).finds(&server).run().assert_silent("one replica at most");
    create(hpa(5)).finds(&server).settings(json!({"sessionStorage": "ignore"})).run().assert_silent("ignored");
    create(hpa(5)).finds(&redis("sse")).run().assert_silent("shared");
}

#[test]
fn all_at_once_and_on_an_update_too() {
    let server = mcpserver(json!({"replicas": 3}));
    let outcome = update(hpa(5), hpa(6)).finds(&server).run();
    assert_eq!(outcome.warnings(), [STAYS, FIGHTS, LOSES]);
    assert_eq!(outcome.annotations().len(), 3);
}

#[test]
fn a_statefulset_as_the_target() {
    let target = with(hpa(5), "/spec/scaleTargetRef/kind", json!("StatefulSet"));
    let server = with(redis("sse"), "/spec/backendReplicas", json!(2));
    let expected = FIGHTS.replace("spec.replicas", "spec.backendReplicas");
    assert_eq!(create(target).finds(&server).run().warnings(), [expected]);
    create(hpa(5)).finds(&server).run().assert_silent("the Deployment's count is not declared");
}

#[test]
fn kedas_defaults() {
    let implied = scaled_object(json!({"scaleTargetRef": {"name": "github"}, "triggers": []}));
    assert_eq!(create(implied).finds(&redis("stdio")).run().annotations(), ["stdio-replicas=maximum=100"]);
    let one = scaled_object(json!({"scaleTargetRef": {"name": "github"}, "maxReplicaCount": 1}));
    create(one).finds(&redis("stdio")).run().assert_silent("one at most");
    let spelled_out = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "github"});
    let spelled_out = scaled_object(json!({"scaleTargetRef": spelled_out, "maxReplicaCount": 4}));
    assert_eq!(create(spelled_out).finds(&redis("stdio")).run().annotations(), ["stdio-replicas=maximum=4"]);
}

#[test]
fn it_is_never_refused() {
    let strict = json!({
        "stdioReplicas": "reject", "declaredReplicas": "reject", "sessionStorage": "reject", "onLookupFailure": "reject"
    });
    let outcome = create(hpa(5)).finds(&mcpserver(json!({"replicas": 3}))).settings(strict.clone()).run();
    assert_eq!(outcome.refusal(), None);
    for error in [not_found, |_: &GetResourceRequest| callback_failure("timeout")] {
        let host = move |request: &GetResourceRequest| Err(error(request));
        create(hpa(5)).host(Arc::new(host)).settings(strict.clone()).run().assert_silent("a target nobody knows");
    }
}

#[test]
fn toolhive_itself_is_audited_but_not_warned() {
    let outcome = create(hpa(5)).by(OPERATOR).finds(&redis("stdio")).run();
    assert_eq!(outcome.warnings(), [""; 0]);
    assert_eq!(outcome.annotations(), ["stdio-replicas=maximum=5"]);
}

#[test]
fn targets_that_can_be_none_of_toolhives_cost_no_lookup() {
    for (api_version, kind) in [("apps/v1", "ReplicaSet"), ("argoproj.io/v1alpha1", "Deployment"), ("v1", "Deployment")]
    {
        let target = json!({"apiVersion": api_version, "kind": kind, "name": "github"});
        create(with(hpa(5), "/spec/scaleTargetRef", target)).run().assert_silent(kind);
    }
}

#[test]
fn malformed_autoscalers() {
    for value in [None, Some(json!(null)), Some(json!([])), Some(json!("x")), Some(json!(-7)), Some(json!({}))] {
        for pointer in ["/spec", "/spec/scaleTargetRef", "/spec/scaleTargetRef/name", "/spec/maxReplicas"] {
            if pointer.ends_with("name") && value == Some(json!("x")) {
                continue;
            }
            create(with(hpa(5), pointer, value.clone())).run().assert_silent(&format!("{pointer} {value:?}"));
        }
    }
}

#[test]
fn a_long_name_cuts_nothing_that_matters() {
    let name = "n".repeat(63);
    let target = with(hpa(5), "/spec/scaleTargetRef/name", json!(name));
    let server = with(mcpserver(json!({"replicas": 3})), "/metadata/name", json!(name));
    for warning in create(target).finds(&server).run().warnings() {
        assert!(warning.contains("MCPServer nnn"), "{warning}");
    }
}
