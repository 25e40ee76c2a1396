//! The reconciler beside other writers: autoscalers and ToolHive's operator.

use std::time::Duration;

use mcpserver_scaling_reconciler::decide::stabilization::WINDOW;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::fake_api_server::{ApiServer, ListType};
use crate::support::*;

/// Random histories in each test.
const SEEDS: u64 = 12;

#[tokio::test(start_paused = true)]
async fn backs_off_from_a_writer_that_keeps_reverting() {
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
    assert_eq!(writes.len() - scales, 1, "the condition was written once");
    assert_eq!(
        status_and_reason(&server, "a", "WorkloadReplicasWarning"),
        pair("True", "WorkloadReplicasAboveStdioCap")
    );
    let reasons: Vec<String> =
        notes(&server).iter().filter_map(|note| note.split(':').next().map(str::to_owned)).collect();
    assert_eq!(
        reasons,
        ["Normal ReplicasCorrected", "Warning WorkloadReplicasAboveStdioCap", "Warning BackingOff"],
        "reported once"
    );
    assert!(running.metrics.render().contains("mcpserver_scaling_backoffs_total 1"));
    // Without the other writer the count is corrected, and the warning is cleared after its stabilization window.
    sleep(WINDOW * 6).await;
    assert_eq!(server.get("deployments", "a").expect("exists")["spec"]["replicas"], 1);
    assert_eq!(status_and_reason(&server, "a", "WorkloadReplicasWarning"), pair("False", "WorkloadReplicasFit"));
}

#[tokio::test(start_paused = true)]
async fn tells_and_retries_a_write_that_a_webhook_changed() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({})));
    server.create("deployments", deployment("a", 3));
    server.force_count(Some(3));
    let running = start(&server).await;
    sleep(600 * SECOND).await;
    let scales = || lines(&server.take_writes()).iter().filter(|write| write.ends_with("/scale")).count();
    let written = scales();
    assert!((5..12).contains(&written), "it backs off: {written} writes in ten minutes");
    let text = notes(&server);
    assert!(text.iter().any(|note| note.contains("set from 3 to 1, and 3 are stored")), "{text:?}");
    assert!(text.iter().any(|note| note.contains("BackingOff")), "{text:?}");
    assert!(!text.iter().any(|note| note.contains("ReplicasCorrected")), "{text:?}");
    let metrics = running.metrics.render();
    assert!(metrics.contains("mcpserver_scaling_backoffs_total 1"), "the alert fires: {metrics}");
    let corrected = "mcpserver_scaling_replica_corrections_total{kind=\"Deployment\"}";
    assert!(metrics.contains(&format!("{corrected} 0")), "{metrics}");
    // Nothing in the cluster tells that the webhook is gone; the next try by time corrects the count.
    server.force_count(None);
    sleep(WINDOW * 6).await;
    assert_eq!(server.get("deployments", "a").expect("exists")["spec"]["replicas"], 1);
    assert!(running.metrics.render().contains(&format!("{corrected} 1")), "{}", running.metrics.render());
}

/// A ToolHive operator that writes its own conditions to the status when it reconciles, and the others as it read them.
struct Operator {
    /// Says whether it writes the two conditions about scaling, as operators from v0.13 on do.
    writes_conditions: bool,
    /// The longest time from a change to its write.
    slowest_write: Duration,
    random: fastrand::Rng,
}

impl Operator {
    async fn run(mut self, server: ApiServer) {
        let mut changes = server.changes();
        loop {
            let is_merge_patch = self.random.u32(0..4) == 0;
            let delay = self.random.u64(0..=self.slowest_write.as_millis() as u64);
            let read = server.get("mcpservers", "a").expect("exists");
            sleep(Duration::from_millis(delay)).await;
            let status = self.status(&read);
            if status != read["status"] {
                if is_merge_patch {
                    // Of the list as it was read, over whatever has been written since.
                    server.change("mcpservers", "a", |object| {
                        object["status"]["conditions"] = status["conditions"].clone();
                    });
                } else if !server.update_status("mcpservers", &read, status) {
                    continue;
                }
            }
            if server.get("mcpservers", "a").expect("exists")["metadata"]["resourceVersion"]
                == read["metadata"]["resourceVersion"]
            {
                changes.changed().await.expect("the server runs");
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
        if self.writes_conditions {
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
                    json!({"type": type_, "status": is, "reason": reason, "message": "written by the operator", "observedGeneration": generation}),
                );
            }
        }
        status
    }
}

/// `meta.SetStatusCondition` of apimachinery.
fn set(status: &mut Value, mut condition: Value) {
    let list = status["conditions"].as_array_mut().expect("is a list");
    condition["lastTransitionTime"] = "2026-11-20T00:00:00Z".into();
    match list.iter_mut().find(|present| present["type"] == condition["type"]) {
        Some(present) => {
            if present["status"] == condition["status"] {
                condition["lastTransitionTime"] = present["lastTransitionTime"].clone();
            }
            *present = condition;
        }
        None => list.push(condition),
    }
}

