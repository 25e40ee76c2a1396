//! The kinds of custom resource that scale.

use crate::facts::transport::Transport;
use crate::named::named;

/// The API group of ToolHive's custom resources.
pub const GROUP: &str = "toolhive.stacklok.dev";

/// The API versions that ToolHive serves, newest first. `v1beta1` since v0.23; `v1alpha1` has the same schema.
pub const API_VERSIONS: [&str; 2] = ["toolhive.stacklok.dev/v1beta1", V1ALPHA1];

/// The API version of the releases before v0.23.
pub const V1ALPHA1: &str = "toolhive.stacklok.dev/v1alpha1";

/// The kind of custom resource that runs an embedding model, in a StatefulSet of its name. Nobody but its `spec.replicas`,
/// which is 1 if it is absent, decides the count of that: the operator of every release that has the kind sets it back.
///
/// Source: `cmd/thv-operator/controllers/embeddingserver_controller.go` in ToolHive v0.9.3 to v0.63.0.
pub const EMBEDDING_SERVER: &str = "EmbeddingServer";

named! {
    /// A kind of custom resource whose `spec.replicas` may be left to an autoscaler. The names are `kind`.
    ///
    /// Source: ToolHive's CRDs (`deploy/charts/operator-crds`) and the labels that its operator sets
    /// (`cmd/thv-operator/controllers`).
    pub enum ServerKind {
        /// An MCP server with a proxy (Deployment) and a backend (StatefulSet); the only kind whose transport can be `stdio`.
        McpServer = "MCPServer",
        /// Several MCP servers behind one endpoint.
        VirtualMcpServer = "VirtualMCPServer",
        /// A proxy for an MCP server that runs elsewhere.
        McpRemoteProxy = "MCPRemoteProxy",
    }
}

impl ServerKind {
    /// The name of the resource in a path and in an admission request.
    pub fn resource(self) -> &'static str {
        match self {
            Self::McpServer => "mcpservers",
            Self::VirtualMcpServer => "virtualmcpservers",
            Self::McpRemoteProxy => "mcpremoteproxies",
        }
    }

    /// The value of the label `app.kubernetes.io/name` on the Deployments that the operator makes for this kind.
    pub fn app_name(self) -> &'static str {
        match self {
            Self::McpServer => "mcpserver",
            Self::VirtualMcpServer => "virtualmcpserver",
            Self::McpRemoteProxy => "mcpremoteproxy",
        }
    }

    /// The name of the container in the Deployments that the operator makes for this kind.
    pub fn container_name(self) -> &'static str {
        match self {
            Self::McpServer | Self::McpRemoteProxy => "toolhive",
            Self::VirtualMcpServer => "vmcp",
        }
    }

    /// What an absent `spec.transport` means. Only `MCPServer` can be `stdio`, and is by default; the other kinds always
    /// use HTTP.
    pub fn default_transport(self) -> Transport {
        match self {
            Self::McpServer => Transport::Stdio,
            Self::VirtualMcpServer | Self::McpRemoteProxy => Transport::StreamableHttp,
        }
    }

    /// The custom resource of this `kind` in this API group.
    pub fn from_kind(group: &str, kind: &str) -> Option<Self> {
        Self::from_name(kind).filter(|_| group == GROUP)
    }

    /// The kind whose Deployments have this value of the label `app.kubernetes.io/name`.
    pub fn from_app_name(app_name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.app_name() == app_name)
    }
}
