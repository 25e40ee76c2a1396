//! The reconciler against a model of the API server: which calls it makes, and that it gets there whatever goes wrong. Time is
//! the runtime's, which runs ahead whenever everybody waits.

mod model;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use mcp_scaling_rules::SessionStorage;
use mcpserver_scaling_reconciler::client::patient;
use mcpserver_scaling_reconciler::cluster::served_resource;
use mcpserver_scaling_reconciler::controller::{self, End};
use mcpserver_scaling_reconciler::history::QUIET;
use mcpserver_scaling_reconciler::metrics::Metrics;
use mcpserver_scaling_reconciler::reconcile::{Options, Reconciler};
use model::{ApiServer, Call, Fault, GROUP, ListType};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tower::retry::RetryLayer;
use tower::{ServiceBuilder, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// Longer than any debounce and any answer that is waited for.
const A_WHILE: Duration = Duration::from_secs(20);

fn client(server: &ApiServer) -> Client {
    let server = server.clone();
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { server.answer(request).await }
    });
    // As kube does it for a real connection.
    let service = ServiceBuilder::new().layer(RetryLayer::new(RetryPolicy::server_retry())).service(service);
    patient(ClientBuilder::new(service, "default"))
}

/// A reconciler that runs.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<End>,
    metrics: Arc<Metrics>,
}

impl Running {
    /// Waits until it is done. What it has begun it finishes.
    async fn stop(mut self) -> End {
        drop(self.stop.take());
        (&mut self.task).await.expect("nobody panicked")
    }
}

impl Drop for Running {
    /// Kills it where it stands.
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start(server: &ApiServer) -> Running {
    start_with(server, false).await
}

async fn start_with(server: &ApiServer, dry_run: bool) -> Running {
    let client = client(server);
    let metrics = Arc::new(Metrics::new());
    let options = Options { default_session_storage: SessionStorage::Memory, dry_run };
    let (stop, stopped) = oneshot::channel::<()>();
    let counted = metrics.clone();
    let task = tokio::spawn(async move {
        let resource = loop {
            match served_resource(&client).await {
                Ok(resource) => break resource,
                Err(_) => sleep(SECOND).await,
            }
        };
        let reconciler = Arc::new(Reconciler::new(client, resource, options, counted, "pod".to_owned()));
        let stop = async move { drop(stopped.await) };
        controller::run(reconciler, None, &watch::channel(false).0, stop).await
    });
    Running { stop: Some(stop), task, metrics }
}

fn mcpserver(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPServer", "metadata": {"name": name}, "spec": spec})
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": name, "labels": {"app.kubernetes.io/name": "mcpserver", "toolhive": "true", "toolhive-name": name},
            "ownerReferences": [{"apiVersion": "toolhive.stacklok.dev/v1alpha1", "kind": "MCPServer", "name": name, "uid": "u", "controller": true}]
        },
        "spec": {"replicas": replicas}
    })
}

fn statefulset(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": name, "labels": {"toolhive": "true", "toolhive-name": name}},
        "spec": {"replicas": replicas}
    })
}

/// Another writer's conditions: one that the API server knows more of than we do.
fn foreign() -> Value {
    json!([
        {"type": "Ready", "status": "True", "reason": "Running", "message": "ok", "lastTransitionTime": "2026-01-01T00:00:00Z", "future": {"a": [1]}},
        {"type": "ImageValidated", "status": "Unknown", "reason": "NoIdea", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ])
}

fn condition(server: &ApiServer, name: &str, type_: &str) -> Option<Value> {
    let object = server.get("mcpservers", name)?;
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_).cloned()
}

