//! The test cluster: how it starts, its namespaces and ToolHive's custom resource definitions.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use mcp_scaling_rules::kind::{GROUP, ServerKind};
use serde_json::{Value, json};

use crate::accounts::{AUTOSCALER, KEDA, OPERATOR};
use crate::control_plane::ControlPlane;
use crate::inputs::Inputs;
use crate::kubeconfig::client;
use crate::kubewarden::{CONTROLLER_LOG, Controller};
use crate::manifests::read_manifest;
use crate::node;
use crate::objects::custom_resource;
use crate::process::Process;
use crate::requests::{ApiClient, Response, text};
use crate::toolhive::Operator;
use crate::toolhive_crds::{self, ToolHiveCrds};
use crate::wait::{wait_for_value, wait_until};
use crate::webhook::Webhook;

/// A cluster with ToolHive's definitions and the permissions that this repository's manifests grant. Its processes stop
/// when it is dropped.
pub struct TestCluster {
    /// An administrator, whom the policy takes for a person.
    pub admin: ApiClient,
    // Dropped in this order: what uses the API server before the API server.
    pub(crate) operator: Option<Operator>,
    pub(crate) kubewarden: Option<Controller>,
    /// KWOK, which simulates the node.
    pub(crate) kwok: Option<Process>,
    pub(crate) reconcilers: Vec<Process>,
    pub(crate) webhook: Webhook,
    pub(crate) control_plane: ControlPlane,
    pub(crate) inputs: Inputs,
    pub(crate) admin_kubeconfig: PathBuf,
    crds: Definitions,
}

/// ToolHive's definitions in the API server.
struct Definitions {
    /// The name of [`ToolHiveCrds`]. `None` where it failed to install or to remove them all.
    name: Option<String>,
    /// The version of the API group that the API server prefers.
    version: &'static str,
    installed: Vec<Value>,
}

/// What runs in the test cluster when a test begins.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Whether the policy's webhook is installed, with default settings.
    pub webhook: bool,
    /// Whether one reconciler runs; otherwise none does.
    pub reconciler: bool,
    /// The release of ToolHive whose definitions are installed, and then neither an operator nor the controllers of
    /// Kubernetes run; `None` for tests that install their own definitions or need none.
    pub crds: Option<&'static str>,
}

impl TestCluster {
    /// Starts a cluster with the newest definitions of ToolHive, without the webhook and the reconciler.
    ///
    /// # Errors
    /// Where the control plane does not start.
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
    /// Where something does not start or stop.
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

