//! Shows the decisions for a `HorizontalPodAutoscaler` and a KEDA `ScaledObject`: the policy warns and does nothing else.

use std::sync::Arc;

use policy_host::host::{GetResourceRequest, callback_failure, not_found};
use serde_json::{Value, json};

use fixtures::{OPERATOR, create, mcpserver, server, update, with};

/// For an autoscaler with a maximum of 5.
const STDIO: &str = "transport stdio of MCPServer github supports 1 replica; the autoscaler may request 5";
const DECLARED: &str = "spec.replicas of MCPServer github conflicts with the autoscaler; remove the field";
const SESSIONS: &str = "MCPServer github does not store sessions in Redis; more than 1 replica loses sessions";

fn hpa_at(api_version: &str, maximum: u32) -> Value {
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
    hpa_at("autoscaling/v2", maximum)
}

fn scaled_object(spec: Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "github", "namespace": "default"},
        "spec": spec
    })
}

fn with_redis(transport: &str) -> Value {
    mcpserver(json!({"transport": transport, "sessionStorage": {"provider": "redis"}}))
}

#[test]
fn warns_about_a_stdio_target() {
    for version in ["autoscaling/v1", "autoscaling/v2"] {
        let outcome = create(hpa_at(version, 5)).lookup_finds(&with_redis("stdio")).run();
        assert_eq!(outcome.warnings(), [STDIO]);
        assert_eq!(outcome.annotations(), ["stdio-replicas=maximum=5"]);
        assert_eq!(outcome.changes(), [""; 0]);
        assert_eq!(outcome.lookups, ["toolhive.stacklok.dev/v1beta1 MCPServer default/github"]);
    }
}

#[test]
fn warns_about_a_declared_count_of_any_size() {
    for declared in [0, 1, 3] {
        let server = with(with_redis("sse"), "/spec/replicas", json!(declared));
        assert_eq!(create(hpa(5)).lookup_finds(&server).run().warnings(), [DECLARED]);
        assert_eq!(create(hpa(1)).lookup_finds(&server).run().warnings(), [DECLARED]);
    }
}

#[test]
fn warns_about_replicas_without_shared_sessions() {
    let server = mcpserver(json!({"transport": "sse"}));
    assert_eq!(create(hpa(5)).lookup_finds(&server).run().warnings(), [SESSIONS]);
    create(hpa(1)).lookup_finds(&server).run().assert_accepted_as_is("a maximum of 1");
    create(hpa(5))
        .lookup_finds(&server)
        .settings(json!({"sessionStorage": "ignore"}))
        .run()
        .assert_accepted_as_is("the setting ignore");
    create(hpa(5)).lookup_finds(&with_redis("sse")).run().assert_accepted_as_is("sessions in Redis");
}

#[test]
fn gives_every_warning_on_an_update_too() {
    let server = mcpserver(json!({"replicas": 3}));
    let outcome = update(hpa(5), hpa(6)).lookup_finds(&server).run();
    assert_eq!(outcome.warnings(), [STDIO.replace("request 5", "request 6").as_str(), DECLARED, SESSIONS]);
    assert_eq!(outcome.annotations().len(), 3);
}

#[test]
fn reads_spec_backend_replicas_for_a_statefulset() {
    let target = with(hpa(5), "/spec/scaleTargetRef/kind", json!("StatefulSet"));
    let server = with(with_redis("sse"), "/spec/backendReplicas", json!(2));
    let expected = DECLARED.replace("spec.replicas", "spec.backendReplicas");
    assert_eq!(create(target).lookup_finds(&server).run().warnings(), [expected]);
    create(hpa(5)).lookup_finds(&server).run().assert_accepted_as_is("no count is declared for the Deployment");
}

#[test]
fn applies_the_defaults_of_keda() {
    let defaults = scaled_object(json!({"scaleTargetRef": {"name": "github"}, "triggers": []}));
    assert_eq!(create(defaults).lookup_finds(&with_redis("stdio")).run().annotations(), ["stdio-replicas=maximum=100"]);
    let one = scaled_object(json!({"scaleTargetRef": {"name": "github"}, "maxReplicaCount": 1}));
    create(one).lookup_finds(&with_redis("stdio")).run().assert_accepted_as_is("a maximum of 1");
    let explicit = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "github"});
    let explicit = scaled_object(json!({"scaleTargetRef": explicit, "maxReplicaCount": 4}));
    assert_eq!(create(explicit).lookup_finds(&with_redis("stdio")).run().annotations(), ["stdio-replicas=maximum=4"]);
}

#[test]
fn rejects_no_autoscaler() {
    let strict = json!({
        "stdioReplicas": "reject", "declaredReplicas": "reject", "sessionStorage": "reject", "onLookupFailure": "reject"
    });
    let outcome = create(hpa(5)).lookup_finds(&mcpserver(json!({"replicas": 3}))).settings(strict.clone()).run();
    assert_eq!(outcome.refusal(), None);
    for error in [not_found, |_: &GetResourceRequest| callback_failure("timeout")] {
        let host = move |request: &GetResourceRequest| Err(error(request));
        create(hpa(5))
            .host(Arc::new(host))
            .settings(strict.clone())
            .run()
            .assert_accepted_as_is("the custom resource of the target is unknown");
    }
}