/// Status and reason of a condition.
fn told(server: &ApiServer, name: &str, type_: &str) -> (String, String) {
    let condition = condition(server, name, type_).unwrap_or_default();
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

fn notes(server: &ApiServer) -> Vec<String> {
    let note = |event: &Value| {
        format!(
            "{} {}: {}",
            event["type"].as_str().unwrap_or_default(),
            event["reason"].as_str().unwrap_or_default(),
            event["note"].as_str().unwrap_or_default()
        )
    };
    server.all("events").iter().map(note).collect()
}

fn lines(calls: &[Call]) -> Vec<String> {
    calls.iter().map(Call::line).collect()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lacks_its_conditions_costs_one_read_and_one_write() {
    let server = ApiServer::new(ListType::Map);
    let mut object = mcpserver("github", json!({"transport": "stdio", "replicas": 3, "podTemplateSpec": {"x": [1]}}));
    object["status"] = json!({"phase": "Running", "conditions": foreign()});
    server.create("mcpservers", object);
    let before = server.get("mcpservers", "github").expect("is there");
    let _running = start(&server).await;
    sleep(A_WHILE).await;

    let calls: Vec<Call> = server.take_calls().into_iter().filter(|call| call.path.contains("github")).collect();
    assert_eq!(
        lines(&calls),
        [
            "GET /apis/toolhive.stacklok.dev/v1beta1/namespaces/default/mcpservers/github",
            "PATCH /apis/toolhive.stacklok.dev/v1beta1/namespaces/default/mcpservers/github/status",
        ]
    );
    let write = &calls[1];
    assert_eq!(write.content_type, "application/merge-patch+json");
    assert_eq!(write.body["metadata"], json!({"resourceVersion": before["metadata"]["resourceVersion"]}));
    let written = write.body["status"]["conditions"].as_array().expect("is a list").clone();
    assert_eq!(Value::from(&written[..2]), foreign());
    assert_eq!(written.len(), 4);
    assert_eq!(write.body["status"].as_object().map(|status| status.len()), Some(1), "nothing but conditions");
    let now = written[2]["lastTransitionTime"].clone();
    assert_eq!(
        written[2],
        json!({"type": "StdioReplicaCapped", "status": "True", "reason": "StdioTransportCapAt1", "observedGeneration": 1,
               "message": "transport stdio runs 1 replica; spec.replicas asks for more", "lastTransitionTime": now})
    );
    let mut after = server.get("mcpservers", "github").expect("is there");
    assert_eq!(after["status"]["phase"], "Running");
    after["status"] = before["status"].clone();
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(after, before, "nothing else is touched");
    assert_eq!(
        notes(&server),
        [
            "Warning StdioTransportCapAt1: StdioReplicaCapped: transport stdio runs 1 replica; spec.replicas asks for more",
            "Warning SessionStorageMissingForReplicas: SessionStorageWarning: spec.replicas is above 1 and \
             spec.sessionStorage.provider is not redis: replicas do not share sessions",
        ]
    );
    let event = &server.all("events")[0];
    assert_eq!(event["regarding"]["uid"], "uid-of-github");
    assert_eq!((&event["regarding"]["kind"], &event["regarding"]["name"]), (&json!("MCPServer"), &json!("github")));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_right_costs_nothing() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"transport": "sse", "replicas": 2})));
    server.create("deployments", deployment("a", 2));
    let running = start(&server).await;
    sleep(A_WHILE).await;
    assert_eq!(running.stop().await, End::Stopped);
    server.take_calls();

    let running = start(&server).await;
    sleep(A_WHILE).await;
    server.change("deployments", "a", |object| object["status"] = json!({"readyReplicas": 2}));
    server.change("mcpservers", "a", |object| object["metadata"]["labels"] = json!({"x": "y"}));
    sleep(A_WHILE).await;
    let calls = lines(&server.take_calls());
    assert!(calls.iter().all(|call| !call.ends_with("/a")), "{calls:?}");
    assert!(running.metrics.render().contains("mcpserver_scaling_status_writes_total 0"));
}

