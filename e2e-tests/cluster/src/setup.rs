//! How a test cluster starts, and what a test can rely on when it begins.

use anyhow::Result;
use serde_json::json;

use crate::accounts::{AUTOSCALER, KEDA, OPERATOR};
use crate::components::{Definitions, Webhook};
use crate::control_plane::ControlPlane;
use crate::inputs::Inputs;
use crate::kubeconfig::client;
use crate::kubewarden::CONTROLLER_LOG;
use crate::manifests::read_manifest;
use crate::node;
use crate::requests::ApiClient;
use crate::test_cluster::TestCluster;
use crate::toolhive_crds::{self, ToolHiveCrds};

/// What runs in the test cluster when a test begins.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Says whether the policy's webhook is installed, with default settings.
    pub webhook: bool,
    /// Says whether one reconciler runs; otherwise none does.
    pub reconciler: bool,
    /// The release of ToolHive whose definitions are installed, and then neither an operator nor the controllers of
    /// Kubernetes run; `None` for tests that install their own definitions or need none.
    pub crds: Option<&'static str>,
}

impl TestCluster {
    /// Starts a cluster with the newest definitions of ToolHive, without the webhook and the reconciler.
    ///
    /// # Errors
    /// If the control plane does not start.
    pub async fn start(inputs: Inputs) -> Result<Self> {
        let control_plane = ControlPlane::start(inputs.control_plane_assets.clone()).await?;
        let kubeconfig = control_plane.administrator()?;
        let crds = ToolHiveCrds::find(toolhive_crds::NEWEST)?;
        let mut cluster = Self {
            admin: ApiClient::new(client(&kubeconfig).await?, crds.version()),
            operator: None,
            kubewarden: None,
            kwok: None,
            reconcilers: Vec::new(),
            webhook: Webhook::default(),
            admin_kubeconfig: control_plane.folder.write("admin.kubeconfig", &kubeconfig.to_string())?,
            control_plane,
            inputs,
            crds: Definitions { name: None, version: crds.version(), installed: Vec::new() },
        };
        for namespace in ["toolhive-system", "kubewarden"] {
            cluster.create_namespace(namespace).await?;
        }
        // The permissions of these three are not what the suites test.
        cluster.grant_cluster_admin("test-operator", OPERATOR).await?;
        cluster.grant_cluster_admin("test-autoscaler", AUTOSCALER).await?;
        cluster.grant_cluster_admin("test-keda", KEDA).await?;
        for manifest in ["deploy/reconciler.yaml", "deploy/policy-server-rbac.yaml"] {
            // The test cluster has no nodes: the reconciler runs as a process of its own.
            for object in read_manifest(manifest)?.iter().filter(|object| object["kind"] != "Deployment") {
                cluster.apply(object).await?;
            }
        }
        let policy_server = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "policy-server", "namespace": "kubewarden"},
        });
        cluster.apply(&policy_server).await?;
        cluster.install_crds(&crds).await?;
        Ok(cluster)
    }

    /// Brings the cluster into this state, whatever an earlier test left.
    ///
    /// # Errors
    /// If something does not start or stop.
    pub async fn prepare(&mut self, setup: Setup) -> Result<()> {
        self.control_plane.start_api_server().await?;
        self.remove_kubewarden().await?;
        self.remove_node().await?;
        if !setup.reconciler {
            self.stop_reconcilers().await?;
        }
        if let Some(tag) = setup.crds {
            self.stop_operator();
            self.stop_controller_manager();
            self.require_crds_of(tag).await?;
        }
        match setup.webhook {
            true => self.require_default_webhook().await?,
            false => self.remove_webhook().await?,
        }
        if setup.reconciler {
            self.require_one_reconciler().await?;
        }
        Ok(())
    }

    /// The last lines of the logs that explain a failure.
    pub fn log_tails(&self) -> String {
        let webhook = self.webhook.is_running().then(|| "webhook.log".to_owned());
        let operator = self.operator.as_ref().map(|operator| operator.log.clone());
        let kubewarden = self.kubewarden.as_ref().map(|_| CONTROLLER_LOG.to_owned());
        let kwok = self.kwok.as_ref().map(|_| node::LOG.to_owned());
        let reconcilers = (0..self.reconcilers.len()).map(|index| format!("reconciler-{index}.log"));
        let tails = webhook
            .into_iter()
            .chain(operator)
            .chain(kubewarden)
            .chain(kwok)
            .chain(reconcilers)
            .map(|log| self.control_plane.folder.log_tail(&log));
        tails.collect::<Vec<_>>().join("\n")
    }
}