/// Runs the reconciler beside an operator while users change the spec, and then for a while without changes. Returns the
/// number of our writes in the first part, and whether nobody wrote at the end of the second.
async fn beside(operator: Operator, list_type: ListType, seed: u64) -> (usize, bool) {
    let mut random = fastrand::Rng::with_seed(seed);
    let server = ApiServer::new(list_type);
    server.create("mcpservers", mcpserver("a", json!({"transport": "stdio"})));
    let operator = tokio::spawn(operator.run(server.clone()));
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
    sleep(WINDOW * 12).await;
    let writes = server.take_writes().len();
    let at_rest = server.get("mcpservers", "a");
    sleep(WINDOW * 12).await;
    operator.abort();

    let object = server.get("mcpservers", "a").expect("exists");
    let expected = Operator { writes_conditions: true, slowest_write: SECOND, random }.status(&object);
    let is_as_expected = ["Ready", "StdioReplicaCapped", "SessionStorageWarning"].iter().all(|type_| {
        let of = |status: &Value| {
            let list = status["conditions"].as_array().into_iter().flatten();
            let of_type = list.filter(|condition| condition["type"] == *type_);
            of_type.map(|it| (it["status"].clone(), it["reason"].clone())).collect::<Vec<_>>()
        };
        of(&expected) == of(&object["status"])
    });
    assert!(is_as_expected, "seed {seed}: {}", object["status"]);
    (writes, server.take_writes().is_empty() && at_rest.as_ref() == Some(&object))
}

#[tokio::test(start_paused = true)]
async fn writes_nothing_beside_a_current_operator() {
    for seed in 0..SEEDS {
        let random = fastrand::Rng::with_seed(seed);
        let operator = Operator { writes_conditions: true, slowest_write: SECOND / 2, random };
        assert_eq!(beside(operator, ListType::Map, seed).await, (0, true), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn stops_writing_beside_a_slow_operator() {
    for seed in 0..SEEDS {
        let operator =
            Operator { writes_conditions: true, slowest_write: 5 * SECOND, random: fastrand::Rng::with_seed(seed) };
        let (writes, is_quiet) = beside(operator, ListType::Map, seed).await;
        assert!(is_quiet && writes <= 12, "seed {seed}: {writes} writes");
    }
}

#[tokio::test(start_paused = true)]
async fn stops_writing_beside_an_old_operator() {
    for seed in 0..SEEDS {
        let operator =
            Operator { writes_conditions: false, slowest_write: 3 * SECOND, random: fastrand::Rng::with_seed(seed) };
        let (writes, is_quiet) = beside(operator, ListType::Atomic, seed).await;
        assert!(is_quiet && writes <= 25, "seed {seed}: {writes} writes");
    }
}

#[tokio::test(start_paused = true)]
async fn restores_the_count_that_an_operator_reset_before_it_ended() {
    let server = ApiServer::new(ListType::Map);
    server.create(
        "mcpservers",
        mcpserver("github", json!({"transport": "sse", "sessionStorage": {"provider": "redis"}})),
    );
    let mut object = deployment("github", 1);
    object["metadata"]["annotations"] = json!({"mcpserver-scaling-policy/rolled-out": "generation=1 replicas=3"});
    server.create("deployments", object);
    let _running = start(&server).await;
    let replicas = || server.get("deployments", "github").expect("exists")["spec"]["replicas"].clone();
    sleep(SECOND * 8).await;
    assert_eq!(replicas(), 1, "the operator still has time to give it back");
    sleep(SECOND * 8).await;
    assert_eq!(replicas(), 3);
    let note = "Normal ReplicasCorrected: replicas of the Deployment set from 1 to 3: ToolHive's operator reset the count and has \
                not restored it";
    assert!(notes(&server).contains(&note.to_owned()), "{:?}", notes(&server));
}

#[tokio::test(start_paused = true)]
async fn treats_a_server_that_is_recreated_as_a_new_one() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({})));
    server.create("deployments", deployment("a", 3));
    let running = start(&server).await;
    // An autoscaler from which the reconciler backs off.
    for _ in 0..20 {
        sleep(15 * SECOND).await;
        server.change("deployments", "a", |object| object["spec"]["replicas"] = 3.into());
    }
    assert!(running.metrics.render().contains("mcpserver_scaling_backoffs_total 1"));
    server.delete("deployments", "a");
    server.delete("mcpservers", "a");
    server.create("mcpservers", mcpserver("a", json!({})));
    server.create("deployments", deployment("a", 3));
    server.take_calls();
    let before = notes(&server).len();
    sleep(3 * SECOND).await;
    assert_eq!(server.get("deployments", "a").expect("exists")["spec"]["replicas"], 1, "no delay is inherited");
    let new: Vec<String> = notes(&server).split_off(before);
    assert!(
        new.iter().any(|note| note.starts_with("Normal ReplicasCorrected")),
        "reported as the first write: {new:?}"
    );
    assert!(!new.iter().any(|note| note.contains("BackingOff")), "{new:?}");
}

#[tokio::test(start_paused = true)]
async fn does_not_scale_by_a_spec_that_has_changed_since_it_was_read() {
    let server = ApiServer::new(ListType::Map);
    server.create("mcpservers", mcpserver("a", json!({})));
    server.create("deployments", deployment("a", 3));
    let person = server.clone();
    let mut has_edited = false;
    server.inject_faults(move |call| {
        if !has_edited && call.method == "GET" && call.path.ends_with("/mcpservers/a") {
            has_edited = true;
            let person = person.clone();
            // This runs after the response with the old spec, and before the next request.
            tokio::spawn(async move {
                person.change("mcpservers", "a", |server| server["spec"]["transport"] = "sse".into());
                person.change("deployments", "a", |deployment| deployment["spec"]["replicas"] = 2.into());
            });
        }
        None
    });
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert_eq!(server.get("mcpservers", "a").expect("exists")["spec"]["transport"], "sse", "it was edited");
    assert_eq!(server.get("deployments", "a").expect("exists")["spec"]["replicas"], 2);
    assert!(server.take_writes().iter().all(|call| !call.path.ends_with("/scale")));
}
