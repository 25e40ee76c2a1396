//! The pods of an `MCPServer`, in a cluster with a node.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use mcp_scaling_rules::labels;
use serde_json::Value;

use crate::requests::text;
use crate::test_cluster::TestCluster;
use crate::toolhive::ToolHiveRelease;
use crate::wait::{wait_for_value, wait_until};

/// The UIDs of a server's pods. A pod that is replaced has another UID, even if the new one has the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerPods {
    /// The pods of its Deployment.
    pub proxies: BTreeSet<String>,
    /// The pods of its StatefulSet.
    pub backends: BTreeSet<String>,
}

impl TestCluster {
    /// The pods of an `MCPServer`, without those that are being deleted.
    ///
    /// # Errors
    /// If the API server does not list them.
    pub async fn server_pods(&self, namespace: &str, name: &str) -> Result<ServerPods> {
        let selector = format!("{}={name}", labels::TOOLHIVE_NAME);
        let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}");
        let list = self.admin.get_path(&path).await?.success()?.body;
        let mut pods = ServerPods::default();
        for pod in list["items"].as_array().into_iter().flatten() {
            let metadata = &pod["metadata"];
            let uids = match metadata["ownerReferences"][0]["kind"].as_str() {
                Some("ReplicaSet") => &mut pods.proxies,
                Some("StatefulSet") => &mut pods.backends,
                _ => continue,
            };
            if metadata["deletionTimestamp"].is_null() {
                uids.insert(text(&metadata["uid"]));
            }
        }
        Ok(pods)
    }

    /// Waits until the pods of an `MCPServer` run what its spec says. It runs the proxy runner, which the pods of a
    /// simulated node do not do.
    ///
    /// # Errors
    /// If a rollout does not complete, and as [`TestCluster::run_proxy_runner`].
    pub async fn complete_rollouts(&self, release: &ToolHiveRelease, namespace: &str, name: &str) -> Result<()> {
        let is_current = || self.has_current_proxies(namespace, name);
        wait_until(&format!("the operator has written the Deployment {namespace}/{name}"), is_current).await?;
        // At once, as by the first new pod: if ready proxies have no StatefulSet, the operator restarts them.
        self.run_proxy_runner(release, namespace, name).await?;
        self.wait_for_rollout_of("deployments", namespace, name).await?;
        self.wait_for_rollout_of("statefulsets", namespace, name).await
    }

    /// Says whether the Deployment of a server has the run configuration of the server's generation, and its declared count.
    async fn has_current_proxies(&self, namespace: &str, name: &str) -> Result<bool> {
        let server = self.admin.get("mcpservers", namespace, name).await?;
        let deployment = self.admin.get("deployments", namespace, name).await?;
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}-runconfig");
        let stored = self.admin.get_path(&path).await?.success()?.body;
        let configuration: Value = serde_json::from_str(&text(&stored["data"]["runconfig.json"]))?;
        let checksum =
            &deployment["spec"]["template"]["metadata"]["annotations"]["toolhive.stacklok.dev/runconfig-checksum"];
        let declared = &server["spec"]["replicas"];
        Ok(configuration["mcpserver_generation"] == server["metadata"]["generation"]
            && *checksum == stored["metadata"]["annotations"]["toolhive.stacklok.dev/content-checksum"]
            && (declared.is_null() || *declared == deployment["spec"]["replicas"]))
    }

    /// Waits until all pods of a workload are of its newest pod template, as many as it asks for, and ready.
    async fn wait_for_rollout_of(&self, resource: &str, namespace: &str, name: &str) -> Result<()> {
        let is_complete = || async {
            let workload = self.admin.get(resource, namespace, name).await?;
            let status = &workload["status"];
            let count = workload["spec"]["replicas"].as_u64().context("no spec.replicas")?;
            let are_all = |field: &str| status[field].as_u64().unwrap_or(0) == count;
            ensure!(
                status["observedGeneration"] == workload["metadata"]["generation"]
                    && ["replicas", "updatedReplicas", "readyReplicas"].into_iter().all(are_all),
                "{count} replicas at generation {}, status {status}",
                workload["metadata"]["generation"]
            );
            Ok(())
        };
        wait_for_value(&format!("rollout of {resource} {namespace}/{name}"), &(), is_complete).await
    }
}
