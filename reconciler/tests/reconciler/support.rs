//! Starts the reconciler, and makes and reads the objects of the tests.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use fixtures::objects;
use kube::Client;
use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use mcp_scaling_rules::{ServerKind, SessionStorage};
use mcpserver_scaling_reconciler::act::driver::Reconciler;
use mcpserver_scaling_reconciler::client::with_timeouts;
use mcpserver_scaling_reconciler::metrics::Metrics;
use mcpserver_scaling_reconciler::observe::cluster::served_resource;
use mcpserver_scaling_reconciler::options::{Counts, Options, StorageSource};
use mcpserver_scaling_reconciler::run::controller::{self, End};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tower::retry::RetryLayer;
use tower::{ServiceBuilder, service_fn};

use crate::fake_api_server::{ApiServer, Call, ListType};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Longer than the debounce time and the writes that follow it.
pub(crate) const A_WHILE: Duration = Duration::from_secs(20);

pub(crate) fn client(server: &ApiServer) -> Client {
    let server = server.clone();
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { server.respond(request).await }
    });
    // kube adds the same retries to a real connection.
    let service = ServiceBuilder::new().layer(RetryLayer::new(RetryPolicy::server_retry())).service(service);
    with_timeouts(ClientBuilder::new(service, "default"))
}

/// The options of most tests.
pub(crate) const OPTIONS: Options = Options {
    session_storage: StorageSource::Spec { default: SessionStorage::Memory },
    counts: Counts::All,
    couple_zero: false,
    writes_per_second: NonZeroU32::new(20).expect("is not zero"),
    dry_run: false,
};

/// A reconciler that runs. It is killed when this is dropped.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<End>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Running {
    /// Stops it and waits until it has ended.
    pub(crate) async fn stop(mut self) -> End {
        drop(self.stop.take());
        (&mut self.task).await.expect("the task did not panic")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn start(server: &ApiServer) -> Running {
    start_with(server, OPTIONS).await
}

pub(crate) async fn start_with(server: &ApiServer, options: Options) -> Running {
    let client = client(server);
    let metrics = Arc::new(Metrics::new());
    let (stop, stopped) = oneshot::channel::<()>();
    let task_metrics = metrics.clone();
    let task = tokio::spawn(async move {
        let resource = loop {
            match served_resource(&client).await {
                Ok(resource) => break resource,
                Err(_) => sleep(SECOND).await,
            }
        };
        let reconciler = Arc::new(Reconciler::new(client, resource, options, task_metrics, "pod".to_owned()));
        let stop = async move { drop(stopped.await) };
        controller::run(reconciler, None, &watch::channel(false).0, stop).await
    });
    Running { stop: Some(stop), task, metrics }
}

pub(crate) fn mcpserver(name: &str, spec: Value) -> Value {
    objects::custom_resource(ServerKind::McpServer, "v1beta1", name, spec)
}

pub(crate) fn deployment(name: &str, replicas: u32) -> Value {
    objects::deployment(&mcpserver(name, json!({})), replicas)
}

pub(crate) fn statefulset(name: &str, replicas: u32) -> Value {
    objects::statefulset(name, "streamable-http", replicas)
}

/// Conditions of other writers, one with a field that we do not know.
pub(crate) fn foreign_conditions() -> Value {
    json!([
        {"type": "Ready", "status": "True", "reason": "Running", "message": "ok", "lastTransitionTime": "2026-01-01T00:00:00Z", "future": {"a": [1]}},
        {"type": "ImageValidated", "status": "Unknown", "reason": "NoIdea", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ])
}

pub(crate) fn condition(server: &ApiServer, name: &str, type_: &str) -> Option<Value> {
    let object = server.get("mcpservers", name)?;
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_).cloned()
}

/// Status and reason of a condition.
pub(crate) fn status_and_reason(server: &ApiServer, name: &str, type_: &str) -> (String, String) {
    let condition = condition(server, name, type_).unwrap_or_default();
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

/// A status and a reason, to compare with [`status_and_reason`].
pub(crate) fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

/// Type, reason and note of each event.
pub(crate) fn notes(server: &ApiServer) -> Vec<String> {
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

/// Method and path of each call.
pub(crate) fn lines(calls: &[Call]) -> Vec<String> {
    calls.iter().map(Call::line).collect()
}

/// A cluster with a server for each kind of problem.
pub(crate) fn cluster_with_problems(list_type: ListType) -> ApiServer {
    let server = ApiServer::new(list_type);
    for (name, spec) in [
        ("stdio", json!({})),
        ("declared", json!({"replicas": 3})),
        ("shared", json!({"transport": "sse", "replicas": 2, "sessionStorage": {"provider": "redis"}})),
        ("auto", json!({"transport": "streamable-http"})),
    ] {
        let mut object = mcpserver(name, spec);
        object["status"] = json!({"phase": "Running", "conditions": foreign_conditions()});
        server.create("mcpservers", object);
    }
    server.create("deployments", deployment("stdio", 3));
    server.create("deployments", deployment("declared", 3));
    server.create("deployments", deployment("shared", 5));
    server.create("deployments", deployment("auto", 4));
    server.create("statefulsets", statefulset("stdio", 2));
    server
}

/// Asserts that all of it is reconciled, and that the conditions of other writers are unchanged.
pub(crate) fn assert_reconciled(server: &ApiServer, case: &str) {
    let of = |name: &str| {
        [
            status_and_reason(server, name, "StdioReplicaCapped"),
            status_and_reason(server, name, "SessionStorageWarning"),
        ]
    };
    let not_capped = pair("False", "StdioReplicaCapNotActive");
    let not_applicable = pair("False", "SessionStorageWarningNotApplicable");
    assert_eq!(of("stdio"), [not_capped.clone(), not_applicable.clone()], "{case}");
    assert_eq!(
        of("declared"),
        [pair("True", "StdioTransportCapAt1"), pair("True", "SessionStorageMissingForReplicas")],
        "{case}"
    );
    assert_eq!(of("shared"), [not_capped.clone(), pair("False", "SessionStorageConfigured")], "{case}");
    assert_eq!(of("auto"), [not_capped, not_applicable], "{case}");
    assert_eq!(
        status_and_reason(server, "auto", "WorkloadReplicasWarning"),
        pair("True", "WorkloadReplicasWithoutSessionStorage"),
        "{case}"
    );
    let count = |resource: &str, name: &str| server.get(resource, name).expect("exists")["spec"]["replicas"].clone();
    let counts = ["stdio", "declared", "shared", "auto"].map(|name| count("deployments", name));
    assert_eq!(
        (counts, count("statefulsets", "stdio")),
        ([json!(1), json!(1), json!(2), json!(4)], json!(1)),
        "{case}"
    );
    for object in server.all("mcpservers") {
        let conditions = object["status"]["conditions"].as_array().expect("is a list");
        assert_eq!(Value::from(&conditions[..2]), foreign_conditions(), "{case}");
        assert_eq!(object["status"]["phase"], "Running", "{case}");
    }
}
