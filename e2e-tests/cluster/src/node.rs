//! A node that KWOK simulates. It runs no programs: pods become running and ready at once, and those that are deleted go
//! away. So rollouts complete, as they do in a cluster with nodes.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::ignored::Ignored;
use crate::inputs::{path_from_script, workspace_root};
use crate::process::{Process, tied_to_this_thread};
use crate::test_cluster::TestCluster;
use crate::wait::wait_until;

/// The name of KWOK's log.
pub(crate) const LOG: &str = "kwok.log";

const NAME: &str = "simulated-node";
const NODES: &str = "/api/v1/nodes";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";

impl TestCluster {
    /// Makes sure that the cluster has a node. Pods that are created from then on run on it: a MutatingAdmissionPolicy does
    /// the work of the scheduler, which the control plane does not have.
    ///
    /// # Errors
    /// [`Ignored`] if KWOK cannot be had on this machine, or if the API server is older than Kubernetes 1.36; another
    /// error if KWOK does not start.
    pub async fn require_node(&mut self) -> Result<()> {
        if let Some(kwok) = &mut self.kwok
            && kwok.exit_status()?.is_none()
        {
            return Ok(());
        }
        let program = path_from_script("kwok", &[])?;
        if self.admin.get_path(POLICIES).await?.code == 404 {
            bail!(Ignored("a simulated node needs MutatingAdmissionPolicies, and so Kubernetes 1.36".to_owned()));
        }
        let folder = &self.control_plane.folder;
        let mut command = tied_to_this_thread(&program);
        command.arg("--kubeconfig").arg(&self.admin_kubeconfig).arg("--manage-all-nodes");
        // The node's Lease; without it the controllers of Kubernetes take the node for lost after less than a minute.
        command.arg("--node-lease-duration-seconds=40");
        command.arg("--config").arg(workspace_root().join("e2e-tests/cluster/kwok.yaml"));
        self.kwok = Some(Process::start(command, folder.open_log(LOG)?)?);
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME}});
        self.apply(&node).await?;
        let is_ready = || async {
            let node = self.admin.get_path(&format!("{NODES}/{NAME}")).await?.success()?.body;
            let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            Ok(conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True"))
        };
        wait_until("the simulated node is ready", is_ready).await?;
        for object in scheduler() {
            self.apply(&object).await?;
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node-probe"},
            "spec": {"containers": [{"name": "probe", "image": "example/probe"}]},
        });
        let is_bound = || async {
            let path = "/api/v1/namespaces/toolhive-system/pods?dryRun=All";
            Ok(self.admin.post_path(path, &pod).await?.success()?.body["spec"]["nodeName"] == NAME)
        };
        wait_until("new pods are bound to the simulated node", is_bound).await
    }

    /// Removes the node, if the cluster has one. The controllers of Kubernetes then delete its pods.
    ///
    /// # Errors
    /// If the API server does not remove it.
    pub(crate) async fn remove_node(&mut self) -> Result<()> {
        if self.kwok.take().is_none() {
            return Ok(());
        }
        for path in [BINDINGS, POLICIES, NODES] {
            let response = self.admin.delete_path(&format!("{path}/{NAME}")).await?;
            // A start that failed has not created them all.
            if response.code != 404 {
                response.success()?;
            }
        }
        Ok(())
    }
}

/// The policy that binds every new pod to the node.
fn scheduler() -> [Value; 2] {
    let pods = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]});
    let expression = format!("Object{{spec: Object.spec{{nodeName: '{NAME}'}}}}");
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": NAME},
        "spec": {
            "matchConstraints": {"resourceRules": [pods]}, "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": NAME}, "spec": {"policyName": NAME},
    });
    [policy, binding]
}
