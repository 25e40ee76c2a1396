//! The labels by which ToolHive's objects are known, and the name of the ConfigMap with a run configuration.
//!
//! Source: `cmd/thv-operator/controllers` (Deployments) and `pkg/container/kubernetes` and `pkg/labels`
//! (StatefulSets).

/// On Deployments: which kind of custom resource they are made for. The values are [`crate::ServerKind::app_name`].
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// On StatefulSets: the server's name, and the only label that their selector has.
pub const APP: &str = "app";
/// On both workloads, with the value [`TOOLHIVE_VALUE`].
pub const TOOLHIVE: &str = "toolhive";
/// The value of [`TOOLHIVE`].
pub const TOOLHIVE_VALUE: &str = "true";
/// On both workloads: the server's name.
pub const TOOLHIVE_NAME: &str = "toolhive-name";
/// On StatefulSets: the transport. Up to ToolHive v0.7.2 it is the proxy's mode on `stdio` servers.
pub const TOOLHIVE_TRANSPORT: &str = "toolhive-transport";
/// On ConfigMaps of the operator, with the value [`COMPONENT_RUN_CONFIG`] on those with a run configuration.
pub const COMPONENT: &str = "toolhive.stacklok.io/component";
/// The value of [`COMPONENT`].
pub const COMPONENT_RUN_CONFIG: &str = "run-config";
/// On the ConfigMap with the run configuration of an `MCPServer`: the server's name.
pub const MCP_SERVER: &str = "toolhive.stacklok.io/mcp-server";
/// The end of the name of such a ConfigMap; before it comes the server's name.
pub const RUN_CONFIG_SUFFIX: &str = "-runconfig";
