//! Shows the decisions for a `HorizontalPodAutoscaler` and a KEDA `ScaledObject`: the policy warns and does nothing else.

use std::sync::Arc;

use policy_host::host::{GetResourceRequest, callback_failure, not_found};
use serde_json::{Value, json};

use fixtures::case::{OPERATOR, create, mcpserver, server, update, with};

/// For an autoscaler with a maximum of 5.
const STDIO: &str = "transport stdio of MCPServer github supports 1 replica; the autoscaler may request 5";
const UNPINNED: &str = "sessions lose backends as proxies change; the autoscaler may request 5";
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
    assert_eq!(outcome.warnings(), [STDIO.replace("request 5", "request 6").as_str(), DECLARED]);
    assert_eq!(outcome.annotations().len(), 2);
    let server = mcpserver(json!({"transport": "sse", "replicas": 3}));
    let outcome = update(hpa(5), hpa(6)).lookup_finds(&server).run();
    assert_eq!(outcome.warnings(), [DECLARED, SESSIONS]);
    assert_eq!(outcome.annotations().len(), 2);
}

#[test]
fn reads_spec_backend_replicas_for_a_statefulset() {
    let target = with(hpa(5), "/spec/scaleTargetRef/kind", json!("StatefulSet"));
    let server = with(with_redis("streamable-http"), "/spec/backendReplicas", json!(2));
    let expected = DECLARED.replace("spec.replicas", "spec.backendReplicas");
    assert_eq!(create(target).lookup_finds(&server).run().warnings(), [expected.as_str(), UNPINNED]);
    create(hpa(5)).lookup_finds(&server).run().assert_accepted_as_is("no count is declared for the Deployment");
}

#[test]
fn applies_the_defaults_of_keda() {
    let defaults = scaled_object(json!({"scaleTargetRef": {"name": "github"}, "triggers": []}));
    assert_eq!(create(defaults).lookup_finds(&with_redis("stdio")).run().annotations(), ["stdio-replicas=maximum=100"]);
    let one = scaled_object(json!({"scaleTargetRef": {"name": "github"}, "maxReplicaCount": 1}));
    create(one).lookup_finds(&with_redis("stdio")).run().assert_accepted_as_is("a maximum of 1");
    let explicit = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "github"});
    let explicit = json!({"scaleTargetRef": explicit, "minReplicaCount": 1, "maxReplicaCount": 4});
    let explicit = scaled_object(explicit);
    assert_eq!(create(explicit).lookup_finds(&with_redis("stdio")).run().annotations(), ["stdio-replicas=maximum=4"]);
}

fn stops_backend(field: &str) -> String {
    let remedy = if field == "idleReplicaCount" { "remove it" } else { "keep 1 or more" };
    format!("{field} 0 stops the backend under running proxies, which then fail; {remedy}")
}

#[test]
fn warns_about_the_count_that_keda_sets_while_triggers_fail() {
    let object = |fallback: Value| {
        scaled_object(json!({"scaleTargetRef": {"name": "github"}, "maxReplicaCount": 1, "fallback": fallback}))
    };
    let warnings = |fallback| create(object(fallback)).lookup_finds(&with_redis("stdio")).run().warnings();
    let stdio = "transport stdio of MCPServer github supports 1 replica; the autoscaler may request 6";
    assert_eq!(warnings(json!({"failureThreshold": 3, "replicas": 6})), [stdio]);
    assert_eq!(warnings(json!({"failureThreshold": 3, "replicas": 1})), [""; 0]);
    for (behavior, is_told) in [
        ("static", true),
        ("currentReplicasIfHigher", true),
        ("currentReplicas", false),
        ("currentReplicasIfLower", false),
    ] {
        let fallback = json!({"failureThreshold": 3, "replicas": 6, "behavior": behavior});
        assert_eq!(!warnings(fallback).is_empty(), is_told, "{behavior}");
    }
    let cpu = with(object(json!({"failureThreshold": 3, "replicas": 6})), "/spec/triggers", json!([{"type": "cpu"}]));
    create(cpu).lookup_finds(&with_redis("stdio")).run().assert_accepted_as_is("KEDA has no fallback for cpu");
    assert_eq!(warnings(json!(null)), [""; 0]);
}

