//! The two workloads of a server, and which field of the custom resource declares the count of each.

use crate::facts::kind::ServerKind;
use crate::facts::spec_fields::{BACKEND_REPLICAS, BACKEND_REPLICAS_PATH, REPLICAS, REPLICAS_PATH};

/// The count that Kubernetes gives a workload without `spec.replicas`.
pub const DEFAULT_REPLICAS: u32 = 1;

/// A workload that ToolHive runs for a server. Both bear the server's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Workload {
    /// The proxy runner's pods, made by the operator. A `VirtualMCPServer` and an `MCPRemoteProxy` have only this one.
    Deployment,
    /// The MCP server's own pods (the backend), made by the proxy runner of an `MCPServer`.
    StatefulSet,
}

impl Workload {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Deployment, Self::StatefulSet];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Deployment => Self::StatefulSet,
            Self::StatefulSet => Self::Deployment,
        }
    }

    /// `kind`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
        }
    }

    /// The name of the resource in a path and in an admission request.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
        }
    }

    /// The workload of this `kind` in this API group.
    pub fn from_kind(group: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| group == "apps" && workload.kind() == kind)
    }

    /// The workload of this resource name in this API group.
    pub fn from_resource(group: &str, resource: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| group == "apps" && workload.resource() == resource)
    }

    /// The kinds of custom resource that ToolHive runs such a workload for.
    pub fn owner_kinds(self) -> &'static [ServerKind] {
        match self {
            Self::Deployment => &ServerKind::ALL,
            Self::StatefulSet => &[ServerKind::McpServer],
        }
    }

    /// The field of the custom resource that declares this workload's count.
    pub fn declared_in(self) -> &'static str {
        match self {
            Self::Deployment => REPLICAS,
            Self::StatefulSet => BACKEND_REPLICAS,
        }
    }

    /// The same field, as the names that lead to it.
    pub fn declared_at(self) -> &'static [&'static str] {
        match self {
            Self::Deployment => REPLICAS_PATH,
            Self::StatefulSet => BACKEND_REPLICAS_PATH,
        }
    }
}
