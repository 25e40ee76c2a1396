//! The status conditions on an `MCPServer` that speak of scaling.
//!
//! Two are judged from `spec.replicas` alone. Their types and reasons are those that ToolHive operators write from v0.13 on
//! (`cmd/thv-operator/api/*/mcpserver_types.go`), so that readers and alerts find one vocabulary whoever wrote them.

use crate::replicas::exceeds_stdio_cap;
use crate::server::Scaling;
use crate::session_storage::sessions_at_risk;

/// `type` of the condition that tells a capped `stdio` server.
pub const STDIO_REPLICA_CAPPED: &str = "StdioReplicaCapped";
/// `type` of the condition that tells a server whose replicas do not share their sessions.
pub const SESSION_STORAGE_WARNING: &str = "SessionStorageWarning";

/// `type` of our own condition, which tells what `spec.replicas` does not: how many replicas the workloads are set to run.
/// ToolHive has no such type, so that nobody else writes it.
pub const LIVE_REPLICAS_WARNING: &str = "LiveReplicasWarning";

/// Values of `reason`.
pub mod reasons {
    /// `spec.replicas` is above one with transport `stdio`.
    pub const STDIO_TRANSPORT_CAP_AT_1: &str = "StdioTransportCapAt1";
    /// The stdio cap does not apply.
    pub const STDIO_REPLICA_CAP_NOT_ACTIVE: &str = "StdioReplicaCapNotActive";
    /// `spec.replicas` is above one without Redis.
    pub const SESSION_STORAGE_MISSING_FOR_REPLICAS: &str = "SessionStorageMissingForReplicas";
    /// `spec.replicas` is above one with Redis.
    pub const SESSION_STORAGE_CONFIGURED: &str = "SessionStorageConfigured";
    /// `spec.replicas` is absent or at most one.
    pub const SESSION_STORAGE_WARNING_NOT_APPLICABLE: &str = "SessionStorageWarningNotApplicable";
    /// A workload of a `stdio` server was set to more than one replica, which the spec does not ask for.
    pub const LIVE_REPLICAS_ABOVE_STDIO_CAP: &str = "LiveReplicasAboveStdioCap";
    /// A workload runs more than one replica without Redis, which `SessionStorageWarning` does not tell.
    pub const LIVE_REPLICAS_WITHOUT_SESSION_STORAGE: &str = "LiveReplicasWithoutSessionStorage";
    /// The live counts fit the server again.
    pub const LIVE_REPLICAS_FIT: &str = "LiveReplicasFit";
}

/// What a condition on an `MCPServer` should say. Time and generation are the writer's to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub type_: &'static str,
    /// `status`: `True` or `False`.
    pub status: &'static str,
    /// `reason`, one of [`reasons`].
    pub reason: &'static str,
    /// `message`, for people.
    pub message: &'static str,
}

/// Both conditions of ToolHive's for a server. The third, [`LIVE_REPLICAS_WARNING`], is not judged from the spec.
pub fn conditions(server: &Scaling) -> [Condition; 2] {
    [stdio_replica_capped(server), session_storage_warning(server)]
}

fn stdio_replica_capped(server: &Scaling) -> Condition {
    let (status, reason, message) = match server.replicas {
        Some(count) if exceeds_stdio_cap(server.transport, count) => {
            ("True", reasons::STDIO_TRANSPORT_CAP_AT_1, "transport stdio runs 1 replica; spec.replicas asks for more")
        }
        _ => ("False", reasons::STDIO_REPLICA_CAP_NOT_ACTIVE, "the stdio replica cap does not apply"),
    };
    Condition { type_: STDIO_REPLICA_CAPPED, status, reason, message }
}

fn session_storage_warning(server: &Scaling) -> Condition {
    let (status, reason, message) = match server.replicas {
        Some(count) if sessions_at_risk(server.session_storage, count) => (
            "True",
            reasons::SESSION_STORAGE_MISSING_FOR_REPLICAS,
            "spec.replicas is above 1 and spec.sessionStorage.provider is not redis: replicas do not share sessions",
        ),
        Some(count) if count > 1 => {
            ("False", reasons::SESSION_STORAGE_CONFIGURED, "replicas share their sessions in Redis")
        }
        _ => ("False", reasons::SESSION_STORAGE_WARNING_NOT_APPLICABLE, "spec.replicas is not above 1"),
    };
    Condition { type_: SESSION_STORAGE_WARNING, status, reason, message }
}
