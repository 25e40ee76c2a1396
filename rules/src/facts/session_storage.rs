//! Where a server keeps its sessions.

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
