//! The writes of the reconciler, and their timing.

use std::num::NonZeroU32;
use std::time::Duration;

use mcp_scaling_rules::SessionStorage;
use mcpserver_scaling_reconciler::decide::stabilization::WINDOW;
use mcpserver_scaling_reconciler::options::{Counts, Options, StorageSource};
use mcpserver_scaling_reconciler::run::controller::End;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::fake_api_server::{ApiServer, Call, ListType};
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn reads_once_and_writes_once_where_conditions_are_missing() {
    let server = ApiServer::new(ListType::Map);
    let mut object = mcpserver("github", json!({"transport": "stdio", "replicas": 3, "podTemplateSpec": {"x": [1]}}));
    object["status"] = json!({"phase": "Running", "conditions": foreign_conditions()});
    server.create("mcpservers", object);
    let before = server.get("mcpservers", "github").expect("exists");
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
    assert_eq!(Value::from(&written[..2]), foreign_conditions());
    assert_eq!(written.len(), 4);
    assert_eq!(write.body["status"].as_object().map(|status| status.len()), Some(1), "nothing but conditions");
    let now = written[2]["lastTransitionTime"].clone();
    assert_eq!(
        written[2],
        json!({"type": "StdioReplicaCapped", "status": "True", "reason": "StdioTransportCapAt1", "observedGeneration": 1,
               "message": "transport stdio supports 1 replica; spec.replicas requests more", "lastTransitionTime": now})
    );
    let mut after = server.get("mcpservers", "github").expect("exists");
    assert_eq!(after["status"]["phase"], "Running");
    after["status"] = before["status"].clone();
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(after, before, "nothing else changed");
    assert_eq!(
        notes(&server),
        [
            "Warning StdioTransportCapAt1: StdioReplicaCapped: transport stdio supports 1 replica; spec.replicas requests more",
            "Warning SessionStorageMissingForReplicas: SessionStorageWarning: spec.replicas is above 1 and \
             spec.sessionStorage.provider is not redis: replicas do not share sessions",
        ]
    );
    let event = &server.all("events")[0];
    assert_eq!(event["regarding"]["uid"], before["metadata"]["uid"]);
    assert_eq!((&event["regarding"]["kind"], &event["regarding"]["name"]), (&json!("MCPServer"), &json!("github")));
}

#[tokio::test(start_paused = true)]
async fn makes_no_call_for_a_server_that_is_up_to_date() {
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
async fn corrects_replicas_through_the_scale_subresource() {
    for (spec, kind, set_to, corrected) in [
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
        let case = format!("{spec}, {set_to} of a {kind}");
        let server = ApiServer::new(ListType::Map);
        server.create("mcpservers", mcpserver("a", spec));
        let (resource, workload) = if kind == "Deployment" {
            ("deployments", deployment("a", set_to))
        } else {
            ("statefulsets", statefulset("a", set_to))
        };
        server.create(resource, workload);
        let version = server.get(resource, "a").expect("exists")["metadata"]["resourceVersion"].clone();
        let _running = start(&server).await;
        sleep(A_WHILE).await;
        let calls: Vec<Call> = server.take_calls().into_iter().filter(|call| call.path.ends_with("/scale")).collect();
        let path = format!("/apis/apps/v1/namespaces/default/{resource}/a/scale");
        match corrected {
            None => assert_eq!(lines(&calls), [""; 0], "{case}"),
            Some(count) => {
                assert_eq!(lines(&calls), [format!("GET {path}"), format!("PATCH {path}")], "{case}");
                let body = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": count}});
                assert_eq!(calls[1].body, body, "{case}");
                assert_eq!(server.get(resource, "a").expect("exists")["spec"]["replicas"], count, "{case}");
                assert_eq!(
                    notes(&server).iter().filter(|note| note.contains("ReplicasCorrected")).count(),
                    1,
                    "{case}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn leaves_workloads_of_other_owners() {
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
async fn sets_updates_and_clears_conditions() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"transport": "stdio"})));
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert_eq!(status_and_reason(&server, "a", "StdioReplicaCapped"), pair("False", "StdioReplicaCapNotActive"));
    assert_eq!(
        status_and_reason(&server, "a", "SessionStorageWarning"),
        pair("False", "SessionStorageWarningNotApplicable")
    );
    assert_eq!(server.take_writes().len(), 1);
    assert_eq!(notes(&server), [""; 0], "no event without a warning");

    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 3.into());
    sleep(A_WHILE).await;
    assert_eq!(status_and_reason(&server, "a", "StdioReplicaCapped"), pair("True", "StdioTransportCapAt1"));
    assert_eq!(server.take_writes().len(), 1);

    server.change("mcpservers", "a", |object| object["spec"]["sessionStorage"] = json!({"provider": "redis"}));
    sleep(A_WHILE).await;
    assert_eq!(status_and_reason(&server, "a", "StdioReplicaCapped"), pair("True", "StdioTransportCapAt1"));
    assert_eq!(status_and_reason(&server, "a", "SessionStorageWarning"), pair("False", "SessionStorageConfigured"));
    assert_eq!(server.take_writes().len(), 1);

    // Changed and changed back at once.
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 1.into());
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 3.into());
    sleep(A_WHILE).await;
    assert_eq!(server.take_writes().len(), 1, "only the generation changed");
    assert_eq!(condition(&server, "a", "StdioReplicaCapped").expect("exists")["observedGeneration"], 5);

    server.change("mcpservers", "a", |object| object["spec"]["transport"] = "sse".into());
    sleep(A_WHILE).await;
    assert_eq!(status_and_reason(&server, "a", "StdioReplicaCapped"), pair("False", "StdioReplicaCapNotActive"));
    let cleared =
        "Normal StdioReplicaCapNotActive: StdioReplicaCapped: the stdio replica cap does not apply".to_owned();
    assert!(notes(&server).contains(&cleared), "{:?}", notes(&server));
}

