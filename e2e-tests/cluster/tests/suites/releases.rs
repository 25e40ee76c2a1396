//! The policy and the reconciler together, with the custom resource definitions of several releases of ToolHive.

use anyhow::{Context, Result, ensure};
use cluster_tests::accounts::{AUTOSCALER, OPERATOR};
use cluster_tests::objects::{condition, deployment};
use cluster_tests::requests::text;
use cluster_tests::setup::Setup;
use cluster_tests::toolhive_crds::crd_path;
use cluster_tests::toolhive_crds::{NEWEST, WITHOUT_COUNTS};
use cluster_tests::wait::{wait_for_condition, wait_for_replicas};
use cluster_tests::{TestCluster, ToolHiveCrds};
use mcp_scaling_rules::{ConditionReason, ConditionType};
use serde_json::{Value, json};

use crate::assertions::{expect_equal, expect_replicas, expect_warning};
use crate::harness::{Test, suite};

const CURRENT: Setup = Setup { webhook: true, reconciler: true, crds: Some(NEWEST) };
/// For tests that install definitions while the policy and the reconciler run.
const ANY_RELEASE: Setup = Setup { crds: None, ..CURRENT };

pub(crate) fn tests() -> Vec<Test> {
    [
        suite!("releases", CURRENT, [holds_stdio_server_at_one_replica_under_autoscaler]),
        suite!(
            "releases",
            ANY_RELEASE,
            [keeps_atomic_condition_list, caps_and_preserves_before_v013, continues_through_upgrade_to_v1beta1]
        ),
    ]
    .concat()
}

async fn holds_stdio_server_at_one_replica_under_autoscaler(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("together").await?;
    let server = cluster.create_mcp_server(&namespace, "github", json!({})).await?.body;
    cluster.client_of(OPERATOR).await?.create("deployments", &namespace, &deployment(&server, 3)).await?.success()?;
    let autoscaler = cluster.client_of(AUTOSCALER).await?;
    for _ in 0..5 {
        autoscaler.scale("deployments", &namespace, "github", 3).await?.success()?;
    }
    wait_for_condition(&cluster.admin, &namespace, "github", ConditionReason::StdioReplicaCapNotActive).await?;
    expect_replicas(&cluster.admin, "deployments", &namespace, "github", 1).await?;
    // The policy capped every write, so the reconciler never saw more than one replica.
    let type_ = ConditionType::WorkloadReplicasWarning.name();
    let seen = cluster.admin.condition(&namespace, "github", type_).await?;
    expect_equal(&format!("condition {type_}"), seen, (String::new(), String::new()))
}

/// Before v0.16 an apply on the server's side replaces the whole list of conditions.
async fn keeps_atomic_condition_list(cluster: &mut TestCluster) -> Result<()> {
    cluster.require_crds_of(WITHOUT_COUNTS).await?;
    let namespace = cluster.create_namespace("atomic").await?;
    let server = cluster.create_mcp_server(&namespace, "github", json!({"transport": "sse"})).await?.body;
    let ready = condition("Ready", "True", "Running");
    let status = json!({"status": {"phase": "Running", "conditions": [ready]}});
    cluster.admin.merge("mcpservers", &namespace, "github/status", &status).await?.success()?;
    let operator = cluster.client_of(OPERATOR).await?;
    operator.create("deployments", &namespace, &deployment(&server, 3)).await?.success()?;
    let without_redis = ConditionReason::WorkloadReplicasWithoutSessionStorage;
    wait_for_condition(&cluster.admin, &namespace, "github", without_redis).await?;
    let status = cluster.admin.get("mcpservers", &namespace, "github").await?["status"].take();
    let conditions = status["conditions"].as_array().context("status.conditions")?;
    ensure!(conditions.contains(&ready), "the operator's condition is gone: {conditions:?}");
    expect_equal("status.phase", &status["phase"], "Running")
}

/// Creates the stdio server "github" and the server "sse" with their Deployments, as before v0.13. Returns "github".
async fn create_servers_before_v013(cluster: &TestCluster, namespace: &str) -> Result<Value> {
    let operator = cluster.client_of(OPERATOR).await?;
    let github = cluster.create_mcp_server(namespace, "github", json!({"replicas": 3})).await?.body;
    operator.create("deployments", namespace, &deployment(&github, 1)).await?.success()?;
    let sse = cluster.create_mcp_server(namespace, "sse", json!({"transport": "sse"})).await?.body;
    operator.create("deployments", namespace, &deployment(&sse, 1)).await?.success()?;
    cluster.kubectl_scale("deployments", namespace, "sse", 3).await?;
    Ok(github)
}

