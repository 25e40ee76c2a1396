//! Shows when a person who changes a custom resource is told of the autoscalers that scale its workloads already, which only
//! the setting `readAutoscalers` allows the policy to read.

use std::sync::Arc;

use policy_host::cluster::Cluster;
use policy_host::host::{GetResourceRequest, Host, ListResourcesRequest, callback_failure, not_found};
use serde_json::{Value, json};

use fixtures::case::{AUTOSCALER, Case, OPERATOR, Outcome, create, mcpserver, server, update, with};

const LOOKUPS: [&str; 2] =
    ["autoscaling/v2 HorizontalPodAutoscaler default/github", "autoscaling/v2 HorizontalPodAutoscaler default/*"];
const UNREADABLE: &str = "HorizontalPodAutoscalers could not be read; one may conflict with this server";

/// A HorizontalPodAutoscaler for a workload with the name github.
fn autoscaler(name: &str, kind: &str, maximum: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": "github"},
            "minReplicas": 1,
            "maxReplicas": maximum
        }
    })
}

fn cluster(objects: &[Value]) -> Arc<dyn Host> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    Arc::new(Cluster::from_manifests(&list.to_string()).expect("are manifests"))
}

/// A server that shares its sessions, with these other members of its spec.
fn with_redis(transport: &str, members: &Value) -> Value {
    let mut server = mcpserver(json!({"transport": transport, "sessionStorage": {"provider": "redis"}}));
    let spec = server["spec"].as_object_mut().expect("is an object");
    spec.extend(members.as_object().expect("is an object").clone());
    server
}

/// The request with the setting, in a cluster with these objects.
fn reading(case: Case, objects: &[Value]) -> Case {
    case.settings(json!({"readAutoscalers": true})).host(cluster(objects))
}

/// The warnings about autoscalers.
fn warnings(outcome: &Outcome) -> Vec<String> {
    outcome
        .warnings()
        .into_iter()
        .filter(|warning| warning.contains("Autoscaler") || warning.contains("Object"))
        .collect()
}

#[test]
fn tells_of_the_autoscaler_where_a_count_is_given_or_changed() {
    let conflict = |field: &str| format!("spec.{field} conflicts with HorizontalPodAutoscaler web; remove the field");
    for (old, new, kind, expected) in [
        (None, json!({"replicas": 2}), "Deployment", Some("replicas")),
        (Some(json!({})), json!({"replicas": 2}), "Deployment", Some("replicas")),
        (Some(json!({"replicas": 1})), json!({"replicas": 2}), "Deployment", Some("replicas")),
        (Some(json!({"replicas": 1})), json!({"replicas": 0}), "Deployment", Some("replicas")),
        (None, json!({"replicas": 2, "backendReplicas": 2}), "StatefulSet", Some("backendReplicas")),
        (None, json!({"replicas": 2}), "StatefulSet", None),
        (None, json!({"backendReplicas": 1}), "Deployment", None),
    ] {
        let server = |members: &Value| with_redis("streamable-http", members);
        let case = match &old {
            Some(old) => update(server(old), server(&new)),
            None => create(server(&new)),
        };
        let outcome = reading(case, &[autoscaler("web", kind, 1)]).run();
        let description = format!("{old:?} to {new}, {kind}");
        assert_eq!(warnings(&outcome), expected.map(conflict).into_iter().collect::<Vec<_>>(), "{description}");
        let annotation = expected.map(|field| format!("declared-replicas=spec.{field}={}", new[field]));
        let annotations = outcome.annotations();
        let about_autoscalers = annotations.iter().find(|text| text.starts_with("declared-replicas="));
        assert_eq!(about_autoscalers, annotation.as_ref(), "{description}");
        assert_eq!(outcome.lookups, LOOKUPS, "{description}");
    }
}

#[test]
fn tells_of_the_autoscaler_where_a_server_becomes_stdio() {
    let stdio = || with_redis("stdio", &json!({}));
    let sse = || with_redis("sse", &json!({}));
    for case in [create(stdio()), update(sse(), stdio())] {
        let outcome = reading(case, &[autoscaler("web", "Deployment", 5), autoscaler("db", "StatefulSet", 1)]).run();
        assert_eq!(
            outcome.warnings(),
            ["transport stdio supports 1 replica; HorizontalPodAutoscaler web may request 5"]
        );
        assert_eq!(outcome.annotations(), ["stdio-replicas=maximum=5"]);
    }
    let both =
        reading(update(sse(), with_redis("stdio", &json!({"replicas": 1}))), &[autoscaler("web", "Deployment", 5)]);
    assert_eq!(
        warnings(&both.run()),
        [
            "transport stdio supports 1 replica; HorizontalPodAutoscaler web may request 5",
            "spec.replicas conflicts with HorizontalPodAutoscaler web; remove the field"
        ]
    );
}