#[tokio::test(start_paused = true)]
async fn moves_the_transition_time_with_the_status_only() {
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
    let capped = condition(&server, "a", "StdioReplicaCapped").expect("exists");
    assert_eq!((&capped["observedGeneration"], &capped["lastTransitionTime"]), (&json!(2), &long_ago));
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 1.into());
    sleep(A_WHILE).await;
    assert_ne!(condition(&server, "a", "StdioReplicaCapped").expect("exists")["lastTransitionTime"], long_ago);
}

#[tokio::test(start_paused = true)]
async fn warns_once_of_an_autoscaler_without_redis() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"transport": "sse"})));
    server.create("deployments", deployment("a", 1));
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert_eq!(condition(&server, "a", "WorkloadReplicasWarning"), None, "there never was a cause");
    server.take_calls();

    let scale = |count: u32| server.change("deployments", "a", |object| object["spec"]["replicas"] = count.into());
    for count in [3, 1, 4, 1, 2, 1] {
        scale(count);
        sleep(WINDOW / 4).await;
        assert_eq!(
            status_and_reason(&server, "a", "WorkloadReplicasWarning"),
            pair("True", "WorkloadReplicasWithoutSessionStorage")
        );
        assert_eq!(
            status_and_reason(&server, "a", "SessionStorageWarning"),
            pair("False", "SessionStorageWarningNotApplicable")
        );
    }
    assert_eq!(server.take_writes().len(), 1, "one transition, one write");
    assert_eq!(notes(&server).len(), 1, "{:?}", notes(&server));
    sleep(WINDOW).await;
    assert_eq!(status_and_reason(&server, "a", "WorkloadReplicasWarning"), pair("False", "WorkloadReplicasFit"));
    assert_eq!((server.take_writes().len(), notes(&server).len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn writes_nothing_in_a_dry_run() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"replicas": 3})));
    server.create("deployments", deployment("a", 3));
    let _running = start_with(&server, Options { dry_run: true, ..OPTIONS }).await;
    sleep(A_WHILE).await;
    assert!(server.take_calls().iter().all(|call| !call.is_write()));
}

#[tokio::test(start_paused = true)]
async fn leaves_servers_that_are_deleted() {
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
async fn writes_within_two_seconds_of_a_change() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"transport": "sse"})));
    server.create("deployments", deployment("a", 1));
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    server.take_calls();
    let changed = Instant::now();
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 3.into());
    // Rollouts and other controllers write all the time. That must not restart the debounce time.
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

/// A cluster of this many servers without conditions. Those with an even number declare more replicas than stdio supports.
fn large_cluster(servers: usize) -> ApiServer {
    let server = ApiServer::new(ListType::Atomic);
    for index in 0..servers {
        let spec = if index % 2 == 0 { json!({"replicas": 3}) } else { json!({"transport": "sse"}) };
        server.create("mcpservers", mcpserver(&format!("s{index}"), spec));
        server.create("deployments", deployment(&format!("s{index}"), 1));
    }
    server
}

