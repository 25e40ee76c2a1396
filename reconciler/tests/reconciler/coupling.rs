//! The proxies of a server and its backend as one unit.

use std::time::Duration;

use mcpserver_scaling_reconciler::options::{Counts, Options};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::fake_api_server::{ApiServer, Fault, ListType};
use crate::support::{A_WHILE, OPTIONS, deployment, lines, mcpserver, notes, start, start_with, statefulset};

const KEPT: &str = "mcpserver-scaling-policy/replicas-before-zero";
const COUPLED: Options = Options { couple_zero: true, ..OPTIONS };

/// A server with this spec beside `transport: sse`, whose workloads have these counts.
fn cluster(spec: Value, proxies: u32, backends: u32) -> ApiServer {
    let server = ApiServer::new(ListType::Map);
    let mut object = mcpserver("a", spec);
    object["spec"]["transport"] = "sse".into();
    server.create("mcpservers", object);
    server.create("deployments", deployment("a", proxies));
    server.create("statefulsets", statefulset("a", backends));
    server
}

fn scale(server: &ApiServer, resource: &str, replicas: u32) {
    server.change(resource, "a", |object| object["spec"]["replicas"] = replicas.into());
}

/// Another writer that scales the backend to this count often enough for the reconciler to back off from it.
async fn keep_scaling_backend(server: &ApiServer, replicas: u32) {
    for _ in 0..20 {
        sleep(A_WHILE).await;
        scale(server, "statefulsets", replicas);
    }
}

/// The count of the StatefulSet, and the one that its annotation keeps.
fn backend(server: &ApiServer) -> (Value, Value) {
    let object = server.get("statefulsets", "a").expect("exists");
    (object["spec"]["replicas"].clone(), object["metadata"]["annotations"][KEPT].clone())
}

#[tokio::test(start_paused = true)]
async fn scales_the_backend_to_zero_with_its_proxies_and_up_again() {
    let server = cluster(json!({}), 2, 3);
    let running = start_with(&server, COUPLED).await;
    sleep(A_WHILE).await;
    server.take_writes();
    scale(&server, "deployments", 0);
    sleep(A_WHILE).await;
    assert_eq!(backend(&server), (json!(0), json!("3")));
    assert_eq!(
        lines(&server.take_writes()),
        [
            "PATCH /apis/apps/v1/namespaces/default/statefulsets/a",
            "PATCH /apis/apps/v1/namespaces/default/statefulsets/a/scale",
        ],
        "the count is kept before it is lost"
    );

    // The count outlasts the process that kept it.
    running.stop().await;
    let _running = start_with(&server, COUPLED).await;
    sleep(A_WHILE).await;
    assert_eq!(backend(&server), (json!(0), json!("3")));
    scale(&server, "deployments", 1);
    sleep(A_WHILE).await;
    assert_eq!(backend(&server), (json!(3), Value::Null));
    let told = notes(&server);
    for note in [
        "Normal BackendScaledToZero: replicas of the StatefulSet set from 3 to 0: the server has no proxies",
        "Normal BackendScaledUp: replicas of the StatefulSet set from 0 to 3: the server has proxies again",
    ] {
        assert!(told.contains(&note.to_owned()), "{told:?}");
    }
}

/// The policy's advice to who stops the proxies: stop the backend too.
#[tokio::test(start_paused = true)]
async fn starts_a_backend_with_its_proxies_that_a_person_stopped() {
    for (spec, count) in [(json!({}), 1), (json!({"backendReplicas": 2}), 2)] {
        let server = cluster(spec, 0, 0);
        let _running = start_with(&server, COUPLED).await;
        sleep(A_WHILE).await;
        assert_eq!(backend(&server), (json!(0), json!(count.to_string())));
        scale(&server, "deployments", 1);
        sleep(A_WHILE).await;
        assert_eq!(backend(&server), (json!(count), Value::Null));
    }
    let declared = cluster(json!({"backendReplicas": 0}), 0, 0);
    let _running = start_with(&declared, COUPLED).await;
    sleep(A_WHILE).await;
    scale(&declared, "deployments", 1);
    sleep(A_WHILE).await;
    assert_eq!(backend(&declared), (json!(0), Value::Null), "0 is declared");
}

#[tokio::test(start_paused = true)]
async fn leaves_the_backend_alone_unless_it_is_told_to() {
    let server = cluster(json!({}), 0, 3);
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert_eq!(backend(&server), (json!(3), Value::Null));
}