#[test]
fn tells_of_an_autoscaler_of_the_backend_where_a_server_becomes_sse() {
    let (sse, streamable) = (|| with_redis("sse", &json!({})), || with_redis("streamable-http", &json!({})));
    for case in [create(sse()), update(streamable(), sse())] {
        let outcome = reading(case, &[autoscaler("web", "Deployment", 5), autoscaler("db", "StatefulSet", 4)]).run();
        assert_eq!(
            outcome.warnings(),
            ["sse keeps each session in 1 backend; HorizontalPodAutoscaler db may request 4"]
        );
        assert_eq!(outcome.annotations(), ["sse-backends=maximum=4"]);
    }
}

#[test]
fn tells_of_an_autoscaler_that_stops_the_backend() {
    let stopping = with(autoscaler("db", "StatefulSet", 1), "/spec/minReplicas", json!(0));
    let outcome = reading(create(with_redis("sse", &json!({}))), &[stopping]).run();
    assert_eq!(
        outcome.warnings(),
        ["minReplicas 0 of HorizontalPodAutoscaler db stops the backend but no proxy; keep 1 or more"]
    );
    assert_eq!(outcome.annotations(), ["backend-stops-alone=minReplicas=0"]);

    let with_long_name = with(autoscaler(&"n".repeat(63), "StatefulSet", 1), "/spec/minReplicas", json!(0));
    let warnings = reading(create(with_redis("sse", &json!({}))), &[with_long_name]).run().warnings();
    assert!(warnings.iter().any(|warning| warning.ends_with("; keep 1 or more")), "{warnings:?}");
}

#[test]
fn cuts_no_count_off_if_an_autoscaler_has_a_long_name() {
    let (name, shortened) = ("n".repeat(63), format!("HorizontalPodAutoscaler {}…", "n".repeat(30)));
    let largest = i32::MAX.unsigned_abs();
    for (transport, kind) in [("stdio", "Deployment"), ("sse", "StatefulSet"), ("streamable-http", "StatefulSet")] {
        let server = with_redis(transport, &json!({"backendReplicas": 1}));
        let outcome = reading(create(server), &[autoscaler(&name, kind, largest)]).run();
        let end = format!("{shortened} may request {largest}");
        assert!(
            outcome.warnings().iter().any(|warning| warning.ends_with(&end)),
            "{transport}: {:?}",
            outcome.warnings()
        );
    }
}

#[test]
fn names_the_scaled_object_that_keda_made_the_autoscaler_for() {
    let owner = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "web", "controller": true});
    let keda = with(autoscaler("keda-hpa-web", "Deployment", 100), "/metadata/ownerReferences", json!([owner]));
    let server = with_redis("sse", &json!({"replicas": 1}));
    let outcome = reading(create(server.clone()), std::slice::from_ref(&keda)).run();
    assert_eq!(outcome.warnings(), ["spec.replicas conflicts with ScaledObject web; remove the field"]);
    // Another owner says nothing of KEDA.
    let other = with(keda, "/metadata/ownerReferences/0/kind", json!("Application"));
    let outcome = reading(create(server), &[other]).run();
    assert_eq!(
        outcome.warnings(),
        ["spec.replicas conflicts with HorizontalPodAutoscaler keda-hpa-web; remove the field"]
    );
}

#[test]
fn reads_autoscalers_only_where_there_can_be_a_warning() {
    let server = |transport, members| with_redis(transport, &members);
    let declaring = || server("sse", json!({"replicas": 1}));
    let labelled = || with(declaring(), "/metadata/labels", json!({"a": "b"}));
    let unnamed = with(declaring(), "/metadata/name", None);
    let stdio = || server("stdio", json!({}));
    let streamable = || server("streamable-http", json!({}));
    for (case, description) in [
        (create(declaring()).settings(json!({})), "the setting is off"),
        (create(declaring()).by(OPERATOR), "the operator"),
        (create(declaring()).by(AUTOSCALER), "a controller"),
        (create(streamable()), "no count"),
        (update(declaring(), labelled()), "the count stays"),
        (update(declaring(), server("sse", json!({}))), "the count is removed"),
        (update(stdio(), with(stdio(), "/spec/image", json!("b"))), "stdio stays"),
        (update(stdio(), streamable()), "no longer stdio"),
        (update(declaring(), with(declaring(), "/spec/image", json!("b"))), "sse stays"),
        (create(unnamed).with_member("name", json!(null)), "no name yet"),
    ] {
        let is_off = description == "the setting is off";
        let case = if is_off { case.host(cluster(&[])) } else { reading(case, &[autoscaler("web", "Deployment", 5)]) };
        let outcome = case.run();
        assert_eq!(outcome.lookups, [""; 0], "{description}");
        assert_eq!(warnings(&outcome), [""; 0], "{description}");
    }
}