#[tokio::test(start_paused = true)]
async fn writes_once_for_each_of_a_thousand_servers() {
    let server = large_cluster(1000);
    let running = start(&server).await;
    sleep(10 * A_WHILE).await;
    let writes = server.take_writes();
    assert_eq!(writes.len(), 1000);
    assert!(writes.iter().all(|write| write.path.ends_with("/status")));
    drop(running);

    let _restarted = start(&server).await;
    sleep(3 * A_WHILE).await;
    assert!(server.take_writes().is_empty(), "after a restart everything is up to date");
}

#[tokio::test(start_paused = true)]
async fn keeps_to_the_rate_of_writes_and_corrects_misleading_statuses_first() {
    let server = large_cluster(1000);
    let rate = 50;
    let writes_per_second = NonZeroU32::new(rate).expect("is not zero");
    let started = Instant::now();
    let _running = start_with(&server, Options { writes_per_second, ..OPTIONS }).await;
    sleep(3 * A_WHILE).await;
    let calls = server.take_calls();
    let writes: Vec<&Call> = calls.iter().filter(|call| call.is_write()).collect();
    assert_eq!(writes.len(), 2000, "each status, and two events for each that warns");
    let in_second = |second: u64| writes.iter().filter(|write| (write.at - started).as_secs() == second).count() as u32;
    let most = (0..60).map(in_second).max();
    assert!(most.is_some_and(|most| most <= 2 * rate), "a burst of one second, and the rate: {most:?}");
    let last = writes.iter().map(|write| write.at - started).max().expect("has writes");
    let at_rate = Duration::from_secs(2000 / u64::from(rate));
    assert!(last >= at_rate - 2 * SECOND && last <= at_rate + 10 * SECOND, "{last:?}");

    let is_misleading = |write: &Call| write.body["status"]["conditions"][0]["status"] == "True";
    let statuses: Vec<bool> =
        writes.iter().filter(|write| write.path.ends_with("/status")).map(|write| is_misleading(write)).collect();
    let first = statuses[..500].iter().filter(|is_misleading| **is_misleading).count();
    assert!(first >= 500 - rate as usize, "{first} of the first 500: the others were written with the first tokens");
}

#[tokio::test(start_paused = true)]
async fn tells_the_metrics_within_a_second_of_the_write() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"transport": "sse"})));
    server.create("deployments", deployment("a", 1));
    let running = start(&server).await;
    sleep(A_WHILE).await;
    server.take_calls();
    let warned = |condition: &str, count: u32| {
        running.metrics.render().contains(&format!("servers_warned{{condition=\"{condition}\"}} {count}\n"))
    };
    assert!(warned("WorkloadReplicasWarning", 0));
    server.change("deployments", "a", |object| object["spec"]["replicas"] = 3.into());
    while server.take_writes().is_empty() {
        sleep(SECOND / 20).await;
    }
    sleep(SECOND).await;
    assert!(warned("WorkloadReplicasWarning", 1));
    assert!(running.metrics.render().contains("mcpserver_scaling_status_writes_total 2\n"));
    server.change("mcpservers", "a", |object| object["spec"]["replicas"] = 3.into());
    while server.take_writes().is_empty() {
        sleep(SECOND / 20).await;
    }
    sleep(SECOND).await;
    assert!(warned("SessionStorageWarning", 1) && warned("WorkloadReplicasWarning", 0));
    server.delete("mcpservers", "a");
    sleep(SECOND).await;
    assert!(running.metrics.render().contains("mcpserver_scaling_servers 0\n"));
}

#[tokio::test(start_paused = true)]
async fn tells_nothing_of_the_cluster_once_it_has_ended() {
    for is_stopped in [true, false] {
        let server = cluster_with_problems(ListType::Map);
        let running = start(&server).await;
        sleep(A_WHILE).await;
        let metrics = running.metrics.clone();
        let gauges = || {
            let text = metrics.render();
            let lines = text.lines().filter(|line| line.starts_with("mcpserver_scaling_servers"));
            lines.filter(|line| !line.ends_with(" 0")).count()
        };
        assert!(gauges() > 0);
        if is_stopped {
            running.stop().await;
        } else {
            // As a process that is no longer the leader drops it.
            drop(running);
            sleep(SECOND).await;
        }
        assert_eq!(gauges(), 0, "{}", metrics.render());
    }
}