    /// Creates a namespace and returns its name.
    ///
    /// # Errors
    /// Where it already exists.
    pub async fn create_namespace(&self, name: &str) -> Result<String> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.admin.post_path("/api/v1/namespaces", &namespace).await?.success()?;
        Ok(name.to_owned())
    }

    /// An `MCPServer` at the version that the API server prefers.
    pub fn mcp_server(&self, name: &str, spec: Value) -> Value {
        custom_resource(ServerKind::McpServer, self.toolhive_version(), name, spec)
    }

    /// Creates an `MCPServer` as a person does.
    ///
    /// # Errors
    /// Where the API server rejects it.
    pub async fn create_mcp_server(&self, namespace: &str, name: &str, spec: Value) -> Result<Response> {
        self.admin.create(ServerKind::McpServer.resource(), namespace, &self.mcp_server(name, spec)).await?.success()
    }

    /// The version of ToolHive's API group that the API server prefers.
    pub fn toolhive_version(&self) -> &'static str {
        self.crds.version
    }

    /// Makes sure that the definitions of the release with this tag are installed, and no others of ToolHive, as
    /// [`TestCluster::require_crds`] does.
    ///
    /// # Errors
    /// [`crate::Ignored`] where they cannot be had on this machine; another error where the API server does not remove or
    /// serve definitions.
    pub async fn require_crds_of(&mut self, tag: &str) -> Result<()> {
        if self.crds.name.as_deref() == Some(tag) {
            return Ok(());
        }
        self.require_crds(&ToolHiveCrds::find(tag)?).await
    }

    /// Makes sure that these definitions are installed, and no others of ToolHive. Where that changes something, no
    /// operator runs afterwards, and every custom resource is removed.
    ///
    /// # Errors
    /// Where the API server does not remove or serve them.
    pub async fn require_crds(&mut self, crds: &ToolHiveCrds) -> Result<()> {
        if self.crds.name.as_deref() == Some(crds.name()) {
            return Ok(());
        }
        self.remove_definitions().await?;
        self.install_crds(crds).await
    }

    /// Installs ToolHive's definitions, over those of another release, as an upgrade of ToolHive does.
    ///
    /// # Errors
    /// Where the API server does not serve them.
    pub async fn install_crds(&mut self, crds: &ToolHiveCrds) -> Result<()> {
        let (version, definitions) = (crds.version(), crds.definitions());
        self.admin.set_toolhive_version(version);
        self.crds.name = None;
        self.crds.version = version;
        self.crds.installed.retain(|old| definitions.iter().all(|new| crd_path(new) != crd_path(old)));
        self.crds.installed.extend_from_slice(definitions);
        for definition in definitions {
            self.install_crd(definition).await?;
        }
        // The handler of a definition changes a moment after the definition.
        let path = format!("{}?dryRun=All", self.admin.path(ServerKind::McpServer.resource(), "toolhive-system"));
        let server = self.mcp_server("crd-probe", json!({}));
        wait_until("an MCPServer can be created", || async {
            Ok(self.admin.post_path(&path, &server).await?.code < 300)
        })
        .await?;
        self.crds.name = Some(crds.name().to_owned());
        Ok(())
    }

    async fn remove_definitions(&mut self) -> Result<()> {
        self.stop_operator();
        self.crds.name = None;
        // Custom resources wait for an operator that removes its finalizer, and definitions for their custom resources.
        let servers = format!("/apis/{GROUP}/{}/{}", self.crds.version, ServerKind::McpServer.resource());
        for server in self.admin.get_path(&servers).await?.body["items"].as_array().into_iter().flatten() {
            let (namespace, name) = (text(&server["metadata"]["namespace"]), text(&server["metadata"]["name"]));
            let finalizers = json!({"metadata": {"finalizers": null}});
            self.admin.merge(ServerKind::McpServer.resource(), &namespace, &name, &finalizers).await?.success()?;
        }
        let paths: Vec<String> = self.crds.installed.iter().map(crd_path).collect();
        for definition in &self.crds.installed {
            self.wait_until_served(definition).await?;
        }
        for path in &paths {
            let response = self.admin.delete_path(path).await?;
            // An earlier try that failed may have removed it.
            if response.code != 404 {
                response.success()?;
            }
        }
        for path in &paths {
            // Its conditions tell why it is still there.
            let conditions = || async {
                let response = self.admin.get_path(path).await?;
                Ok((response.code != 404).then(|| response.body["status"]["conditions"].to_string()))
            };
            wait_for_value(&format!("conditions of {path}"), &None, conditions).await?;
        }
        self.crds.installed.clear();
        Ok(())
    }

    /// Installs a definition and waits until the API server serves the first version of it that is to be served.
    ///
    /// # Errors
    /// Where it does not serve it.
    pub async fn install_crd(&self, definition: &Value) -> Result<()> {
        self.apply(definition).await?;
        self.wait_until_served(definition).await
    }

    /// Waits until the API server serves the first version of a definition that is to be served.
    async fn wait_until_served(&self, definition: &Value) -> Result<()> {
        let spec = &definition["spec"];
        let mut versions = spec["versions"].as_array().into_iter().flatten();
        let version = versions.find(|version| version["served"] == true).context("no version is served")?;
        let version = text(&version["name"]);
        let path = format!("/apis/{}/{version}/{}", text(&spec["group"]), text(&spec["names"]["plural"]));
        let code = || async { Ok(self.admin.get_path(&path).await?.code) };
        wait_for_value(&format!("response code of GET {path}"), &200, code).await
    }

    /// Stops the API server. etcd and everything else go on.
    pub fn stop_api_server(&mut self) {
        self.control_plane.stop_api_server();
    }

    /// Starts the API server again, with the data that it had.
    ///
    /// # Errors
    /// Where it does not become ready.
    pub async fn start_api_server(&mut self) -> Result<()> {
        self.control_plane.start_api_server().await
    }

    /// Starts kube-controller-manager. From then on the controllers of Kubernetes work on everything in the cluster:
    /// they create pods, delete objects whose owner was deleted, and scale the targets of autoscalers.
    ///
    /// # Errors
    /// [`crate::Ignored`] where the control plane has no kube-controller-manager; another error where it does not
    /// start.
    pub async fn start_controller_manager(&mut self) -> Result<()> {
        self.control_plane.start_controller_manager().await
    }

    /// Stops kube-controller-manager.
    pub fn stop_controller_manager(&mut self) {
        self.control_plane.stop_controller_manager();
    }

    /// The entries of the API server's audit log so far.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn audit_log(&self) -> Result<Vec<Value>> {
        self.audit_log_from(0)
    }

    /// The length of the audit log so far, in bytes.
    pub(crate) fn audit_log_length(&self) -> Result<u64> {
        Ok(self.open_audit_log()?.metadata()?.len())
    }

    /// The entries of the audit log after this length.
    pub(crate) fn audit_log_from(&self, length: u64) -> Result<Vec<Value>> {
        let mut file = self.open_audit_log()?;
        file.seek(SeekFrom::Start(length))?;
        let mut log = String::new();
        file.read_to_string(&mut log)?;
        // The last line may not be complete yet.
        Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    fn open_audit_log(&self) -> Result<File> {
        File::open(self.control_plane.folder.path("audit.log")).context("cannot read the audit log")
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

/// The path of a definition.
pub fn crd_path(definition: &Value) -> String {
    let name = text(&definition["metadata"]["name"]);
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
}
