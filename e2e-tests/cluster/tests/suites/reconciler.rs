//! The reconciler without the policy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cluster_tests::accounts::{AUTOSCALER, OPERATOR, RECONCILER};
use cluster_tests::objects::{autoscaler, condition, deployment, redis_patch, statefulset};
use cluster_tests::requests::text;
use cluster_tests::setup::Setup;
use cluster_tests::toolhive_crds::NEWEST;
use cluster_tests::wait::{wait_for_condition, wait_for_replicas, wait_for_value, wait_until};
use cluster_tests::{ApiClient, TestCluster};
use mcp_scaling_rules::ConditionReason;
use serde_json::{Value, json};

use crate::assertions::{expect_equal, expect_replicas};
use crate::harness::{Test, suite};

/// The longest time that the test's operator may take. The reconciler waits a second for the operator's conditions
/// before it writes its own.
const OPERATOR_TIME_LIMIT: Duration = Duration::from_millis(600);

/// For tests that start reconcilers of their own.
const NO_RECONCILER: Setup = Setup { webhook: false, reconciler: false, crds: Some(NEWEST) };
const ONE_RECONCILER: Setup = Setup { reconciler: true, ..NO_RECONCILER };

pub(crate) fn tests() -> Vec<Test> {
    [
        suite!("reconciler", NO_RECONCILER, [corrects_what_admission_missed]),
        suite!(
            "reconciler",
            ONE_RECONCILER,
            [
                reports_autoscaler_without_redis,
                reports_autoscaler_that_conflicts_with_the_spec,
                writes_no_status_beside_current_operator,
                restores_conditions_beside_operator_v06,
            ]
        ),
        suite!("reconciler", NO_RECONCILER, [continues_after_kill_without_rewriting_status, replaces_killed_leader]),
        suite!("reconciler", ONE_RECONCILER, [reconnects_after_api_server_restart]),
    ]
    .concat()
}

/// The reasons of the events about an `MCPServer`.
async fn event_reasons(client: &ApiClient, namespace: &str, name: &str) -> Result<Vec<String>> {
    let events = client.list("events", namespace).await?;
    let about = events.iter().map(|event| (&event["regarding"], &event["reason"]));
    let about = about.filter(|(regarding, _)| regarding["name"] == name && regarding["kind"] == "MCPServer");
    Ok(about.map(|(_, reason)| text(reason)).collect())
}

/// How often the reconciler has written the status of a server in this namespace.
fn status_writes(cluster: &TestCluster, namespace: &str) -> Result<usize> {
    let is_write = |entry: &&Value| {
        let object = &entry["objectRef"];
        entry["user"]["username"] == RECONCILER && object["subresource"] == "status" && object["namespace"] == namespace
    };
    Ok(cluster.audit_log()?.iter().filter(is_write).count())
}

async fn resource_version(client: &ApiClient, namespace: &str, name: &str) -> Result<String> {
    Ok(text(&client.get("mcpservers", namespace, name).await?["metadata"]["resourceVersion"]))
}

async fn corrects_what_admission_missed(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("missed").await?;
    let server = cluster.create_mcp_server(&namespace, "github", json!({})).await?.body;
    cluster.admin.create("deployments", &namespace, &deployment(&server, 3)).await?.success()?;
    cluster.admin.create("statefulsets", &namespace, &statefulset("github", "stdio", 2)).await?.success()?;
    cluster.create_mcp_server(&namespace, "declared", json!({"replicas": 3})).await?;
    cluster.start_reconciler().await?;

    let admin = &cluster.admin;
    wait_for_replicas(admin, "deployments", &namespace, "github", 1).await?;
    wait_for_replicas(admin, "statefulsets", &namespace, "github", 1).await?;
    wait_for_condition(admin, &namespace, "github", ConditionReason::StdioReplicaCapNotActive).await?;
    wait_for_condition(admin, &namespace, "github", ConditionReason::WorkloadReplicasAboveStdioCap).await?;
    wait_for_condition(admin, &namespace, "declared", ConditionReason::StdioTransportCapAt1).await?;
    wait_for_condition(admin, &namespace, "declared", ConditionReason::SessionStorageMissingForReplicas).await?;
    wait_until("events report the correction and its cause", || async {
        let reasons = event_reasons(admin, &namespace, "github").await?;
        let expected = ["ReplicasCorrected", ConditionReason::WorkloadReplicasAboveStdioCap.name()];
        Ok(expected.iter().all(|expected| reasons.iter().any(|reason| reason == expected)))
    })
    .await?;

    admin.merge("mcpservers", &namespace, "declared", &json!({"spec": {"replicas": 1}})).await?.success()?;
    wait_for_condition(admin, &namespace, "declared", ConditionReason::StdioReplicaCapNotActive).await?;
    // A workload that somebody scaled to zero stays at zero.
    admin.scale("deployments", &namespace, "github", 0).await?.success()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    expect_replicas(admin, "deployments", &namespace, "github", 0).await
}