#[test]
fn writes_audit_annotations_but_no_warnings_for_toolhive() {
    let outcome = create(hpa(5)).by(OPERATOR).lookup_finds(&with_redis("stdio")).run();
    assert_eq!(outcome.warnings(), [""; 0]);
    assert_eq!(outcome.annotations(), ["stdio-replicas=maximum=5"]);
}

#[test]
fn ignores_targets_that_cannot_be_toolhives_without_a_lookup() {
    for (api_version, kind) in [("apps/v1", "ReplicaSet"), ("argoproj.io/v1alpha1", "Deployment"), ("v1", "Deployment")]
    {
        let target = json!({"apiVersion": api_version, "kind": kind, "name": "github"});
        create(with(hpa(5), "/spec/scaleTargetRef", target)).run().assert_accepted_as_is(kind);
    }
}

#[test]
fn ignores_malformed_autoscalers() {
    for value in [None, Some(json!(null)), Some(json!([])), Some(json!("x")), Some(json!(-7)), Some(json!({}))] {
        for pointer in ["/spec", "/spec/scaleTargetRef", "/spec/scaleTargetRef/name", "/spec/maxReplicas"] {
            if pointer.ends_with("name") && value == Some(json!("x")) {
                continue;
            }
            create(with(hpa(5), pointer, value.clone())).run().assert_accepted_as_is(&format!("{pointer} {value:?}"));
        }
    }
}

#[test]
fn shortens_long_names_in_warnings() {
    let name = "n".repeat(63);
    let target = with(hpa(5), "/spec/scaleTargetRef/name", json!(name));
    let server = with(mcpserver(json!({"replicas": 3})), "/metadata/name", json!(name));
    for warning in create(target).lookup_finds(&server).run().warnings() {
        assert!(warning.contains("MCPServer nnn"), "{warning}");
    }
}

#[test]
fn finds_a_server_of_the_older_api_version() {
    let server = with(with_redis("stdio"), "/apiVersion", json!("toolhive.stacklok.dev/v1alpha1"));
    let outcome = create(hpa(5)).lookup_finds(&server).run();
    assert_eq!(outcome.annotations(), ["stdio-replicas=maximum=5"]);
    assert_eq!(outcome.lookups.len(), 2, "the newest version is not served");
}

#[test]
fn warns_about_the_deployments_of_other_kinds() {
    for kind in ["VirtualMCPServer", "MCPRemoteProxy"] {
        let outcome = create(hpa(5)).lookup_finds(&server(kind, json!({"replicas": 2}))).run();
        assert_eq!(
            outcome.warnings(),
            [
                format!("spec.replicas of {kind} github conflicts with the autoscaler; remove the field"),
                format!("{kind} github does not store sessions in Redis; more than 1 replica loses sessions"),
            ]
        );
    }
}

#[test]
fn warns_about_an_autoscaler_for_the_custom_resource_itself() {
    for kind in ["MCPServer", "VirtualMCPServer", "MCPRemoteProxy"] {
        let target = json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": kind, "name": "github"});
        for autoscaler in [
            with(hpa(5), "/spec/scaleTargetRef", target.clone()),
            scaled_object(json!({"scaleTargetRef": target.clone()})),
        ] {
            let outcome = create(autoscaler).run();
            assert_eq!(
                outcome.warnings(),
                [format!("{kind} github cannot be scaled by an autoscaler; target its Deployment instead")]
            );
            assert_eq!(outcome.annotations(), [format!("not-scalable={kind}/github")]);
        }
    }
}

#[test]
fn warns_about_an_autoscaler_for_an_embedding_server() {
    let name = "embeddings";
    let warning = "the count of EmbeddingServer embeddings is its spec.replicas; ToolHive undoes an autoscaler's";
    let server = with(server("EmbeddingServer", json!({"replicas": 2})), "/metadata/name", json!(name));
    let target = |api_version, kind| json!({"apiVersion": api_version, "kind": kind, "name": name});
    for (target, lookups) in
        [(target("toolhive.stacklok.dev/v1beta1", "EmbeddingServer"), 0), (target("apps/v1", "StatefulSet"), 2)]
    {
        for autoscaler in [
            with(hpa(5), "/spec/scaleTargetRef", target.clone()),
            scaled_object(json!({"scaleTargetRef": target.clone()})),
        ] {
            let outcome = create(autoscaler).lookup_finds(&server).run();
            assert_eq!(outcome.warnings(), [warning]);
            assert_eq!(outcome.annotations(), ["not-scalable=EmbeddingServer/embeddings"]);
            assert_eq!(outcome.lookups.len(), lookups, "an MCPServer is looked for first");
        }
    }
    let deployment = with(hpa(5), "/spec/scaleTargetRef/name", json!(name));
    create(deployment).lookup_finds(&server).run().assert_accepted_as_is("it has no Deployment");
    let foreign = with(hpa(5), "/spec/scaleTargetRef", target("apps/v1", "StatefulSet"));
    create(foreign).lookup_finds(&with_redis("sse")).run().assert_accepted_as_is("a StatefulSet of somebody else");
}
