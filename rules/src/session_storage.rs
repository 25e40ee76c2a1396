//! Whether more than one replica would lose sessions.

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
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
        }
    }
}

/// Whether `requested` replicas lose sessions: there is more than one, and they do not share a storage.
pub fn sessions_at_risk(storage: SessionStorage, requested: u32) -> bool {
    requested > 1 && storage != SessionStorage::Redis
}