async fn reports_autoscaler_without_redis(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("without-redis").await?;
    let spec = json!({"transport": "streamable-http"});
    let server = cluster.create_mcp_server(&namespace, "github", spec).await?.body;
    cluster.admin.create("deployments", &namespace, &deployment(&server, 1)).await?.success()?;
    cluster.client_of(AUTOSCALER).await?.scale("deployments", &namespace, "github", 4).await?.success()?;
    let without_redis = ConditionReason::WorkloadReplicasWithoutSessionStorage;
    wait_for_condition(&cluster.admin, &namespace, "github", without_redis).await?;
    // No field declares a count: the autoscaler decides it.
    expect_replicas(&cluster.admin, "deployments", &namespace, "github", 4).await?;
    cluster.admin.merge("mcpservers", &namespace, "github", &redis_patch()).await?.success()?;
    wait_for_condition(&cluster.admin, &namespace, "github", ConditionReason::WorkloadReplicasFit).await
}

async fn reports_autoscaler_that_conflicts_with_the_spec(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("conflict").await?;
    let spec = json!({"transport": "streamable-http"});
    let server = cluster.create_mcp_server(&namespace, "github", spec).await?.body;
    let admin = &cluster.admin;
    admin.create("deployments", &namespace, &deployment(&server, 1)).await?.success()?;
    admin.create("horizontalpodautoscalers", &namespace, &autoscaler("cpu", "github", 5)).await?.success()?;
    let notes = async || {
        let events = admin.list("events", &namespace).await?;
        let conflicts = events.iter().filter(|event| event["reason"] == "AutoscalerConflict");
        Ok(conflicts.map(|event| text(&event["note"])).collect::<Vec<_>>())
    };
    admin.merge("mcpservers", &namespace, "github", &json!({"spec": {"replicas": 2}})).await?.success()?;
    let declared =
        "spec.replicas conflicts with HorizontalPodAutoscaler cpu, which scales the Deployment; remove one of them";
    wait_for_value("the events about autoscalers", &vec![declared.to_owned()], notes).await?;
    let to_stdio = json!({"spec": {"replicas": null, "transport": "stdio"}});
    admin.merge("mcpservers", &namespace, "github", &to_stdio).await?.success()?;
    let above_cap = "transport stdio supports 1 replica; HorizontalPodAutoscaler cpu may request 5 of the Deployment";
    wait_until("an event about the autoscaler of a stdio server", || async {
        Ok(notes().await?.contains(&above_cap.to_owned()))
    })
    .await
}

/// Writes the status as an operator does: its own conditions replace those of their types, the others stay.
async fn write_status(operator: &ApiClient, namespace: &str, name: &str, own: &[Value]) -> Result<()> {
    let write = |server: &mut Value| {
        let mut conditions = server["status"]["conditions"].as_array().cloned().unwrap_or_default();
        for condition in own {
            conditions.retain(|existing| existing["type"] != condition["type"]);
            conditions.push(condition.clone());
        }
        server["status"]["conditions"] = conditions.into();
        server["status"]["phase"] = "Ready".into();
    };
    operator.update("mcpservers", namespace, &format!("{name}/status"), write).await?.success()?;
    Ok(())
}

