//! Whether more than one replica would lose sessions, or be of no use to them.

use crate::session_storage::SessionStorage;
use crate::transport::Transport;

/// Returns whether a session of this transport stays in the one backend of `backends` that began it, whatever the storage.
///
/// The proxy finds the backend of a session by the header `Mcp-Session-Id`, which only `streamable-http` has.
///
/// Source: `pkg/transport/proxy/transparent/transparent_proxy.go` in ToolHive v0.13.0 to v0.62.0.
pub fn binds_sessions_to_a_backend(transport: Transport, backends: u32) -> bool {
    transport == Transport::Sse && backends > 1
}

/// Returns whether some of `backends` get no request from `proxies`: the Service in front of the backends keeps each proxy, by its IP
/// address, at one backend. Without a proxy nothing gets a request, and `stdio` has one of both.
///
/// Source: `createMCPService` in `pkg/container/kubernetes/client.go` of ToolHive v0.13.0 to v0.62.0, and ToolHive #5738.
pub fn leaves_backends_idle(transport: Transport, proxies: u32, backends: u32) -> bool {
    transport != Transport::Stdio && proxies > 0 && backends > proxies
}

/// Returns whether `requested` replicas lose sessions: there is more than one, and they do not share a storage.
pub fn sessions_at_risk(storage: SessionStorage, requested: u32) -> bool {
    requested > 1 && storage != SessionStorage::Redis
}

/// The most of these counts, if so many replicas lose sessions. `None` if none do, or if the storage is not known.
pub fn unshared_replicas(storage: Option<SessionStorage>, counts: impl IntoIterator<Item = u32>) -> Option<u32> {
    let storage = storage?;
    counts.into_iter().max().filter(|most| sessions_at_risk(storage, *most))
}
