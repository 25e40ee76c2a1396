//! Conflicts of a server's spec with the autoscaler of its workload.

use serde_json::{Value, json};
use tokio::time::sleep;

use mcpserver_scaling_reconciler::options::Options;

use crate::fake_api_server::{ApiServer, Fault, ListType};
use crate::support::{
    A_WHILE, OPTIONS, assert_reconciled, cluster_with_problems, deployment, mcpserver, notes, start, start_with,
};

const DECLARED: &str = "Warning AutoscalerConflict: spec.replicas conflicts with HorizontalPodAutoscaler a, which scales the \
                        Deployment; remove one of them";
const ABOVE_CAP: &str = "Warning AutoscalerConflict: transport stdio supports 1 replica; HorizontalPodAutoscaler a may request 5 of \
                         the Deployment";

fn autoscaler(name: &str) -> Value {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
    json!({"metadata": {"name": name}, "spec": {"maxReplicas": 5, "scaleTargetRef": target}})
}

/// A server with an autoscaler at its Deployment.
fn cluster() -> ApiServer {
    let server = ApiServer::new(ListType::Map);
    let redis = json!({"provider": "redis"});
    server.create("mcpservers", mcpserver("a", json!({"transport": "sse", "sessionStorage": redis})));
    server.create("deployments", deployment("a", 3));
    server.create("horizontalpodautoscalers", autoscaler("a"));
    server
}

fn conflicts(server: &ApiServer) -> Vec<String> {
    notes(server).into_iter().filter(|note| note.contains("AutoscalerConflict")).collect()
}

#[tokio::test(start_paused = true)]
async fn tells_who_declares_a_count_or_turns_to_stdio_of_the_autoscaler() {
    let server = cluster();
    let running = start(&server).await;
    sleep(A_WHILE).await;
    assert!(conflicts(&server).is_empty());
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 3.into());
    sleep(A_WHILE).await;
    assert_eq!(conflicts(&server), [DECLARED]);
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 4.into());
    sleep(A_WHILE).await;
    assert_eq!(conflicts(&server).len(), 1, "it is told once");

    server.change("mcpservers", "a", |object| object["spec"] = json!({"transport": "stdio"}));
    sleep(A_WHILE).await;
    assert_eq!(conflicts(&server).len(), 2);
    assert!(conflicts(&server).contains(&ABOVE_CAP.to_owned()), "{:?}", conflicts(&server));

    // Another process finds the same conflict, and the API server still has its event.
    running.stop().await;
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert_eq!(conflicts(&server).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn tells_of_an_autoscaler_that_comes_later() {
    let server = cluster();
    server.delete("horizontalpodautoscalers", "a");
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 3.into());
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert!(conflicts(&server).is_empty());
    server.create("horizontalpodautoscalers", autoscaler("a"));
    sleep(A_WHILE).await;
    assert_eq!(conflicts(&server), [DECLARED]);
    server.take_calls();
    server.change("horizontalpodautoscalers", "a", |object| object["status"] = json!({"currentReplicas": 3}));
    sleep(A_WHILE).await;
    let reads: Vec<String> =
        server.take_calls().into_iter().filter(|call| !call.is_watch()).map(|call| call.line()).collect();
    assert!(reads.is_empty(), "a status of the autoscaler concerns nobody: {reads:?}");
}

#[tokio::test(start_paused = true)]
async fn publishes_nothing_of_autoscalers_in_a_dry_run() {
    let server = cluster();
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 3.into());
    let _running = start_with(&server, Options { dry_run: true, ..OPTIONS }).await;
    sleep(A_WHILE).await;
    assert!(server.all("events").is_empty());
}

#[tokio::test(start_paused = true)]
async fn does_its_other_work_without_the_right_to_read_autoscalers() {
    let server = cluster_with_problems(ListType::Map);
    server.inject_faults(|call| call.path.ends_with("/horizontalpodautoscalers").then_some(Fault::Code(403, None)));
    let running = start(&server).await;
    sleep(A_WHILE).await;
    assert_reconciled(&server, "without autoscalers");
    let failures = "mcpserver_scaling_watch_failures_total{kind=\"HorizontalPodAutoscaler\"}";
    let metrics = running.metrics.render();
    let line = metrics.lines().find(|line| line.starts_with(failures)).expect("is counted");
    assert!(!line.ends_with(" 0"), "{line}");
    sleep(A_WHILE * 3).await;
    server.take_calls();
    sleep(A_WHILE * 30).await;
    let lists = server.take_calls().iter().filter(|call| call.path.ends_with("/horizontalpodautoscalers")).count();
    assert!((10..=40).contains(&lists), "{lists} lists in ten minutes");
}
