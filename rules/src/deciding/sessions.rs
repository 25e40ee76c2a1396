//! Says whether more than one replica would lose sessions, or be of no use to them.

use crate::facts::kind::ServerKind;
use crate::facts::session_storage::SessionStorage;
use crate::facts::transport::Transport;
use crate::facts::workload::Workload;

/// Returns whether `replicas` of this workload are backends, and a session of this transport stays in the one that began it,
/// whatever the storage.
///
/// The proxy finds the backend of a session by the header `Mcp-Session-Id`, which only `streamable-http` has. Redis holds the
/// sessions of the proxies; what the server itself keeps of a session is in the memory of its pod.
///
/// Source: `pkg/transport/proxy/transparent/transparent_proxy.go` in ToolHive v0.13.0 to v0.63.0.
pub fn binds_sessions_to_a_backend(workload: Workload, transport: Transport, replicas: u32) -> bool {
    workload == Workload::StatefulSet && transport == Transport::Sse && replicas > 1
}

/// Returns whether `replicas` of this workload are backends, and a session of this transport goes to the backend of whatever proxy
/// it comes through, whatever the storage. When its proxy ends, another backend answers, which does not know what the first one
/// had in its memory for the session; the call succeeds all the same.
///
/// The proxy stores the address of the Service of the backends for a session, and not that of a pod.
///
/// Source: `Transport` in `pkg/transport/http.go` and `pkg/transport/proxy/transparent/transparent_proxy.go` of ToolHive v0.13.0 to
/// v0.63.0; docs/sessions.md has what was measured.
pub fn pins_no_session_to_a_backend(workload: Workload, transport: Transport, replicas: u32) -> bool {
    workload == Workload::StatefulSet && transport == Transport::StreamableHttp && replicas > 1
}

/// Returns whether some of `backends` get no request from `proxies`: the Service in front of the backends keeps each proxy, by its IP
/// address, at one backend. Without a proxy nothing gets a request, and `stdio` has one of both.
///
/// Source: `createMCPService` in `pkg/container/kubernetes/client.go` of ToolHive v0.13.0 to v0.63.0, and ToolHive #5738.
pub fn leaves_backends_idle(transport: Transport, proxies: u32, backends: u32) -> bool {
    transport != Transport::Stdio && proxies > 0 && backends > proxies
}

/// Returns whether `requested` replicas lose sessions: there is more than one, and they do not share a storage.
pub fn sessions_at_risk(storage: SessionStorage, requested: u32) -> bool {
    requested > 1 && storage != SessionStorage::Redis
}

/// Returns whether `replicas` of a server of this transport lose sessions that Redis would keep. With `stdio` only one of them has
/// any: its count becomes 1, or nobody can use the others.
pub fn needs_redis(transport: Transport, storage: SessionStorage, replicas: u32) -> bool {
    transport != Transport::Stdio && sessions_at_risk(storage, replicas)
}

/// The most of these counts of a server's workloads, if so many replicas lose sessions. `None` if none do, or if the storage is
/// not known.
pub fn unshared_replicas(
    transport: Transport,
    storage: Option<SessionStorage>,
    counts: impl IntoIterator<Item = u32>,
) -> Option<u32> {
    let storage = storage?;
    counts.into_iter().max().filter(|most| needs_redis(transport, storage, *most))
}

/// Returns whether the pods of a server get the default Redis of ToolHive's operator, `used` or known as the default,
/// although memory is `declared`. They get its address and not its password, so that they fail at start
/// if it has one. A server that declares nothing gets both, and an `MCPRemoteProxy` that declares memory uses it.
///
/// Source: `populateScalingConfig`, `populateScalingConfigForRemoteProxy` and `buildRedisPasswordEnvVar` in `cmd/thv-operator/controllers`, from ToolHive v0.30.1 on.
pub fn lacks_redis_password(kind: ServerKind, declared: Option<SessionStorage>, used: Option<SessionStorage>) -> bool {
    let is_overridden = (declared, used) == (Some(SessionStorage::Memory), Some(SessionStorage::Redis));
    is_overridden && kind != ServerKind::McpRemoteProxy
}

/// The storage that the pods of a server use, if ToolHive's operator has this `default`: it is Redis instead of a declared memory
/// too, [without its password](lacks_redis_password).
pub fn storage_in_use(kind: ServerKind, declared: Option<SessionStorage>, default: SessionStorage) -> SessionStorage {
    if lacks_redis_password(kind, declared, Some(default)) { default } else { declared.unwrap_or(default) }
}
