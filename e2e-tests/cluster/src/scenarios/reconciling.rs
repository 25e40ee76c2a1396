//! The reconciler without the policy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::world::{AUTOSCALER, Actor, OPERATOR, World, deployment, eventually, statefulset};

pub(super) const CAPPED: (&str, &str) = ("True", "StdioTransportCapAt1");
const MISSING: (&str, &str) = ("True", "SessionStorageMissingForReplicas");

fn pair(told: (&str, &str)) -> (String, String) {
    (told.0.to_owned(), told.1.to_owned())
}

/// Waits until a condition says so.
pub(super) async fn says(actor: &Actor, namespace: &str, name: &str, type_: &str, told: (&str, &str)) -> Result<()> {
    let what = format!("{type_} of {name} is {told:?}");
    eventually(&what, || async { Ok(actor.condition(namespace, name, type_).await? == pair(told)) }).await
}

/// Waits until a workload has so many replicas.
pub(super) async fn runs(actor: &Actor, resource: &str, namespace: &str, name: &str, replicas: u64) -> Result<()> {
    let what = format!("{resource} {name} has {replicas} replicas");
    eventually(&what, || async { Ok(actor.replicas(resource, namespace, name).await? == replicas) }).await
}

/// The reasons of the events on a server.
async fn reasons(actor: &Actor, namespace: &str, name: &str) -> Result<Vec<String>> {
    let list =
        actor.send("GET", &actor.path("events", namespace), "application/json", &Value::Null).await?.done()?.body;
    let events = list["items"].as_array().context("is a list")?.iter();
    let of_server =
        events.filter(|event| event["regarding"]["name"] == name && event["regarding"]["kind"] == "MCPServer");
    Ok(of_server.filter_map(|event| event["reason"].as_str().map(str::to_owned)).collect())
}

/// The reconciler's writes to a server's status so far.
fn status_writes(world: &World, namespace: &str) -> Result<usize> {
    let user = "system:serviceaccount:toolhive-system:mcpserver-scaling-reconciler";
    let is_write = |entry: &&Value| {
        let object = &entry["objectRef"];
        entry["user"]["username"] == user && object["subresource"] == "status" && object["namespace"] == namespace
    };
    Ok(world.audit()?.iter().filter(is_write).count())
}

pub(super) async fn what_admission_missed(world: &mut World) -> Result<()> {
    let namespace = world.namespace("missed").await?;
    let server = world.make_server(&namespace, "github", json!({})).await?.body;
    world.admin.create("deployments", &namespace, &deployment(&server, 3)).await?.done()?;
    world.admin.create("statefulsets", &namespace, &statefulset("github", "stdio", 2)).await?.done()?;
    world.make_server(&namespace, "declared", json!({"replicas": 3})).await?;
    world.start_reconciler(&[]).await?;

    let admin = &world.admin;
    runs(admin, "deployments", &namespace, "github", 1).await?;
    runs(admin, "statefulsets", &namespace, "github", 1).await?;
    says(admin, &namespace, "github", "StdioReplicaCapped", ("False", "StdioReplicaCapNotActive")).await?;
    says(admin, &namespace, "github", "LiveReplicasWarning", ("True", "LiveReplicasAboveStdioCap")).await?;
    says(admin, &namespace, "declared", "StdioReplicaCapped", CAPPED).await?;
    says(admin, &namespace, "declared", "SessionStorageWarning", MISSING).await?;
    eventually("events tell of it", || async {
        let reasons = reasons(admin, &namespace, "github").await?;
        Ok(reasons.contains(&"ReplicasCorrected".to_owned())
            && reasons.contains(&"LiveReplicasAboveStdioCap".to_owned()))
    })
    .await?;

    admin.merge("mcpservers", &namespace, "declared", &json!({"spec": {"replicas": 1}})).await?.done()?;
    says(admin, &namespace, "declared", "StdioReplicaCapped", ("False", "StdioReplicaCapNotActive")).await?;
    world.admin.scale("deployments", &namespace, "github", 0).await?.done()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(world.admin.replicas("deployments", &namespace, "github").await? == 0, "what was stopped stays stopped");
    Ok(())
}

pub(super) async fn autoscaler_without_redis(world: &mut World) -> Result<()> {
    let namespace = world.namespace("without-redis").await?;
    let spec = json!({"transport": "streamable-http"});
    let server = world.make_server(&namespace, "github", spec).await?.body;
    world.admin.create("deployments", &namespace, &deployment(&server, 1)).await?.done()?;
    world.actor(AUTOSCALER).await?.scale("deployments", &namespace, "github", 4).await?.done()?;
    let unshared = ("True", "LiveReplicasWithoutSessionStorage");
    says(&world.admin, &namespace, "github", "LiveReplicasWarning", unshared).await?;
    ensure!(world.admin.replicas("deployments", &namespace, "github").await? == 4, "the count is the autoscaler's");
    let redis = json!({"spec": {"sessionStorage": {"provider": "redis", "address": "redis:6379"}}});
    world.admin.merge("mcpservers", &namespace, "github", &redis).await?.done()?;
    says(&world.admin, &namespace, "github", "LiveReplicasWarning", ("False", "LiveReplicasFit")).await
}