#[tokio::test(start_paused = true)]
async fn counts_are_set_through_the_scale_subresource() {
    for (spec, kind, live, set_to) in [
        (json!({}), "Deployment", 3, Some(1)),
        (json!({}), "StatefulSet", 3, Some(1)),
        (json!({}), "Deployment", 1, None),
        (json!({}), "Deployment", 0, None),
        (json!({"transport": "sse"}), "Deployment", 5, None),
        (json!({"transport": "sse"}), "StatefulSet", 5, None),
        (json!({"transport": "sse", "replicas": 2}), "Deployment", 5, Some(2)),
        (json!({"transport": "sse", "replicas": 2}), "Deployment", 1, Some(2)),
        (json!({"transport": "sse", "replicas": 2}), "Deployment", 0, None),
        (json!({"transport": "sse", "replicas": 0}), "Deployment", 2, Some(0)),
        (json!({"transport": "sse", "replicas": 2}), "StatefulSet", 5, None),
        (json!({"transport": "sse", "backendReplicas": 2}), "StatefulSet", 5, Some(2)),
        (json!({"replicas": 4}), "Deployment", 4, Some(1)),
        (json!({"replicas": "x"}), "Deployment", 4, None),
    ] {
        let what = format!("{spec}, {live} of a {kind}");
        let server = ApiServer::new(ListType::Map);
        server.create("mcpservers", mcpserver("a", spec));
        let (resource, workload) = if kind == "Deployment" {
            ("deployments", deployment("a", live))
        } else {
            ("statefulsets", statefulset("a", live))
        };
        server.create(resource, workload);
        let version = server.get(resource, "a").expect("is there")["metadata"]["resourceVersion"].clone();
        let _running = start(&server).await;
        sleep(A_WHILE).await;
        let calls: Vec<Call> = server.take_calls().into_iter().filter(|call| call.path.ends_with("/scale")).collect();
        let path = format!("/apis/apps/v1/namespaces/default/{resource}/a/scale");
        match set_to {
            None => assert_eq!(lines(&calls), [""; 0], "{what}"),
            Some(count) => {
                assert_eq!(lines(&calls), [format!("GET {path}"), format!("PATCH {path}")], "{what}");
                let body = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": count}});
                assert_eq!(calls[1].body, body, "{what}");
                assert_eq!(server.get(resource, "a").expect("is there")["spec"]["replicas"], count, "{what}");
                assert_eq!(
                    notes(&server).iter().filter(|note| note.contains("ReplicasCorrected")).count(),
                    1,
                    "{what}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_workload_of_somebody_else_is_left_alone() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({})));
    let mut foreign = deployment("a", 3);
    foreign["metadata"]["ownerReferences"][0]["apiVersion"] = "other.dev/v1".into();
    server.create("deployments", foreign);
    server.create(
        "statefulsets",
        json!({"metadata": {"name": "a", "labels": {"toolhive": "true"}}, "spec": {"replicas": 3}}),
    );
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert!(server.take_calls().iter().all(|call| !call.path.ends_with("/scale")));
}

#[tokio::test(start_paused = true)]
async fn correct_flap_and_clear() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"transport": "stdio"})));
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert_eq!(told(&server, "a", "StdioReplicaCapped"), pair("False", "StdioReplicaCapNotActive"));
    assert_eq!(told(&server, "a", "SessionStorageWarning"), pair("False", "SessionStorageWarningNotApplicable"));
    assert_eq!(server.take_writes().len(), 1);
    assert_eq!(notes(&server), [""; 0], "that nothing is wrong is no news");

    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 3.into());
    sleep(A_WHILE).await;
    assert_eq!(told(&server, "a", "StdioReplicaCapped"), pair("True", "StdioTransportCapAt1"));
    assert_eq!(server.take_writes().len(), 1);

    server.change("mcpservers", "a", |object| object["spec"]["sessionStorage"] = json!({"provider": "redis"}));
    sleep(A_WHILE).await;
    assert_eq!(told(&server, "a", "StdioReplicaCapped"), pair("True", "StdioTransportCapAt1"));
    assert_eq!(told(&server, "a", "SessionStorageWarning"), pair("False", "SessionStorageConfigured"));
    assert_eq!(server.take_writes().len(), 1);

    // Changed and changed back at once.
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 1.into());
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 3.into());
    sleep(A_WHILE).await;
    assert_eq!(server.take_writes().len(), 1, "for the generation only");
    assert_eq!(condition(&server, "a", "StdioReplicaCapped").expect("is there")["observedGeneration"], 5);

    server.change("mcpservers", "a", |object| object["spec"]["transport"] = "sse".into());
    sleep(A_WHILE).await;
    assert_eq!(told(&server, "a", "StdioReplicaCapped"), pair("False", "StdioReplicaCapNotActive"));
    let cleared =
        "Normal StdioReplicaCapNotActive: StdioReplicaCapped: the stdio replica cap does not apply".to_owned();
    assert!(notes(&server).contains(&cleared), "{:?}", notes(&server));
}

