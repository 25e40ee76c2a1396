//! How the controller ends.

use serde_json::json;
use tokio::time::{Instant, sleep};

use mcpserver_scaling_reconciler::run::controller::End;

use crate::fake_api_server::{ApiServer, Fault, GROUP, ListType};
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn ends_when_the_version_is_no_longer_served() {
    let server = ApiServer::new(ListType::Map);
    server.set_served_versions(&["v1alpha1"]);
    server.create("mcpservers", mcpserver("a", json!({"replicas": 3})));
    let running = start(&server).await;
    sleep(A_WHILE).await;
    assert!(server.take_writes()[0].path.starts_with(&format!("/apis/{GROUP}/v1alpha1/")));
    server.set_served_versions(&["v1beta1"]);
    server.compact();
    let mut running = running;
    assert_eq!((&mut running.task).await.expect("the task did not panic"), End::NotServed);
    let _again = start(&server).await;
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 1.into());
    sleep(A_WHILE).await;
    assert!(server.take_writes()[0].path.starts_with(&format!("/apis/{GROUP}/v1beta1/")));
}

#[tokio::test(start_paused = true)]
async fn stops_after_the_reconciles_that_are_under_way() {
    let server = cluster_with_problems(ListType::Map);
    let running = start(&server).await;
    sleep(A_WHILE).await;
    let stopped_at = Instant::now();
    assert_eq!(running.stop().await, End::Stopped);
    assert!(stopped_at.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn stops_while_objects_cannot_be_listed() {
    for fault in [Fault::Hang, Fault::Code(500, None)] {
        let server = cluster_with_problems(ListType::Map);
        server.inject_faults(move |call| call.path.ends_with("/mcpservers").then_some(fault));
        let running = start(&server).await;
        sleep(A_WHILE).await;
        let stopped_at = Instant::now();
        assert_eq!(running.stop().await, End::Stopped);
        assert!(stopped_at.elapsed() < SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn stops_although_a_call_hangs() {
    let server = cluster_with_problems(ListType::Map);
    server.inject_faults(|call| call.path.ends_with("/status").then_some(Fault::Hang));
    let running = start(&server).await;
    sleep(3 * SECOND).await;
    let stopped_at = Instant::now();
    assert_eq!(running.stop().await, End::Stopped);
    assert!(stopped_at.elapsed() < 25 * SECOND, "{:?}", stopped_at.elapsed());
}
