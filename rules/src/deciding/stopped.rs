//! Which workload of an `MCPServer` has no replicas while the other one has some.
//!
//! Proxies at 0 leave the backend running, which nobody can reach then (ToolHive #4484). Proxies without a backend answer with
//! errors, and each one that starts ends within a second (seen with ToolHive v0.10.0 and v0.47.0).

use crate::facts::kind::ServerKind;
use crate::facts::workload::{DEFAULT_REPLICAS, Workload};
use crate::reading::scaling::Scaling;

/// The workload that has no replicas while the other one has some.
pub fn stopped_alone(count: impl Fn(Workload) -> u32) -> Option<Workload> {
    Workload::ALL.into_iter().find(|workload| count(*workload) == 0 && count(workload.other()) > 0)
}

/// The workload that a spec declares as stopped alone. Only an `MCPServer` has two.
pub fn declared_alone(kind: ServerKind, scaling: &Scaling) -> Option<Workload> {
    let count = |workload: Workload| workload.declared(scaling).unwrap_or(DEFAULT_REPLICAS);
    stopped_alone(count).filter(|_| kind == ServerKind::McpServer)
}

/// The workload that a spec stops alone and that the `old` one did not stop. A count that is no longer declared stays as it was. A
/// server that is created without proxies has no backend, because a proxy makes it.
pub fn newly_declared_alone(kind: ServerKind, new: &Scaling, old: Option<&Scaling>) -> Option<Workload> {
    let Some(old) = old else {
        return declared_alone(kind, new).filter(|workload| *workload == Workload::StatefulSet);
    };
    let kept = |workload: Workload| workload.declared(new).or(workload.declared(old));
    let scaling =
        Scaling { replicas: kept(Workload::Deployment), backend_replicas: kept(Workload::StatefulSet), ..*new };
    declared_alone(kind, &scaling).filter(|workload| workload.declared(old) != Some(0))
}

/// Returns whether a request that sets this workload from `old` to `new` replicas starts the proxies alone: no release of ToolHive
/// raises a backend from 0 with them, unless the spec declares its count, which a proxy that starts sets.
pub fn starts_alone(kind: ServerKind, workload: Workload, scaling: &Scaling, old: Option<u32>, new: u32) -> bool {
    let is_start = workload == Workload::Deployment && old == Some(0) && new > 0;
    kind == ServerKind::McpServer && is_start && scaling.backend_replicas.is_none_or(|declared| declared == 0)
}

/// Returns whether a spec no longer declares that the backend is stopped, with proxies that may run. The policy preserves the 0 of
/// a StatefulSet without a declared count against the proxy runner.
pub fn frees_stopped_backend(kind: ServerKind, new: &Scaling, old: &Scaling) -> bool {
    let is_freed = old.backend_replicas == Some(0) && new.backend_replicas.is_none();
    kind == ServerKind::McpServer && is_freed && new.replicas != Some(0)
}

/// Returns whether a request that sets this workload to 0 stops it alone. What the spec declares for a workload soon takes the
/// place of what is requested, and the other workload has one replica unless the spec says otherwise.
pub fn stops_alone(kind: ServerKind, workload: Workload, scaling: &Scaling) -> bool {
    let count = |of: Workload| of.declared(scaling).unwrap_or(if of == workload { 0 } else { DEFAULT_REPLICAS });
    kind == ServerKind::McpServer && stopped_alone(count) == Some(workload)
}