#[tokio::test(start_paused = true)]
async fn reconciles_the_others_beside_an_invalid_object() {
    let server = ApiServer::new(ListType::Map);
    for (name, spec) in [
        ("a", json!("no object")),
        ("b", json!({"replicas": "three"})),
        ("c", json!({"transport": {"x": []}})),
        ("d", json!({"replicas": 3})),
        ("f", json!({"replicas": 3_000_000_000_u64})),
    ] {
        server.create("mcpservers", mcpserver(name, spec));
    }
    server.create("deployments", json!({"metadata": {"name": "x", "labels": {"app.kubernetes.io/name": "mcpserver", "toolhive": "true"}}, "spec": 7}));
    let running = start(&server).await;
    sleep(A_WHILE).await;
    assert_eq!(lines(&server.take_writes()).len(), 1);
    assert_eq!(status_and_reason(&server, "d", "StdioReplicaCapped"), pair("True", "StdioTransportCapAt1"));
    assert!(running.metrics.render().contains("mcpserver_scaling_unreadable_servers 4"));

    server.create("mcpservers", mcpserver("e", json!({"replicas": -1})));
    server.change("mcpservers", "b", |object| object["spec"]["replicas"] = 3.into());
    sleep(A_WHILE).await;
    assert_eq!(
        status_and_reason(&server, "b", "StdioReplicaCapped"),
        pair("True", "StdioTransportCapAt1"),
        "the spec was corrected"
    );
}