#[test]
fn takes_an_empty_kind_of_a_scaledobjects_target_for_an_absent_one() {
    let target = json!({"apiVersion": "", "kind": "", "name": "github"});
    let object = scaled_object(json!({"scaleTargetRef": target, "maxReplicaCount": 4}));
    assert_eq!(create(object).lookup_finds(&with_redis("stdio")).run().annotations(), ["stdio-replicas=maximum=4"]);
}

/// A ScaledObject for the StatefulSet with these other members of its spec.
fn backend_scaled_object(members: Value) -> Value {
    let mut spec = json!({"scaleTargetRef": {"kind": "StatefulSet", "name": "github"}, "maxReplicaCount": 1});
    spec.as_object_mut().expect("is an object").extend(members.as_object().expect("is an object").clone());
    scaled_object(spec)
}

#[test]
fn warns_about_an_autoscaler_that_stops_the_backend() {
    let hpa = |minimum: Value| {
        let hpa = with(hpa(1), "/spec/scaleTargetRef/kind", json!("StatefulSet"));
        with(hpa, "/spec/minReplicas", minimum)
    };
    let (queue, cpu, memory) = (json!({"type": "prometheus"}), json!({"type": "cpu"}), json!({"type": "memory"}));
    for (autoscaler, field) in [
        (hpa(json!(0)), Some("minReplicas")),
        (hpa(json!(1)), None),
        (hpa(json!(null)), None),
        (backend_scaled_object(json!({})), Some("minReplicaCount")),
        (backend_scaled_object(json!({"minReplicaCount": 0})), Some("minReplicaCount")),
        (backend_scaled_object(json!({"minReplicaCount": 1})), None),
        (backend_scaled_object(json!({"minReplicaCount": 2, "idleReplicaCount": 0})), Some("idleReplicaCount")),
        (backend_scaled_object(json!({"triggers": [queue, cpu]})), Some("minReplicaCount")),
        (backend_scaled_object(json!({"triggers": [cpu, memory]})), None),
        (backend_scaled_object(json!({"triggers": []})), Some("minReplicaCount")),
    ] {
        let case = autoscaler["spec"].to_string();
        for request in [create(autoscaler.clone()), update(autoscaler.clone(), autoscaler)] {
            let outcome = request.lookup_finds(&with_redis("streamable-http")).run();
            let expected: Vec<_> = field.into_iter().map(stops_backend).collect();
            assert_eq!(outcome.warnings(), expected, "{case}");
            let annotations = field.map(|field| format!("backend-stops-alone={field}=0"));
            assert_eq!(outcome.annotations(), annotations.into_iter().collect::<Vec<_>>(), "{case}");
        }
    }
    let proxies = scaled_object(json!({"scaleTargetRef": {"name": "github"}}));
    create(proxies).lookup_finds(&with_redis("sse")).run().assert_accepted_as_is("proxies may go to 0");
}

#[test]
fn warns_about_several_backends_with_transport_sse() {
    let warning = "sse keeps each session in 1 backend; the autoscaler may request 5";
    let hpa = |maximum| with(hpa(maximum), "/spec/scaleTargetRef/kind", json!("StatefulSet"));
    let outcome = create(hpa(5)).lookup_finds(&with_redis("sse")).run();
    assert_eq!(outcome.warnings(), [warning]);
    assert_eq!(outcome.annotations(), ["sse-backends=maximum=5"]);
    let outcome = create(hpa(5)).lookup_finds(&mcpserver(json!({"transport": "sse"}))).run();
    assert_eq!(outcome.warnings(), [warning], "Redis is not recommended where it does not help");
    assert_eq!(outcome.annotations(), ["sessions-at-risk=maximum=5", "sse-backends=maximum=5"]);
    let keda = backend_scaled_object(json!({"minReplicaCount": 1, "maxReplicaCount": 5}));
    assert_eq!(create(keda).lookup_finds(&with_redis("sse")).run().warnings(), [warning]);
    create(hpa(1)).lookup_finds(&with_redis("sse")).run().assert_accepted_as_is("one backend");
    let ignoring = create(hpa(5)).lookup_finds(&with_redis("sse")).settings(json!({"sessionStorage": "ignore"}));
    ignoring.run().assert_accepted_as_is("the setting ignore");
}