#[tokio::test(start_paused = true)]
async fn the_transition_time_moves_with_the_status_only() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"replicas": 3})));
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    let long_ago = json!("2020-01-01T00:00:00Z");
    server.change("mcpservers", "a", |object| {
        for condition in object["status"]["conditions"].as_array_mut().expect("is a list") {
            condition["lastTransitionTime"] = long_ago.clone();
        }
        object["spec"]["replicas"] = 4.into();
    });
    sleep(A_WHILE).await;
    let capped = condition(&server, "a", "StdioReplicaCapped").expect("is there");
    assert_eq!((&capped["observedGeneration"], &capped["lastTransitionTime"]), (&json!(2), &long_ago));
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 1.into());
    sleep(A_WHILE).await;
    assert_ne!(condition(&server, "a", "StdioReplicaCapped").expect("is there")["lastTransitionTime"], long_ago);
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_without_redis_is_told_of_and_not_told_of_again() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"transport": "sse"})));
    server.create("deployments", deployment("a", 1));
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert_eq!(condition(&server, "a", "LiveReplicasWarning"), None, "nothing was ever wrong");
    server.take_calls();

    let scale = |count: u32| server.change("deployments", "a", |object| object["spec"]["replicas"] = count.into());
    for count in [3, 1, 4, 1, 2, 1] {
        scale(count);
        sleep(QUIET / 4).await;
        assert_eq!(told(&server, "a", "LiveReplicasWarning"), pair("True", "LiveReplicasWithoutSessionStorage"));
        assert_eq!(told(&server, "a", "SessionStorageWarning"), pair("False", "SessionStorageWarningNotApplicable"));
    }
    assert_eq!(server.take_writes().len(), 1, "one transition, one write");
    assert_eq!(notes(&server).len(), 1, "{:?}", notes(&server));
    sleep(QUIET).await;
    assert_eq!(told(&server, "a", "LiveReplicasWarning"), pair("False", "LiveReplicasFit"));
    assert_eq!((server.take_writes().len(), notes(&server).len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_insists_is_yielded_to() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({})));
    server.create("deployments", deployment("a", 1));
    let running = start(&server).await;
    sleep(A_WHILE).await;
    server.take_calls();
    // An autoscaler that syncs every 15 seconds, for a day.
    for _ in 0..24 * 60 * 4 {
        server.change("deployments", "a", |object| object["spec"]["replicas"] = 3.into());
        sleep(15 * SECOND).await;
    }
    let writes = lines(&server.take_writes());
    let scales = writes.iter().filter(|write| write.ends_with("/scale")).count();
    assert!((40..80).contains(&scales), "{scales} in a day");
    assert_eq!(writes.len() - scales, 1, "the condition stays as it is");
    assert_eq!(told(&server, "a", "LiveReplicasWarning"), pair("True", "LiveReplicasAboveStdioCap"));
    let reasons: Vec<String> =
        notes(&server).iter().filter_map(|note| note.split(':').next().map(str::to_owned)).collect();
    assert_eq!(
        reasons,
        ["Normal ReplicasCorrected", "Warning LiveReplicasAboveStdioCap", "Warning YieldsToOtherWriter"],
        "said once"
    );
    assert!(running.metrics.render().contains("mcpserver_scaling_yields_total 1"));
    // It has gone: the server comes right, and the warning goes some time later.
    sleep(QUIET * 6).await;
    assert_eq!(server.get("deployments", "a").expect("is there")["spec"]["replicas"], 1);
    assert_eq!(told(&server, "a", "LiveReplicasWarning"), pair("False", "LiveReplicasFit"));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_writes_nothing() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"replicas": 3})));
    server.create("deployments", deployment("a", 3));
    let _running = start_with(&server, true).await;
    sleep(A_WHILE).await;
    assert!(server.take_calls().iter().all(|call| !call.is_write()));
}

