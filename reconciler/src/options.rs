//! The settings of the reconciler.

use std::num::NonZeroU32;

use mcp_scaling_rules::sessions::storage_in_use;
use mcp_scaling_rules::{Scaling, ServerKind, SessionStorage};

/// Which counts of workloads the reconciler sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Those that the server declares, those of `stdio` workloads above 1, and those that an operator reset.
    All,
    /// Those of `stdio` workloads above 1.
    Stdio,
    /// None.
    None,
}

/// Where the session storage of a server is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageSource {
    /// From `spec.sessionStorage`.
    Spec {
        /// The default storage of ToolHive's operator: that of a server without `spec.sessionStorage`, and, if it is Redis, also of a
        /// server that declares memory.
        default: SessionStorage,
    },
    /// From the ConfigMap with the server's run configuration, which tells the storage that is really used. A server without such a
    /// ConfigMap is not warned of.
    RunConfig,
}

impl StorageSource {
    /// The session storage of a server, `None` if it is not known. `run_config` is the one in its run configuration.
    pub(crate) fn storage(self, scaling: &Scaling, run_config: Option<SessionStorage>) -> Option<SessionStorage> {
        match self {
            Self::Spec { default } => Some(storage_in_use(ServerKind::McpServer, scaling.session_storage, default)),
            Self::RunConfig => run_config,
        }
    }
}

/// The settings of the reconciler.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where it reads the session storage of a server from, for `WorkloadReplicasWarning`. ToolHive's own conditions are decided from the
    /// spec.
    pub session_storage: StorageSource,
    /// Which counts it sets.
    pub counts: Counts,
    /// Says whether it scales the backend of a server without proxies to 0, and up again with them.
    pub couple_zero: bool,
    /// How many writes a second it makes at most, events included. The Lease for leader election is apart from it.
    pub writes_per_second: NonZeroU32,
    /// Log the writes instead of making them.
    pub dry_run: bool,
}
