//! The test cluster: its parts, its namespaces and custom resources, and what can be stopped.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use mcp_scaling_rules::kind::ServerKind;
use serde_json::{Value, json};

use crate::components::{Controller, Definitions, Operator, Webhook};
use crate::control_plane::ControlPlane;
use crate::inputs::Inputs;
use crate::objects::custom_resource;
use crate::process::Process;
use crate::requests::{ApiClient, Response};

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
    pub(crate) crds: Definitions,
}

impl TestCluster {
    /// Creates a namespace and returns its name.
    ///
    /// # Errors
    /// If it already exists.
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
    /// If the API server rejects it.
    pub async fn create_mcp_server(&self, namespace: &str, name: &str, spec: Value) -> Result<Response> {
        self.admin.create(ServerKind::McpServer.resource(), namespace, &self.mcp_server(name, spec)).await?.success()
    }

    /// The version of ToolHive's API group that the API server prefers.
    pub fn toolhive_version(&self) -> &'static str {
        self.crds.version
    }

    /// Stops the API server. etcd and everything else go on.
    pub fn stop_api_server(&mut self) {
        self.control_plane.stop_api_server();
    }

    /// Starts the API server again, with the data that it had.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_api_server(&mut self) -> Result<()> {
        self.control_plane.start_api_server().await
    }

    /// Starts kube-controller-manager. From then on the controllers of Kubernetes work on everything in the cluster:
    /// they create pods, delete objects whose owner was deleted, and scale the targets of autoscalers.
    ///
    /// # Errors
    /// [`crate::Ignored`] if the control plane has no kube-controller-manager; another error if it does not
    /// start.
    pub async fn start_controller_manager(&mut self) -> Result<()> {
        self.control_plane.start_controller_manager().await
    }

    /// Kills the operator, if one runs.
    pub fn stop_operator(&mut self) {
        self.operator = None;
    }

    /// Stops kube-controller-manager.
    pub fn stop_controller_manager(&mut self) {
        self.control_plane.stop_controller_manager();
    }

    /// The entries of the API server's audit log so far.
    ///
    /// # Errors
    /// If the log cannot be read.
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
}
