//! The policy and the reconciler together, under the definitions of several releases of ToolHive.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::reconciling::{CAPPED, runs, says};
use crate::crds::Shape;
use crate::world::{AUTOSCALER, OPERATOR, World, deployment};

pub(super) async fn together(world: &mut World) -> Result<()> {
    let namespace = world.namespace("together").await?;
    world.stop_reconcilers().await?;
    world.start_reconciler(&[]).await?;
    let server = world.make_server(&namespace, "github", json!({})).await?.body;
    world.actor(OPERATOR).await?.create("deployments", &namespace, &deployment(&server, 3)).await?.done()?;
    let autoscaler = world.actor(AUTOSCALER).await?;
    for _ in 0..5 {
        autoscaler.scale("deployments", &namespace, "github", 3).await?.done()?;
    }
    says(&world.admin, &namespace, "github", "StdioReplicaCapped", ("False", "StdioReplicaCapNotActive")).await?;
    ensure!(world.admin.replicas("deployments", &namespace, "github").await? == 1);
    let nothing = (String::new(), String::new());
    ensure!(
        world.admin.condition(&namespace, "github", "LiveReplicasWarning").await? == nothing,
        "it never ran more than one"
    );
    Ok(())
}

/// Every server goes with its definition.
async fn other_release(world: &mut World, shape: Shape) -> Result<()> {
    world.uninstall().await?;
    world.install(shape).await
}

pub(super) async fn since_013(world: &mut World) -> Result<()> {
    other_release(world, Shape::Since013).await?;
    let namespace = world.namespace("since-013").await?;
    let server = world.make_server(&namespace, "github", json!({"replicas": 3})).await?;
    ensure!(server.warnings.iter().any(|warning| warning.contains("stdio runs 1 replica")), "{:?}", server.warnings);
    let ready = json!({"type": "Ready", "status": "True", "reason": "Running", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"status": {"phase": "Running", "conditions": [ready]}});
    world.admin.merge("mcpservers", &namespace, "github/status", &status).await?.done()?;
    says(&world.admin, &namespace, "github", "StdioReplicaCapped", CAPPED).await?;
    let after = world.admin.get("mcpservers", &namespace, "github").await?["status"].clone();
    ensure!(
        after["conditions"][0] == ready && after["phase"] == "Running",
        "nobody else's condition is touched: {after}"
    );
    ensure!(after["conditions"].as_array().map(Vec::len) == Some(3), "{after}");
    Ok(())
}

pub(super) async fn before_013(world: &mut World) -> Result<()> {
    other_release(world, Shape::Before013).await?;
    let namespace = world.namespace("before-013").await?;
    let server = world.make_server(&namespace, "github", json!({"replicas": 3})).await?.body;
    ensure!(server["spec"]["replicas"].is_null(), "the definition does not have it");
    let operator = world.actor(OPERATOR).await?;
    operator.create("deployments", &namespace, &deployment(&server, 1)).await?.done()?;
    let warnings = world.person_scales("deployments", &namespace, "github", 3).await?;
    ensure!(warnings.iter().any(|warning| warning.contains("stdio runs 1 replica")), "{warnings:?}");
    says(&world.admin, &namespace, "github", "StdioReplicaCapped", ("False", "StdioReplicaCapNotActive")).await?;

    let spec = json!({"transport": "sse"});
    let server = world.make_server(&namespace, "sse", spec).await?.body;
    operator.create("deployments", &namespace, &deployment(&server, 1)).await?.done()?;
    world.person_scales("deployments", &namespace, "sse", 3).await?;
    operator.update("deployments", &namespace, "sse", |it| it["spec"]["replicas"] = 1.into()).await?.done()?;
    ensure!(world.admin.replicas("deployments", &namespace, "sse").await? == 3, "the reset is undone");
    says(&world.admin, &namespace, "sse", "LiveReplicasWarning", ("True", "LiveReplicasWithoutSessionStorage")).await
}

pub(super) async fn upgrade(world: &mut World) -> Result<()> {
    ensure!(world.shape() == Shape::Before013, "this goes on where the one before ended");
    let namespace = "before-013";
    world.install(Shape::Present).await?;
    // The objects are the same, at two versions; their workloads still name the old one.
    let github = world.admin.get("mcpservers", namespace, "github").await?;
    ensure!(github["apiVersion"] == "toolhive.stacklok.dev/v1beta1");
    world.admin.scale("deployments", namespace, "github", 3).await?.done()?;
    ensure!(world.admin.replicas("deployments", namespace, "github").await? == 1, "the policy finds it");
    world.admin.merge("mcpservers", namespace, "github", &json!({"spec": {"replicas": 3}})).await?.done()?;
    says(&world.admin, namespace, "github", "StdioReplicaCapped", CAPPED).await?;

    // The old version goes, once everything is stored at the new one.
    let path = "/apis/toolhive.stacklok.dev/v1beta1/mcpservers";
    let servers = world.admin.send("GET", path, "application/json", &Value::Null).await?.done()?.body;
    for server in servers["items"].as_array().context("is a list")? {
        let field = |name: &str| server["metadata"][name].as_str().unwrap_or_default();
        let migrated = json!({"metadata": {"annotations": {"e2e/stored-at": "v1beta1"}}});
        world.admin.merge("mcpservers", field("namespace"), field("name"), &migrated).await?.done()?;
    }
    for mut definition in Shape::Present.definitions() {
        let name = definition["metadata"]["name"].as_str().context("has a name")?.to_owned();
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        let stored = json!({"status": {"storedVersions": ["v1beta1"]}});
        world.admin.send("PATCH", &format!("{path}/status"), "application/merge-patch+json", &stored).await?.done()?;
        let versions = definition["spec"]["versions"].as_array_mut().context("has versions")?;
        versions.retain(|version| version["name"] == "v1beta1");
        let patch = json!({"spec": {"versions": versions}});
        world.admin.send("PATCH", &path, "application/merge-patch+json", &patch).await?.done()?;
    }
    world.servers_can_be_made().await?;
    world.admin.merge("mcpservers", namespace, "github", &json!({"spec": {"replicas": 1}})).await?.done()?;
    let replicas: &Value = &json!({"spec": {"replicas": 2, "transport": "sse"}});
    world.admin.merge("mcpservers", namespace, "sse", replicas).await?.done()?;
    says(&world.admin, namespace, "github", "StdioReplicaCapped", ("False", "StdioReplicaCapNotActive")).await?;
    runs(&world.admin, "deployments", namespace, "sse", 2).await?;
    let warnings = world.person_scales("deployments", namespace, "github", 3).await?;
    ensure!(warnings.iter().any(|warning| warning.contains("stdio runs 1 replica")), "{warnings:?}");
    ensure!(world.admin.replicas("deployments", namespace, "github").await? == 1);
    Ok(())
}
