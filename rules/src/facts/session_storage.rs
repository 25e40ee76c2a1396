//! Where a server keeps its sessions.

use crate::facts::kind::ServerKind;
use crate::named::named;

named! {
    /// Where a server keeps its sessions: `spec.sessionStorage.provider`.
    ///
    /// Source: ToolHive's CRD, where the field is an enum of these two names.
    pub enum SessionStorage {
        /// In the memory of each pod: another replica does not know the session.
        Memory = "memory",
        /// In Redis, shared by all replicas.
        Redis = "redis",
    }
}

/// The first release of ToolHive whose pods for this kind store sessions where `spec.sessionStorage` says.
///
/// From v0.13 to v0.15 an `MCPServer` and a `VirtualMCPServer` have the field, and their pods do not read it.
///
/// Source: ToolHive #4525, #4531 and #5237, and its CRDs: that of `MCPRemoteProxy` has the field from v0.30.0 on.
pub fn redis_since(kind: ServerKind) -> &'static str {
    match kind {
        ServerKind::McpServer | ServerKind::VirtualMcpServer => "v0.16",
        ServerKind::McpRemoteProxy => "v0.30",
    }
}
