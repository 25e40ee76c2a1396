//! What the test cluster can run besides the API server.

use anyhow::Result;
use cluster_tests::TestCluster;
use cluster_tests::objects::deployment;
use cluster_tests::setup::Setup;
use cluster_tests::wait::wait_for_value;
use serde_json::json;

use crate::harness::{Test, suite};

const SETUP: Setup = Setup { webhook: false, reconciler: false, crds: None };

pub(crate) fn tests() -> Vec<Test> {
    suite!("control_plane", SETUP, [runs_controllers_of_kubernetes])
}

async fn runs_controllers_of_kubernetes(cluster: &mut TestCluster) -> Result<()> {
    cluster.start_controller_manager().await?;
    let namespace = cluster.create_namespace("controllers").await?;
    let mut web = deployment(&cluster.mcp_server("web", json!({})), 2);
    web["metadata"]["ownerReferences"] = json!([]);
    cluster.admin.create("deployments", &namespace, &web).await?.success()?;
    let replica_sets = || async {
        let sets = cluster.admin.list("replicasets", &namespace).await?;
        Ok(sets.iter().map(|set| set["spec"]["replicas"].clone()).collect::<Vec<_>>())
    };
    wait_for_value("spec.replicas of the Deployment's ReplicaSets", &vec![json!(2)], replica_sets).await?;
    cluster.admin.delete("deployments", &namespace, "web").await?.success()?;
    wait_for_value("ReplicaSets of the deleted Deployment", &Vec::new(), replica_sets).await?;
    cluster.stop_controller_manager();
    Ok(())
}