#[test]
fn ignores_autoscalers_of_other_workloads() {
    let of = |pointer: &str, value: Value| with(autoscaler("web", "Deployment", 5), pointer, value);
    let objects = [
        of("/spec/scaleTargetRef/name", json!("gitlab")),
        of("/spec/scaleTargetRef/apiVersion", json!("argoproj.io/v1alpha1")),
        of("/spec/scaleTargetRef/kind", json!("ReplicaSet")),
        of("/metadata/namespace", json!("other")),
        of("/spec/maxReplicas", json!("5")),
        of("/spec/scaleTargetRef", json!([])),
        of("/spec", json!(null)),
        of("/metadata/ownerReferences", json!("x")),
    ];
    let server = with_redis("stdio", &json!({"replicas": 1}));
    let outcome = reading(create(server), &objects).run();
    outcome.assert_accepted_as_is("none of them scales the server");
    assert_eq!(outcome.lookups, LOOKUPS);
}

#[test]
fn tells_of_autoscalers_of_other_kinds() {
    for kind in ["VirtualMCPServer", "MCPRemoteProxy"] {
        // Their definitions do not have the field backendReplicas.
        let spec = json!({"replicas": 1, "backendReplicas": 1, "sessionStorage": {"provider": "redis"}});
        let server = server(kind, spec);
        let objects = [autoscaler("web", "Deployment", 5), autoscaler("db", "StatefulSet", 5)];
        let outcome = reading(create(server), &objects).run();
        let expected = ["spec.replicas conflicts with HorizontalPodAutoscaler web; remove the field"];
        assert_eq!(outcome.warnings(), expected, "{kind} has no StatefulSet");
    }
}

/// Answers a request for one object and one for a list.
struct Answers(Result<&'static str, &'static str>, Result<&'static str, &'static str>);

impl Answers {
    fn answer(answer: Result<&str, &str>) -> Result<Vec<u8>, String> {
        answer.map(|text| text.as_bytes().to_vec()).map_err(callback_failure)
    }
}

impl Host for Answers {
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        match self.0 {
            Err("not found") => Err(not_found(request)),
            answer => Self::answer(answer),
        }
    }

    fn list_resources(&self, _: &ListResourcesRequest) -> Result<Vec<u8>, String> {
        Self::answer(self.1)
    }
}

#[test]
fn refuses_nothing_where_autoscalers_cannot_be_read() {
    const EMPTY: Result<&str, &str> = Ok(r#"{"items":[]}"#);
    let strict = json!({"readAutoscalers": true, "onLookupFailure": "reject"});
    let server = || with_redis("sse", &json!({"replicas": 1}));
    for (answers, is_read, lookups) in [
        (Answers(Err("not found"), EMPTY), true, 2),
        (Answers(Ok("{}"), EMPTY), true, 2),
        (Answers(Err("not found"), Err("timeout")), false, 2),
        (Answers(Err("not found"), Err("a\nb")), false, 2),
        // policy-server would wait for the list without end, so that it is not asked for.
        (Answers(Err("horizontalpodautoscalers is forbidden"), EMPTY), false, 1),
    ] {
        let outcome = create(server()).settings(strict.clone()).host(Arc::new(answers)).run();
        assert_eq!(outcome.refusal(), None);
        assert_eq!(outcome.lookups, LOOKUPS[..lookups]);
        let expected: &[&str] = if is_read { &[] } else { &[UNREADABLE] };
        assert_eq!(outcome.warnings(), expected);
        let expected: &[&str] = if is_read { &[] } else { &["autoscaler-lookup=failed"] };
        assert_eq!(outcome.annotations(), expected);
    }
}

#[test]
fn takes_what_is_no_list_for_an_empty_one() {
    let server = || with_redis("sse", &json!({"replicas": 1}));
    for list in ["", "{", "null", "[]", "7", "{}", r#"{"items":{}}"#, r#"{"items":[null,7,"x",[],{}]}"#] {
        let case = create(server()).settings(json!({"readAutoscalers": true}));
        let outcome = case.host(Arc::new(Answers(Ok("{}"), Ok(list)))).run();
        outcome.assert_accepted_as_is(list);
    }
}

#[test]
fn shortens_long_names_of_autoscalers() {
    let (name, long) = ("n".repeat(63), json!("n".repeat(63)));
    let target = with(autoscaler(&name, "StatefulSet", 1_000_000_000), "/spec/scaleTargetRef/name", long.clone());
    let server = with(with_redis("stdio", &json!({"backendReplicas": 1})), "/metadata/name", long);
    let warnings = reading(create(server), &[target]).run().warnings();
    assert!(warnings[0].ends_with("… may request 1000000000"), "{warnings:?}");
    assert!(warnings[1].ends_with("…; remove the field"), "{warnings:?}");
}
