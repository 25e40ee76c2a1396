//! The custom resources that scale, and the fields of theirs that the rules read.

use crate::replicas::Transport;
use crate::session_storage::SessionStorage;

/// The API group of ToolHive's custom resources.
pub const GROUP: &str = "toolhive.stacklok.dev";

/// The API versions that ToolHive serves, newest first. `v1beta1` since v0.23; `v1alpha1` has the same schema.
pub const API_VERSIONS: [&str; 2] = ["toolhive.stacklok.dev/v1beta1", "toolhive.stacklok.dev/v1alpha1"];

/// What tells one kind of scaling custom resource from another.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerKind {
    /// `kind` of the custom resource.
    pub name: &'static str,
    /// The value of `app.kubernetes.io/name` on the workloads the operator makes for it.
    pub label: &'static str,
    /// What an absent `spec.transport` means. Kinds without the field only ever speak HTTP.
    pub default_transport: Transport,
}

/// Every kind of custom resource that has `spec.replicas`.
pub const KINDS: [ServerKind; 3] = [
    ServerKind { name: "MCPServer", label: "mcpserver", default_transport: Transport::Stdio },
    ServerKind { name: "VirtualMCPServer", label: "virtualmcpserver", default_transport: Transport::StreamableHttp },
    ServerKind { name: "MCPRemoteProxy", label: "mcpremoteproxy", default_transport: Transport::StreamableHttp },
];

/// `MCPServer`, the only kind that runs a backend and that can be `stdio`.
pub const MCP_SERVER: &ServerKind = &KINDS[0];

impl ServerKind {
    /// The kind of this name in ToolHive's API group, whatever the version.
    pub fn from_name(group: &str, name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| group == GROUP && kind.name == name)
    }

    /// The kind that the operator marks with this `app.kubernetes.io/name`.
    pub fn from_label(label: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.label == label)
    }
}

/// The part of a custom resource's spec that decides how it may scale. Counts are those declared, `None` where the field
/// is absent and an autoscaler or a person owns the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// `spec.transport`.
    pub transport: Transport,
    /// `spec.replicas`: pods of the proxy-runner Deployment.
    pub replicas: Option<u32>,
    /// `spec.backendReplicas`: pods of the backend StatefulSet.
    pub backend_replicas: Option<u32>,
    /// `spec.sessionStorage.provider`.
    pub session_storage: SessionStorage,
}