#[test]
fn warns_about_several_backends_among_which_sessions_move() {
    let hpa = |maximum| with(hpa(maximum), "/spec/scaleTargetRef/kind", json!("StatefulSet"));
    let outcome = create(hpa(5)).lookup_finds(&with_redis("streamable-http")).run();
    assert_eq!(outcome.warnings(), [UNPINNED]);
    assert_eq!(outcome.annotations(), ["unpinned-backends=maximum=5"]);
    let outcome = create(hpa(5)).lookup_finds(&mcpserver(json!({"transport": "streamable-http"}))).run();
    assert_eq!(outcome.annotations(), ["sessions-at-risk=maximum=5", "unpinned-backends=maximum=5"]);
    create(hpa(1)).lookup_finds(&with_redis("streamable-http")).run().assert_accepted_as_is("one backend");
    let ignoring = create(hpa(5)).lookup_finds(&with_redis("streamable-http"));
    ignoring.settings(json!({"sessionStorage": "ignore"})).run().assert_accepted_as_is("the setting ignore");
}

#[test]
fn reads_the_pause_of_a_scaled_object() {
    let paused = |annotations: Value, kind: &str| {
        let spec =
            json!({"scaleTargetRef": {"kind": kind, "name": "github"}, "minReplicaCount": 1, "maxReplicaCount": 1});
        with(scaled_object(spec), "/metadata/annotations", annotations)
    };
    const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
    let malformed = format!("{PAUSED_REPLICAS} is no count, so that KEDA scales nothing; write 0 or more");
    for (count, warning, annotation) in [
        ("5", STDIO.to_owned(), "stdio-replicas=maximum=5"),
        ("-1", malformed.clone(), "paused-replicas=malformed"),
        ("many", malformed.clone(), "paused-replicas=malformed"),
        ("", malformed, "paused-replicas=malformed"),
    ] {
        let annotations = json!({PAUSED_REPLICAS: count, "autoscaling.keda.sh/paused": "true"});
        let outcome = create(paused(annotations, "Deployment")).lookup_finds(&with_redis("stdio")).run();
        assert_eq!(outcome.warnings(), [warning], "{count:?}");
        assert_eq!(outcome.annotations(), [annotation], "{count:?}");
    }
    let stopped = paused(json!({PAUSED_REPLICAS: "0"}), "StatefulSet");
    let outcome = create(stopped).lookup_finds(&with_redis("streamable-http")).run();
    assert_eq!(outcome.warnings(), [stops_backend(PAUSED_REPLICAS)]);
    for count in ["0", "1"] {
        let case = create(paused(json!({PAUSED_REPLICAS: count}), "Deployment")).lookup_finds(&with_redis("stdio"));
        case.run().assert_accepted_as_is(count);
    }
    let many = |paused: &str| {
        let annotations = json!({"autoscaling.keda.sh/paused": paused});
        let spec = json!({"scaleTargetRef": {"name": "github"}, "maxReplicaCount": 5});
        create(with(scaled_object(spec), "/metadata/annotations", annotations)).lookup_finds(&with_redis("stdio"))
    };
    many("true").run().assert_accepted_as_is("KEDA scales nothing");
    assert_eq!(many("false").run().warnings(), [STDIO]);
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