/// The condition that belongs to a reason, as an operator writes it.
fn operator_condition(reason: ConditionReason) -> Value {
    let expected = reason.condition();
    condition(expected.type_.name(), expected.status.name(), reason.name())
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

async fn writes_no_status_beside_current_operator(cluster: &mut TestCluster) -> Result<()> {
    let operator = cluster.client_of(OPERATOR).await?;
    for attempt in 0..5 {
        let namespace = cluster.create_namespace(&format!("beside-current-{attempt}")).await?;
        let mut slowest = Duration::ZERO;
        for index in 0..5 {
            let begun = Instant::now();
            let name = format!("server-{index}");
            cluster.create_mcp_server(&namespace, &name, json!({"replicas": 3})).await?;
            let own = [
                condition("Ready", "True", "Running"),
                operator_condition(ConditionReason::StdioTransportCapAt1),
                operator_condition(ConditionReason::SessionStorageMissingForReplicas),
            ];
            write_status(&operator, &namespace, &name, &own).await?;
            slowest = slowest.max(begun.elapsed());
        }
        // Only an operator that writes in time shows whether the reconciler waits for it.
        if slowest < OPERATOR_TIME_LIMIT {
            tokio::time::sleep(Duration::from_secs(4)).await;
            return expect_equal("status writes of the reconciler", status_writes(cluster, &namespace)?, 0);
        }
        eprintln!("\nthe test's operator took {slowest:?}, longer than the reconciler waits; trying again");
    }
    bail!("this machine is too slow: in five attempts the test's operator never wrote within {OPERATOR_TIME_LIMIT:?}")
}

async fn restores_conditions_beside_operator_v06(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("beside-old").await?;
    let operator = cluster.client_of(OPERATOR).await?;
    let server = cluster.create_mcp_server(&namespace, "github", json!({"replicas": 3})).await?.body;
    write_status(&operator, &namespace, "github", &[condition("Ready", "True", "Running")]).await?;
    operator.create("deployments", &namespace, &deployment(&server, 1)).await?.success()?;
    let admin = &cluster.admin;
    wait_for_condition(admin, &namespace, "github", ConditionReason::StdioTransportCapAt1).await?;
    let ready = admin.condition(&namespace, "github", "Ready").await?;
    expect_equal("the operator's condition Ready", ready, pair("True", "Running"))?;
    // This operator sometimes replaces the whole list.
    let list = json!({"status": {"conditions": [condition("Ready", "False", "Restarting")]}});
    operator.merge("mcpservers", &namespace, "github/status", &list).await?.success()?;
    wait_for_condition(admin, &namespace, "github", ConditionReason::StdioTransportCapAt1).await?;
    let ready = admin.condition(&namespace, "github", "Ready").await?;
    expect_equal("the operator's condition Ready", ready, pair("False", "Restarting"))
}

async fn continues_after_kill_without_rewriting_status(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("killed").await?;
    let index = cluster.start_reconciler().await?;
    cluster.create_mcp_server(&namespace, "one", json!({"replicas": 3})).await?;
    wait_for_condition(&cluster.admin, &namespace, "one", ConditionReason::StdioTransportCapAt1).await?;
    let version = resource_version(&cluster.admin, &namespace, "one").await?;
    cluster.kill_reconciler(index);
    cluster.create_mcp_server(&namespace, "two", json!({"replicas": 3})).await?;
    cluster.start_reconciler().await?;
    wait_for_condition(&cluster.admin, &namespace, "two", ConditionReason::StdioTransportCapAt1).await?;
    let after = resource_version(&cluster.admin, &namespace, "one").await?;
    expect_equal("the resource version of the server whose conditions were right", after, version)
}

async fn replaces_killed_leader(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("two").await?;
    let first = cluster.start_reconciler().await?;
    let process = cluster.reconciler_process(first).context("the first reconciler does not run")?;
    wait_until("the first reconciler holds the Lease", || async {
        let lease = cluster.admin.get("leases", "toolhive-system", "mcpserver-scaling-reconciler").await?;
        // The identity ends with the process id.
        Ok(text(&lease["spec"]["holderIdentity"]).ends_with(&format!("_{process}")))
    })
    .await?;
    cluster.start_reconciler().await?;
    cluster.create_mcp_server(&namespace, "one", json!({"replicas": 3})).await?;
    wait_for_condition(&cluster.admin, &namespace, "one", ConditionReason::StdioTransportCapAt1).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    expect_equal("status writes of both reconcilers", status_writes(cluster, &namespace)?, 1)?;
    cluster.kill_reconciler(first);
    cluster.create_mcp_server(&namespace, "two", json!({"replicas": 3})).await?;
    wait_for_condition(&cluster.admin, &namespace, "two", ConditionReason::StdioTransportCapAt1).await
}

async fn reconnects_after_api_server_restart(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("restart").await?;
    cluster.stop_api_server();
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.start_api_server().await?;
    cluster.create_mcp_server(&namespace, "one", json!({"replicas": 3})).await?;
    wait_for_condition(&cluster.admin, &namespace, "one", ConditionReason::StdioTransportCapAt1).await
}