#[tokio::test(start_paused = true)]
async fn what_is_being_deleted_or_gone_is_left_alone() {
    let server = ApiServer::new(ListType::Map);
    let mut object = mcpserver("a", json!({"replicas": 3}));
    object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    server.create("mcpservers", object);
    server.create("deployments", deployment("orphan", 3));
    server.create("mcpservers", mcpserver("b", json!({"replicas": 3})));
    let _running = start(&server).await;
    sleep(SECOND / 2).await;
    server.delete("mcpservers", "b");
    sleep(A_WHILE).await;
    assert_eq!(lines(&server.take_writes()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_on_the_object_within_two_seconds() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"transport": "sse"})));
    server.create("deployments", deployment("a", 1));
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    server.take_calls();
    let changed = Instant::now();
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 3.into());
    // Rollouts and other controllers write all the time; that must not put it off.
    for step in 0..20 {
        sleep(SECOND / 5).await;
        server.change("deployments", "a", |object| object["status"] = json!({"readyReplicas": step}));
        server.change("mcpservers", "a", |object| object["status"]["phase"] = step.to_string().into());
    }
    let writes = server.take_writes();
    assert_eq!(writes.len(), 2, "{:?}", lines(&writes));
    for write in writes {
        assert!(write.at - changed <= 2 * SECOND, "{} after {:?}", write.line(), write.at - changed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_wrong_servers_are_made_right_in_one_write_each() {
    let server = ApiServer::new(ListType::Atomic);
    for index in 0..1000 {
        let spec = if index % 2 == 0 { json!({"replicas": 3}) } else { json!({"transport": "sse"}) };
        server.create("mcpservers", mcpserver(&format!("s{index}"), spec));
        server.create("deployments", deployment(&format!("s{index}"), 1));
    }
    let running = start(&server).await;
    sleep(3 * A_WHILE).await;
    let writes = server.take_writes();
    assert_eq!(writes.len(), 1000);
    assert!(writes.iter().all(|write| write.path.ends_with("/status")));
    drop(running);

    let _restarted = start(&server).await;
    sleep(3 * A_WHILE).await;
    assert!(server.take_writes().is_empty(), "a restart finds everything right");
}

#[tokio::test(start_paused = true)]
async fn one_object_that_cannot_be_read_does_not_hide_the_others() {
    let server = ApiServer::new(ListType::Map);
    for (name, spec) in [
        ("a", json!("no object")),
        ("b", json!({"replicas": "three"})),
        ("c", json!({"transport": {"x": []}})),
        ("d", json!({"replicas": 3})),
    ] {
        server.create("mcpservers", mcpserver(name, spec));
    }
    server.create("deployments", json!({"metadata": {"name": "x", "labels": {"app.kubernetes.io/name": "mcpserver", "toolhive": "true"}}, "spec": 7}));
    let running = start(&server).await;
    sleep(A_WHILE).await;
    assert_eq!(lines(&server.take_writes()).len(), 1);
    assert_eq!(told(&server, "d", "StdioReplicaCapped"), pair("True", "StdioTransportCapAt1"));
    assert!(running.metrics.render().contains("mcpserver_scaling_unreadable_servers 3"));

    server.create("mcpservers", mcpserver("e", json!({"replicas": -1})));
    server.change("mcpservers", "b", |object| object["spec"]["replicas"] = 3.into());
    sleep(A_WHILE).await;
    assert_eq!(told(&server, "b", "StdioReplicaCapped"), pair("True", "StdioTransportCapAt1"), "it was mended");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_no_longer_served_ends_the_controller() {
    let server = ApiServer::new(ListType::Map);
    server.serve(&["v1alpha1"]);
    server.create("mcpservers", mcpserver("a", json!({"replicas": 3})));
    let running = start(&server).await;
    sleep(A_WHILE).await;
    assert!(server.take_writes()[0].path.starts_with(&format!("/apis/{GROUP}/v1alpha1/")));
    server.serve(&["v1beta1"]);
    server.compact();
    let mut running = running;
    assert_eq!((&mut running.task).await.expect("nobody panicked"), End::NotServed);
    let _again = start(&server).await;
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 1.into());
    sleep(A_WHILE).await;
    assert!(server.take_writes()[0].path.starts_with(&format!("/apis/{GROUP}/v1beta1/")));
}

/// A cluster in which much is wrong.
fn wrong_cluster(list_type: ListType) -> ApiServer {
    let server = ApiServer::new(list_type);
    for (name, spec) in [
        ("stdio", json!({})),
        ("declared", json!({"replicas": 3})),
        ("shared", json!({"transport": "sse", "replicas": 2, "sessionStorage": {"provider": "redis"}})),
        ("auto", json!({"transport": "streamable-http"})),
    ] {
        let mut object = mcpserver(name, spec);
        object["status"] = json!({"phase": "Running", "conditions": foreign()});
        server.create("mcpservers", object);
    }
    server.create("deployments", deployment("stdio", 3));
    server.create("deployments", deployment("declared", 3));
    server.create("deployments", deployment("shared", 5));
    server.create("deployments", deployment("auto", 4));
    server.create("statefulsets", statefulset("stdio", 2));
    server
}

/// That all of it is right, and that nobody else's condition was touched.
fn assert_right(server: &ApiServer, what: &str) {
    let of = |name: &str| [told(server, name, "StdioReplicaCapped"), told(server, name, "SessionStorageWarning")];
    let fine = pair("False", "StdioReplicaCapNotActive");
    let not_applicable = pair("False", "SessionStorageWarningNotApplicable");
    assert_eq!(of("stdio"), [fine.clone(), not_applicable.clone()], "{what}");
    assert_eq!(
        of("declared"),
        [pair("True", "StdioTransportCapAt1"), pair("True", "SessionStorageMissingForReplicas")],
        "{what}"
    );
    assert_eq!(of("shared"), [fine.clone(), pair("False", "SessionStorageConfigured")], "{what}");
    assert_eq!(of("auto"), [fine, not_applicable], "{what}");
    assert_eq!(
        told(server, "auto", "LiveReplicasWarning"),
        pair("True", "LiveReplicasWithoutSessionStorage"),
        "{what}"
    );
    let count = |resource: &str, name: &str| server.get(resource, name).expect("is there")["spec"]["replicas"].clone();
    let counts = ["stdio", "declared", "shared", "auto"].map(|name| count("deployments", name));
    assert_eq!(
        (counts, count("statefulsets", "stdio")),
        ([json!(1), json!(1), json!(2), json!(4)], json!(1)),
        "{what}"
    );
    for object in server.all("mcpservers") {
        let conditions = object["status"]["conditions"].as_array().expect("is a list");
        assert_eq!(Value::from(&conditions[..2]), foreign(), "{what}");
        assert_eq!(object["status"]["phase"], "Running", "{what}");
    }
}

/// What is written where nothing goes wrong: four statuses and four counts.
const WRITES: usize = 8;

#[tokio::test(start_paused = true)]
async fn without_a_fault_everything_is_written_once() {
    for list_type in [ListType::Atomic, ListType::Map] {
        let server = wrong_cluster(list_type);
        let _running = start(&server).await;
        sleep(A_WHILE).await;
        assert_right(&server, "no fault");
        assert_eq!(server.take_writes().len(), WRITES);
        sleep(QUIET * 3).await;
        assert_eq!(server.take_writes().len(), 1, "the warning of the stdio server that was capped goes");
        assert_eq!(told(&server, "stdio", "LiveReplicasWarning"), pair("False", "LiveReplicasFit"));
        sleep(QUIET * 3).await;
        assert_eq!(lines(&server.take_writes()), [""; 0], "and then it is quiet");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_once_is_made_good() {
    let faults = [
        Fault::Code(409, None),
        Fault::Code(410, None),
        Fault::Code(429, Some(7)),
        Fault::Code(429, None),
        Fault::Code(500, None),
        Fault::Code(503, Some(2)),
        Fault::Hang,
        Fault::HangInBody,
        Fault::Reset,
        Fault::ResetAfterwards,
        Fault::Garbage,
    ];
    let calls = {
        let server = wrong_cluster(ListType::Atomic);
        let _running = start(&server).await;
        sleep(A_WHILE).await;
        server.take_calls().len()
    };
    assert!(calls > 2 * WRITES);
    for fault in faults {
        for at in 0..calls {
            let server = wrong_cluster(ListType::Atomic);
            let mut seen = 0;
            server.trouble(move |_| {
                seen += 1;
                (seen == at + 1).then_some(fault)
            });
            let _running = start(&server).await;
            sleep(10 * A_WHILE).await;
            let what = format!("{fault:?} at call {at}");
            assert_right(&server, &what);
            let writes = server.take_writes().len();
            assert!(writes <= WRITES + 2, "{what}: {writes} writes");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_every_fourth_time() {
    for seed in 0..20 {
        let server = wrong_cluster(ListType::Map);
        let mut random = fastrand::Rng::with_seed(seed);
        server.trouble(move |_| match random.u32(0..28) {
            0 => Some(Fault::Code(409, None)),
            1 => Some(Fault::Code(429, Some(1))),
            2 => Some(Fault::Code(500, None)),
            3 => Some(Fault::Hang),
            4 => Some(Fault::Reset),
            5 => Some(Fault::ResetAfterwards),
            6 => Some(Fault::Garbage),
            _ => None,
        });
        let _running = start(&server).await;
        sleep(400 * A_WHILE).await;
        assert_right(&server, &format!("seed {seed}"));
        server.take_calls();
        server.trouble(|_| None);
        sleep(10 * A_WHILE).await;
        assert_eq!(lines(&server.take_writes()), [""; 0], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_and_started_again() {
    for moment in 0..40 {
        let server = wrong_cluster(ListType::Atomic);
        let (kill, killed) = oneshot::channel();
        let mut kill = Some(kill);
        let mut seen = 0;
        server.trouble(move |_| {
            seen += 1;
            if seen == moment {
                kill.take().map(|kill| kill.send(()));
                return Some(Fault::ResetAfterwards);
            }
            None
        });
        let running = start(&server).await;
        tokio::select! {
            _ = killed => {}
            () = sleep(A_WHILE) => {}
        }
        drop(running);
        let _restarted = start(&server).await;
        sleep(10 * A_WHILE).await;
        assert_right(&server, &format!("killed at call {moment}"));
        assert!(server.take_writes().len() <= WRITES + 1, "killed at call {moment}");
    }
}

#[tokio::test(start_paused = true)]
async fn expired_watches_duplicates_and_disorder() {
    let server = wrong_cluster(ListType::Map);
    server.be_disorderly();
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert_right(&server, "disorder");
    server.take_calls();
    for round in 0..10 {
        server.compact();
        server.change("deployments", "stdio", |object| object["spec"]["replicas"] = 2.into());
        server.change("mcpservers", "shared", |object| object["spec"]["replicas"] = (2 + round % 2).into());
        server.change("mcpservers", "shared", |object| object["spec"]["replicas"] = 2.into());
        sleep(QUIET * 3).await;
        assert_right(&server, &format!("round {round}"));
        // The count, the stdio warning that comes and goes, the generation of the one whose spec changed.
        let writes = lines(&server.take_writes());
        assert!(writes.len() <= 5, "{writes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_finishes_what_it_has_begun_and_stops() {
    let server = wrong_cluster(ListType::Map);
    let running = start(&server).await;
    sleep(A_WHILE).await;
    let begun = Instant::now();
    assert_eq!(running.stop().await, End::Stopped);
    assert!(begun.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn it_stops_even_where_it_never_came_to_begin() {
    for fault in [Fault::Hang, Fault::Code(500, None)] {
        let server = wrong_cluster(ListType::Map);
        server.trouble(move |call| call.path.ends_with("/mcpservers").then_some(fault));
        let running = start(&server).await;
        sleep(A_WHILE).await;
        let told = Instant::now();
        assert_eq!(running.stop().await, End::Stopped);
        assert!(told.elapsed() < SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_does_not_keep_it_for_ever() {
    let server = wrong_cluster(ListType::Map);
    server.trouble(|call| call.path.ends_with("/status").then_some(Fault::Hang));
    let running = start(&server).await;
    sleep(3 * SECOND).await;
    let told = Instant::now();
    assert_eq!(running.stop().await, End::Stopped);
    assert!(told.elapsed() < 25 * SECOND, "{:?}", told.elapsed());
}

/// What an operator does with a status when it reconciles: the conditions of its own, others as it read them.
struct Operator {
    /// Whether it is one from v0.13 on, which writes the two conditions.
    is_present: bool,
    /// How long it may take from a change to its writing.
    slowness: Duration,
    random: fastrand::Rng,
}

impl Operator {
    async fn run(mut self, server: ApiServer) {
        let mut changes = server.changes();
        loop {
            let is_merge_patch = self.random.u32(0..4) == 0;
            let slowness = self.random.u64(0..=self.slowness.as_millis() as u64);
            let read = server.get("mcpservers", "a").expect("is there");
            sleep(Duration::from_millis(slowness)).await;
            let status = self.status(&read);
            if status != read["status"] {
                if is_merge_patch {
                    // Of what it read, whatever has been written since.
                    server.change("mcpservers", "a", |object| {
                        object["status"]["conditions"] = status["conditions"].clone();
                    });
                } else if !server.update_status("mcpservers", &read, status) {
                    continue;
                }
            }
            if server.get("mcpservers", "a").expect("is there")["metadata"]["resourceVersion"]
                == read["metadata"]["resourceVersion"]
            {
                changes.changed().await.expect("the server lives");
            }
        }
    }

    fn status(&self, read: &Value) -> Value {
        let mut status = read["status"].clone();
        if !status["conditions"].is_array() {
            status["conditions"] = json!([]);
        }
        let generation = &read["metadata"]["generation"];
        set(
            &mut status,
            json!({"type": "Ready", "status": "True", "reason": "Running", "message": "", "observedGeneration": generation}),
        );
        if self.is_present {
            let replicas = read["spec"]["replicas"].as_i64().unwrap_or(1);
            let is_stdio = read["spec"]["transport"] == "stdio";
            let has_redis = read["spec"]["sessionStorage"]["provider"] == "redis";
            let capped = if is_stdio && replicas > 1 {
                ("True", "StdioTransportCapAt1")
            } else {
                ("False", "StdioReplicaCapNotActive")
            };
            let warning = match (replicas > 1, has_redis) {
                (true, false) => ("True", "SessionStorageMissingForReplicas"),
                (true, true) => ("False", "SessionStorageConfigured"),
                (false, _) => ("False", "SessionStorageWarningNotApplicable"),
            };
            for (type_, (is, reason)) in [("StdioReplicaCapped", capped), ("SessionStorageWarning", warning)] {
                set(
                    &mut status,
                    json!({"type": type_, "status": is, "reason": reason, "message": "in the operator's words", "observedGeneration": generation}),
                );
            }
        }
        status
    }
}

/// `meta.SetStatusCondition`.
fn set(status: &mut Value, mut wanted: Value) {
    let list = status["conditions"].as_array_mut().expect("is a list");
    wanted["lastTransitionTime"] = "2026-11-20T00:00:00Z".into();
    match list.iter_mut().find(|condition| condition["type"] == wanted["type"]) {
        Some(there) => {
            if there["status"] == wanted["status"] {
                wanted["lastTransitionTime"] = there["lastTransitionTime"].clone();
            }
            *there = wanted;
        }
        None => list.push(wanted),
    }
}

/// Writes of both in a run with an operator, users that change the spec, and a while of rest: ours while it goes on, and
/// whether anybody wrote at rest.
async fn beside(operator: Operator, list_type: ListType, seed: u64) -> (usize, bool) {
    let mut random = fastrand::Rng::with_seed(seed);
    let server = ApiServer::new(list_type);
    server.create("mcpservers", mcpserver("a", json!({"transport": "stdio"})));
    let theirs = tokio::spawn(operator.run(server.clone()));
    let _running = start(&server).await;
    for _ in 0..10 {
        sleep(Duration::from_millis(random.u64(0..4000))).await;
        server.change("mcpservers", "a", |object| match random.u32(0..4) {
            0 => object["spec"]["replicas"] = random.u32(0..4).into(),
            1 => drop(object["spec"].as_object_mut().expect("is an object").remove("replicas")),
            2 => object["spec"]["transport"] = if random.bool() { "stdio" } else { "sse" }.into(),
            _ => object["spec"]["sessionStorage"] = json!({"provider": if random.bool() { "redis" } else { "memory" }}),
        });
    }
    sleep(QUIET * 12).await;
    let busy = server.take_writes().len();
    let at_rest = server.get("mcpservers", "a");
    sleep(QUIET * 12).await;
    theirs.abort();

    let object = server.get("mcpservers", "a").expect("is there");
    let expected = Operator { is_present: true, slowness: SECOND, random }.status(&object);
    let told_as_expected = ["Ready", "StdioReplicaCapped", "SessionStorageWarning"].iter().all(|type_| {
        let of = |status: &Value| {
            let list = status["conditions"].as_array().into_iter().flatten();
            let of_type = list.filter(|condition| condition["type"] == *type_);
            of_type.map(|it| (it["status"].clone(), it["reason"].clone())).collect::<Vec<_>>()
        };
        of(&expected) == of(&object["status"])
    });
    assert!(told_as_expected, "seed {seed}: {}", object["status"]);
    (busy, server.take_writes().is_empty() && at_rest.as_ref() == Some(&object))
}

#[tokio::test(start_paused = true)]
async fn beside_a_present_operator_it_writes_nothing_at_all() {
    for seed in 0..50 {
        let random = fastrand::Rng::with_seed(seed);
        let operator = Operator { is_present: true, slowness: SECOND / 2, random };
        assert_eq!(beside(operator, ListType::Map, seed).await, (0, true), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn beside_a_slow_operator_it_comes_to_rest() {
    for seed in 0..50 {
        let operator = Operator { is_present: true, slowness: 5 * SECOND, random: fastrand::Rng::with_seed(seed) };
        let (busy, quiet) = beside(operator, ListType::Map, seed).await;
        assert!(quiet && busy <= 12, "seed {seed}: {busy} writes");
    }
}

#[tokio::test(start_paused = true)]
async fn beside_an_old_operator_it_comes_to_rest() {
    for seed in 0..50 {
        let operator = Operator { is_present: false, slowness: 3 * SECOND, random: fastrand::Rng::with_seed(seed) };
        let (busy, quiet) = beside(operator, ListType::Atomic, seed).await;
        assert!(quiet && busy <= 25, "seed {seed}: {busy} writes");
    }
}