#[tokio::test(start_paused = true)]
async fn ignores_the_default_storage_in_the_conditions_of_toolhive() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("declared", json!({"transport": "sse", "replicas": 3})));
    server.create("mcpservers", mcpserver("scaled", json!({"transport": "sse"})));
    let memory = json!({"transport": "sse", "sessionStorage": {"provider": "memory"}});
    server.create("mcpservers", mcpserver("memory", memory));
    for name in ["declared", "scaled", "memory"] {
        server.create("deployments", deployment(name, 3));
    }
    let running = start_with(
        &server,
        Options { session_storage: StorageSource::Spec { default: SessionStorage::Redis }, ..OPTIONS },
    )
    .await;
    sleep(A_WHILE).await;
    let of = |name: &str, type_: &str| status_and_reason(&server, name, type_);
    assert_eq!(of("declared", "SessionStorageWarning"), pair("True", "SessionStorageMissingForReplicas"));
    assert_eq!(of("scaled", "SessionStorageWarning"), pair("False", "SessionStorageWarningNotApplicable"));
    for name in ["declared", "scaled", "memory"] {
        assert_eq!(condition(&server, name, "WorkloadReplicasWarning"), None, "{name}: its replicas share sessions");
    }
    let without_password = |note: &&String| note.contains("DefaultRedisWithoutPassword");
    assert_eq!(notes(&server).iter().filter(without_password).count(), 1, "{:?}", notes(&server));
    let metrics = running.metrics.render();
    for (condition, count) in [("SessionStorageWarning", 1), ("WorkloadReplicasWarning", 0)] {
        let line = format!("mcpserver_scaling_servers_warned{{condition=\"{condition}\"}} {count}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn sets_only_the_counts_that_it_is_told_to() {
    for (counts, expected) in [(Counts::All, [1, 1, 2]), (Counts::Stdio, [1, 1, 5]), (Counts::None, [3, 2, 5])] {
        let server = cluster_with_problems(ListType::Map);
        let _running = start_with(&server, Options { counts, ..OPTIONS }).await;
        sleep(A_WHILE).await;
        let workloads = [("deployments", "stdio"), ("statefulsets", "stdio"), ("deployments", "shared")];
        let set =
            workloads.map(|(resource, name)| server.get(resource, name).expect("exists")["spec"]["replicas"].clone());
        assert_eq!(set.to_vec(), expected.map(Value::from).to_vec(), "{counts:?}");
        let capped = status_and_reason(&server, "declared", "StdioReplicaCapped");
        assert_eq!(capped, pair("True", "StdioTransportCapAt1"), "{counts:?}: conditions are written in any case");
        let set_to = status_and_reason(&server, "stdio", "WorkloadReplicasWarning");
        assert_eq!(set_to, pair("True", "WorkloadReplicasAboveStdioCap"), "{counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn warns_of_a_stdio_server_that_declares_several_backends() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({"backendReplicas": 3})));
    server.create("statefulsets", statefulset("a", 3));
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert_eq!(server.get("statefulsets", "a").expect("exists")["spec"]["replicas"], 1);
    let own = || status_and_reason(&server, "a", "WorkloadReplicasWarning");
    assert_eq!(own(), pair("True", "BackendReplicasAboveStdioCap"));
    let of_toolhive = status_and_reason(&server, "a", "StdioReplicaCapped");
    assert_eq!(of_toolhive, pair("False", "StdioReplicaCapNotActive"), "ToolHive's condition is about spec.replicas");
    let note = "Warning BackendReplicasAboveStdioCap: WorkloadReplicasWarning: transport stdio supports 1 replica; spec.backendReplicas \
                requests more";
    assert!(notes(&server).contains(&note.to_owned()), "{:?}", notes(&server));

    sleep(WINDOW * 3).await;
    assert_eq!(own(), pair("True", "BackendReplicasAboveStdioCap"), "while the spec is like this");
    server.change("mcpservers", "a", |object| object["spec"]["backendReplicas"] = 1.into());
    sleep(A_WHILE).await;
    assert_eq!(own(), pair("False", "WorkloadReplicasFit"));
}

/// The ConfigMap that ToolHive's operator writes for the proxy runner of a server.
fn run_config(server: &str, scaling_config: &Value) -> Value {
    let content = json!({"image": "x", "scaling_config": scaling_config}).to_string();
    let labels = json!({"toolhive.stacklok.io/component": "run-config", "toolhive.stacklok.io/mcp-server": server});
    json!({"metadata": {"name": format!("{server}-runconfig"), "labels": labels}, "data": {"runconfig.json": content}})
}

#[tokio::test(start_paused = true)]
async fn warns_by_the_storage_that_is_really_used() {
    let server = ApiServer::new(ListType::Map);
    let explicit_memory = json!({"transport": "sse", "sessionStorage": {"provider": "memory"}});
    for name in ["default-redis", "memory", "no-config-map"] {
        server.create("mcpservers", mcpserver(name, explicit_memory.clone()));
        server.create("deployments", deployment(name, 3));
    }
    server.create("configmaps", run_config("default-redis", &json!({"session_redis": {"address": "redis:6379"}})));
    server.create("configmaps", run_config("memory", &json!({"backend_replicas": 1})));
    let _running = start_with(&server, Options { session_storage: StorageSource::RunConfig, ..OPTIONS }).await;
    sleep(A_WHILE).await;
    let warning = |name| status_and_reason(&server, name, "WorkloadReplicasWarning");
    let warned = pair("True", "WorkloadReplicasWithoutSessionStorage");
    assert_eq!(warning("memory"), warned);
    for name in ["default-redis", "no-config-map"] {
        assert_eq!(condition(&server, name, "WorkloadReplicasWarning"), None, "{name}");
    }
    let lacking = "Warning DefaultRedisWithoutPassword: spec.sessionStorage.provider is memory, and the proxies get the address \
                   of the operator's default Redis without its password: if it has one, they fail at start";
    let told = || notes(&server).into_iter().filter(|note| note == lacking).count();
    assert_eq!(told(), 1, "{:?}", notes(&server));
    // One server gets a Redis, and the other loses it.
    let change = |name: &str, scaling_config: Value| {
        let data = run_config("x", &scaling_config)["data"].clone();
        server.change("configmaps", name, |object| object["data"] = data);
    };
    change("memory-runconfig", json!({"session_redis": {}}));
    change("default-redis-runconfig", json!({}));
    sleep(WINDOW * 2).await;
    assert_eq!(warning("memory"), pair("False", "WorkloadReplicasFit"));
    assert_eq!(warning("default-redis"), warned);
    assert_eq!(told(), 2, "once for each server");
}

#[tokio::test(start_paused = true)]
async fn reads_config_maps_only_if_it_is_told_to() {
    for (session_storage, is_read) in [(OPTIONS.session_storage, false), (StorageSource::RunConfig, true)] {
        let server = cluster_with_problems(ListType::Map);
        let _running = start_with(&server, Options { session_storage, ..OPTIONS }).await;
        sleep(A_WHILE).await;
        let calls = server.take_calls();
        let reads: Vec<&Call> = calls.iter().filter(|call| call.path == "/api/v1/configmaps").collect();
        assert_eq!(!reads.is_empty(), is_read, "{session_storage:?}");
        let selector = "toolhive.stacklok.io/component=run-config,toolhive.stacklok.io/mcp-server";
        assert!(reads.iter().all(|call| call.query["labelSelector"] == selector), "{reads:?}");
    }
}
