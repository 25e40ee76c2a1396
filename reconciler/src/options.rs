//! The settings of the reconciler.

use std::num::NonZeroU32;

use mcp_scaling_rules::SessionStorage;

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

/// The settings of the reconciler.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The storage of an `MCPServer` without `spec.sessionStorage`, for `LiveReplicasWarning`. ToolHive's own conditions
    /// ignore it.
    pub default_session_storage: SessionStorage,
    /// Which counts it sets.
    pub counts: Counts,
    /// How many writes a second it makes at most, events included. The Lease for leader election is apart from it.
    pub writes_per_second: NonZeroU32,
    /// Log the writes instead of making them.
    pub dry_run: bool,
}