#[tokio::test(start_paused = true)]
async fn writes_nothing_in_a_dry_run() {
    let server = cluster(json!({}), 0, 3);
    let _running = start_with(&server, Options { dry_run: true, ..COUPLED }).await;
    sleep(A_WHILE).await;
    assert!(server.take_writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn leaves_a_backend_at_zero_that_somebody_else_scaled() {
    let server = cluster(json!({"backendReplicas": 2}), 1, 0);
    let _running = start_with(&server, COUPLED).await;
    sleep(A_WHILE).await;
    assert_eq!(backend(&server), (json!(0), Value::Null));
}

#[tokio::test(start_paused = true)]
async fn gives_the_backend_the_count_that_is_declared_when_the_proxies_are_back() {
    for counts in [Counts::All, Counts::Stdio] {
        let server = cluster(json!({"backendReplicas": 2}), 0, 2);
        let _running = start_with(&server, Options { counts, ..COUPLED }).await;
        sleep(A_WHILE).await;
        assert_eq!(backend(&server), (json!(0), json!("2")), "{counts:?}");
        server.change("mcpservers", "a", |object| object["spec"]["backendReplicas"] = 4.into());
        sleep(A_WHILE).await;
        assert_eq!(backend(&server), (json!(0), json!("2")), "{counts:?}: there is still no proxy");
        scale(&server, "deployments", 1);
        sleep(A_WHILE).await;
        assert_eq!(backend(&server), (json!(4), Value::Null), "{counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waits_until_the_proxies_have_ended() {
    // Kubernetes before v1.35 does not tell of pods that are ending, so that the grace period of 60 s has to pass.
    for (terminating, ended_after) in [(json!({}), 65), (json!({"terminatingReplicas": 1}), 200)] {
        let server = cluster(json!({}), 1, 1);
        server.change("deployments", "a", |object| {
            object["spec"]["template"] = json!({"spec": {"terminationGracePeriodSeconds": 60}});
            object["status"] = json!({"observedGeneration": 100, "replicas": 1});
        });
        let _running = start_with(&server, COUPLED).await;
        sleep(A_WHILE).await;
        scale(&server, "deployments", 0);
        sleep(Duration::from_secs(100)).await;
        assert_eq!(backend(&server).0, 1, "a proxy runs");
        server.change("deployments", "a", |object| {
            object["status"] = terminating.clone();
            object["status"]["observedGeneration"] = 100.into();
        });
        sleep(Duration::from_secs(ended_after - 5)).await;
        assert_eq!(backend(&server).0, 1, "a proxy is ending: {terminating}");
        if !terminating["terminatingReplicas"].is_null() {
            server.change("deployments", "a", |object| object["status"]["terminatingReplicas"] = 0.into());
        }
        sleep(A_WHILE).await;
        assert_eq!(backend(&server).0, 0, "{terminating}");
    }
}

#[tokio::test(start_paused = true)]
async fn follows_an_autoscaler_that_scales_to_zero_again_and_again() {
    let server = cluster(json!({}), 1, 2);
    let _running = start_with(&server, COUPLED).await;
    for round in 0..8 {
        scale(&server, "deployments", 0);
        sleep(A_WHILE).await;
        assert_eq!(backend(&server).0, 0, "round {round}");
        scale(&server, "deployments", 1);
        // Proxies that start must not wait long for their backend.
        sleep(Duration::from_secs(3)).await;
        assert_eq!(backend(&server).0, 2, "round {round}");
    }
    assert!(!notes(&server).iter().any(|note| note.contains("BackingOff")), "{:?}", notes(&server));
}

#[tokio::test(start_paused = true)]
async fn backs_off_from_a_writer_that_scales_the_backend_up_without_proxies() {
    let server = cluster(json!({}), 0, 2);
    let _running = start_with(&server, COUPLED).await;
    keep_scaling_backend(&server, 2).await;
    let told = notes(&server).iter().filter(|note| note.contains("BackingOff")).count();
    assert_eq!(told, 1, "{:?}", notes(&server));
    let writes = server.take_writes();
    let scales = writes.iter().filter(|call| call.path.ends_with("/statefulsets/a/scale")).count();
    assert!((4..10).contains(&scales), "{scales}");
    scale(&server, "deployments", 1);
    sleep(A_WHILE).await;
    assert_eq!(backend(&server), (json!(2), Value::Null), "a proxy does not wait for the backoff");
}

#[tokio::test(start_paused = true)]
async fn starts_a_backend_whose_count_somebody_keeps_reverting() {
    let server = cluster(json!({"backendReplicas": 2}), 1, 3);
    let _running = start_with(&server, COUPLED).await;
    keep_scaling_backend(&server, 3).await;
    assert!(notes(&server).iter().any(|note| note.contains("BackingOff")), "{:?}", notes(&server));
    scale(&server, "deployments", 0);
    sleep(A_WHILE).await;
    assert_eq!(backend(&server).0, 0);
    scale(&server, "deployments", 1);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(backend(&server).0, 2, "its proxies run");
}

/// Scales the proxies to 0 as Kubernetes before v1.35 tells of it, and returns the count of the backend soon after they must have ended.
async fn backend_after_proxies_ended(server: &ApiServer) -> Value {
    let status = |replicas: u32| json!({"observedGeneration": 100, "replicas": replicas});
    server.change("deployments", "a", |object| {
        object["spec"]["template"] = json!({"spec": {"terminationGracePeriodSeconds": 60}});
        object["status"] = status(1);
    });
    scale(server, "deployments", 0);
    sleep(A_WHILE).await;
    server.change("deployments", "a", |object| object["status"] = status(0));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(backend(server).0, 3, "the proxies may still be ending");
    sleep(Duration::from_secs(10)).await;
    backend(server).0
}

#[tokio::test(start_paused = true)]
async fn stops_the_backend_in_time_beside_writes_that_wait_or_fail() {
    let reverted = cluster(json!({"backendReplicas": 2}), 1, 3);
    let _running = start_with(&reverted, COUPLED).await;
    keep_scaling_backend(&reverted, 3).await;
    assert_eq!(backend_after_proxies_ended(&reverted).await, 0, "beside a count that backs off");

    let refused = cluster(json!({"replicas": 1}), 1, 3);
    refused.inject_faults(|call| {
        (call.method == "PATCH" && call.path.ends_with("/mcpservers/a/status")).then_some(Fault::Code(422, None))
    });
    let _running = start_with(&refused, COUPLED).await;
    sleep(A_WHILE * 60).await;
    assert_eq!(backend_after_proxies_ended(&refused).await, 0, "beside conditions that are refused");
}
