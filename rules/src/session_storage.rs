//! Whether more than one replica would lose sessions, or be of no use to them.

use crate::transport::Transport;

/// Where a server keeps its sessions: `spec.sessionStorage.provider`.
///
/// Source: ToolHive's CRD, where the field is an enum of these two names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionStorage {
    /// In the memory of each pod: another replica does not know the session.
    Memory,
    /// In Redis, shared by all replicas.
    Redis,
}

impl SessionStorage {
    /// The storage with this name in a custom resource. The case of the letters counts; any other name is `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "memory" => Some(Self::Memory),
            "redis" => Some(Self::Redis),
            _ => None,
        }
    }

    /// The name of the storage in a custom resource.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
        }
    }
}

/// Whether a session of this transport stays in the one backend of `backends` that began it, whatever the storage.
///
/// The proxy finds the backend of a session by the header `Mcp-Session-Id`, which only `streamable-http` has.
///
/// Source: `pkg/transport/proxy/transparent/transparent_proxy.go` in ToolHive v0.13.0 to v0.62.0.
pub fn binds_sessions_to_a_backend(transport: Transport, backends: u32) -> bool {
    transport == Transport::Sse && backends > 1
}

/// Whether some of `backends` get no request from `proxies`: the Service in front of the backends keeps each proxy, by its IP
/// address, at one backend. Without a proxy nothing gets a request, and `stdio` has one of both.
///
/// Source: `createMCPService` in `pkg/container/kubernetes/client.go` of ToolHive v0.13.0 to v0.62.0, and ToolHive #5738.
pub fn leaves_backends_idle(transport: Transport, proxies: u32, backends: u32) -> bool {
    transport != Transport::Stdio && proxies > 0 && backends > proxies
}

/// Whether `requested` replicas lose sessions: there is more than one, and they do not share a storage.
pub fn sessions_at_risk(storage: SessionStorage, requested: u32) -> bool {
    requested > 1 && storage != SessionStorage::Redis
}