async fn caps_and_preserves_before_v013(cluster: &mut TestCluster) -> Result<()> {
    cluster.require_crds_of(WITHOUT_COUNTS).await?;
    let namespace = cluster.create_namespace("before-013").await?;
    let github = create_servers_before_v013(cluster, &namespace).await?;
    expect_equal("spec.replicas, which this definition does not have", &github["spec"]["replicas"], &Value::Null)?;
    let warnings = cluster.kubectl_scale("deployments", &namespace, "github", 3).await?;
    expect_warning(&warnings, "transport stdio supports 1 replica")?;
    wait_for_condition(&cluster.admin, &namespace, "github", ConditionReason::StdioReplicaCapNotActive).await?;

    let operator = cluster.client_of(OPERATOR).await?;
    operator.update("deployments", &namespace, "sse", |it| it["spec"]["replicas"] = 1.into()).await?.success()?;
    expect_replicas(&cluster.admin, "deployments", &namespace, "sse", 3).await?;
    let without_redis = ConditionReason::WorkloadReplicasWithoutSessionStorage;
    wait_for_condition(&cluster.admin, &namespace, "sse", without_redis).await
}

async fn continues_through_upgrade_to_v1beta1(cluster: &mut TestCluster) -> Result<()> {
    cluster.require_crds_of(WITHOUT_COUNTS).await?;
    let namespace = cluster.create_namespace("upgrade").await?;
    create_servers_before_v013(cluster, &namespace).await?;

    let newest = ToolHiveCrds::find(NEWEST)?;
    cluster.install_crds(&newest).await?;
    // The objects are the same at two versions; the owner references of the Deployments still name the older one.
    let github = cluster.admin.get("mcpservers", &namespace, "github").await?;
    expect_equal("apiVersion after the upgrade", &github["apiVersion"], "toolhive.stacklok.dev/v1beta1")?;
    cluster.admin.scale("deployments", &namespace, "github", 3).await?.success()?;
    expect_replicas(&cluster.admin, "deployments", &namespace, "github", 1).await?;
    let three = json!({"spec": {"replicas": 3}});
    cluster.admin.merge("mcpservers", &namespace, "github", &three).await?.success()?;
    wait_for_condition(&cluster.admin, &namespace, "github", ConditionReason::StdioTransportCapAt1).await?;

    migrate_storage(cluster, &newest).await?;
    cluster.install_crds(&newest.without_v1alpha1()).await?;
    let one = json!({"spec": {"replicas": 1}});
    cluster.admin.merge("mcpservers", &namespace, "github", &one).await?.success()?;
    let two = json!({"spec": {"replicas": 2, "transport": "sse"}});
    cluster.admin.merge("mcpservers", &namespace, "sse", &two).await?.success()?;
    wait_for_condition(&cluster.admin, &namespace, "github", ConditionReason::StdioReplicaCapNotActive).await?;
    wait_for_replicas(&cluster.admin, "deployments", &namespace, "sse", 2).await?;
    let warnings = cluster.kubectl_scale("deployments", &namespace, "github", 3).await?;
    expect_warning(&warnings, "transport stdio supports 1 replica")?;
    expect_replicas(&cluster.admin, "deployments", &namespace, "github", 1).await
}

/// Has every `MCPServer` stored at the version that these definitions store, so that older versions can be removed.
async fn migrate_storage(cluster: &TestCluster, crds: &ToolHiveCrds) -> Result<()> {
    let path = "/apis/toolhive.stacklok.dev/v1beta1/mcpservers";
    let servers = cluster.admin.get_path(path).await?.success()?.body;
    for server in servers["items"].as_array().context("the list of MCPServers has no items")? {
        let (namespace, name) = (text(&server["metadata"]["namespace"]), text(&server["metadata"]["name"]));
        let change = json!({"metadata": {"annotations": {"test/stored-at": "v1beta1"}}});
        cluster.admin.merge("mcpservers", &namespace, &name, &change).await?.success()?;
    }
    for definition in crds.definitions() {
        let mut versions = definition["spec"]["versions"].as_array().into_iter().flatten();
        let storage = versions.find(|version| version["storage"] == true).context("no version is stored")?;
        let stored = json!({"status": {"storedVersions": [storage["name"]]}});
        let path = format!("{}/status", crd_path(definition));
        cluster.admin.merge_path(&path, &stored).await?.success()?;
    }
    Ok(())
}