/// Writes the status as an operator does: the conditions of its own over those that are there.
async fn operator_writes(operator: &Actor, namespace: &str, name: &str, own: &[Value]) -> Result<()> {
    let write = |server: &mut Value| {
        let mut list = server["status"]["conditions"].as_array().cloned().unwrap_or_default();
        for condition in own {
            list.retain(|there| there["type"] != condition["type"]);
            list.push(condition.clone());
        }
        server["status"]["conditions"] = list.into();
        server["status"]["phase"] = "Running".into();
    };
    operator.update("mcpservers", namespace, &format!("{name}/status"), write).await?.done()?;
    Ok(())
}

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-11-20T00:00:00Z"})
}

pub(super) async fn beside_present_operator(world: &mut World) -> Result<()> {
    let operator = world.actor(OPERATOR).await?;
    for attempt in 0..5 {
        let namespace = world.namespace(&format!("beside-present-{attempt}")).await?;
        let mut slowest = Duration::ZERO;
        for index in 0..5 {
            let begun = Instant::now();
            let name = format!("server-{index}");
            world.make_server(&namespace, &name, json!({"replicas": 3})).await?;
            let own = [
                condition("Ready", "True", "Running"),
                condition("StdioReplicaCapped", CAPPED.0, CAPPED.1),
                condition("SessionStorageWarning", MISSING.0, MISSING.1),
            ];
            operator_writes(&operator, &namespace, &name, &own).await?;
            slowest = slowest.max(begun.elapsed());
        }
        // The reconciler leaves an operator a second. On a machine that takes this for it, the scenario tells nothing.
        if slowest < Duration::from_millis(600) {
            tokio::time::sleep(Duration::from_secs(4)).await;
            let writes = status_writes(world, &namespace)?;
            ensure!(writes == 0, "{writes} writes");
            return Ok(());
        }
        println!("        the operator took {slowest:?}; once more");
    }
    bail!("this machine is too slow to play an operator")
}

pub(super) async fn beside_old_operator(world: &mut World) -> Result<()> {
    let namespace = world.namespace("beside-old").await?;
    let operator = world.actor(OPERATOR).await?;
    let server = world.make_server(&namespace, "github", json!({"replicas": 3})).await?.body;
    operator_writes(&operator, &namespace, "github", &[condition("Ready", "True", "Running")]).await?;
    operator.create("deployments", &namespace, &deployment(&server, 1)).await?.done()?;
    says(&world.admin, &namespace, "github", "StdioReplicaCapped", CAPPED).await?;
    ensure!(world.admin.condition(&namespace, "github", "Ready").await? == pair(("True", "Running")));
    // One of its paths replaces the whole list.
    let all = json!({"status": {"conditions": [condition("Ready", "False", "Restarting")]}});
    operator.merge("mcpservers", &namespace, "github/status", &all).await?.done()?;
    says(&world.admin, &namespace, "github", "StdioReplicaCapped", CAPPED).await?;
    ensure!(world.admin.condition(&namespace, "github", "Ready").await? == pair(("False", "Restarting")));
    Ok(())
}

pub(super) async fn killed(world: &mut World) -> Result<()> {
    let namespace = world.namespace("killed").await?;
    world.stop_reconcilers().await?;
    let index = world.start_reconciler(&[]).await?;
    world.make_server(&namespace, "one", json!({"replicas": 3})).await?;
    says(&world.admin, &namespace, "one", "StdioReplicaCapped", CAPPED).await?;
    let version = world.admin.get("mcpservers", &namespace, "one").await?["metadata"]["resourceVersion"].clone();
    world.kill_reconciler(index);
    world.make_server(&namespace, "two", json!({"replicas": 3})).await?;
    world.start_reconciler(&[]).await?;
    says(&world.admin, &namespace, "two", "StdioReplicaCapped", CAPPED).await?;
    let now = world.admin.get("mcpservers", &namespace, "one").await?["metadata"]["resourceVersion"].clone();
    ensure!(now == version, "what is right is not written again");
    Ok(())
}

pub(super) async fn two(world: &mut World) -> Result<()> {
    let namespace = world.namespace("two").await?;
    world.stop_reconcilers().await?;
    let first = world.start_reconciler(&[]).await?;
    eventually("the first one leads", || async {
        let lease = world.admin.get("leases", "toolhive-system", "mcpserver-scaling-reconciler").await?;
        let process = world.reconciler_process(first).map_or_else(String::new, |process| format!("_{process}"));
        // The process that is bound to us keeps its id.
        Ok(lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| holder.ends_with(&process)))
    })
    .await?;
    world.start_reconciler(&[]).await?;
    world.make_server(&namespace, "one", json!({"replicas": 3})).await?;
    says(&world.admin, &namespace, "one", "StdioReplicaCapped", CAPPED).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(status_writes(world, &namespace)? == 1, "one of them writes");
    world.kill_reconciler(first);
    world.make_server(&namespace, "two", json!({"replicas": 3})).await?;
    says(&world.admin, &namespace, "two", "StdioReplicaCapped", CAPPED).await
}

pub(super) async fn api_server_restarts(world: &mut World) -> Result<()> {
    let namespace = world.namespace("restart").await?;
    world.plane.stop_api_server();
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.plane.start_api_server().await?;
    world.make_server(&namespace, "one", json!({"replicas": 3})).await?;
    says(&world.admin, &namespace, "one", "StdioReplicaCapped", CAPPED).await
}
