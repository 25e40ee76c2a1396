//! The status conditions of an `MCPServer` that tell about scaling.
//!
//! Two of the types are ToolHive's, decided from the spec alone. Their names and reasons are those that its operators write
//! from v0.13 on (`cmd/thv-operator/api/*/mcpserver_types.go`), so that readers and alerts find the same words whoever wrote
//! them. The third type is ours.

use crate::scaling::Scaling;
use crate::session_storage::{SessionStorage, sessions_at_risk};
use crate::transport::exceeds_stdio_cap;

/// `type` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// Whether `spec.replicas` is above what `stdio` supports. ToolHive's.
    StdioReplicaCapped,
    /// Whether `spec.replicas` asks for replicas that do not share their sessions. ToolHive's.
    SessionStorageWarning,
    /// Whether the workloads are set to more replicas than the server supports, or `spec.backendReplicas` requests them, which
    /// ToolHive's conditions do not tell: they are decided from `spec.replicas`. Ours: no operator writes it.
    LiveReplicasWarning,
}

impl ConditionType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::StdioReplicaCapped, Self::SessionStorageWarning, Self::LiveReplicasWarning];

    /// The value of `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::StdioReplicaCapped => "StdioReplicaCapped",
            Self::SessionStorageWarning => "SessionStorageWarning",
            Self::LiveReplicasWarning => "LiveReplicasWarning",
        }
    }

    /// The type of this name, `None` for conditions that are not about scaling.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|type_| type_.name() == name)
    }
}

/// `status` of a condition that we write. Others may write `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// `True`.
    True,
    /// `False`.
    False,
}

impl ConditionStatus {
    /// The value of `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
        }
    }

    /// The status of this name, `None` for any other value.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::True, Self::False].into_iter().find(|status| status.name() == name)
    }
}

/// `reason` of a condition. Each belongs to one type and one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionReason {
    /// `spec.replicas` is above one with transport `stdio`.
    StdioTransportCapAt1,
    /// The stdio cap does not apply.
    StdioReplicaCapNotActive,
    /// `spec.replicas` is above one without Redis.
    SessionStorageMissingForReplicas,
    /// `spec.replicas` is above one with Redis.
    SessionStorageConfigured,
    /// `spec.replicas` is absent or at most one.
    SessionStorageWarningNotApplicable,
    /// `spec.backendReplicas` is above one with transport `stdio`.
    BackendReplicasAboveStdioCap,
    /// A workload of a `stdio` server was set to more than one replica, which the spec does not ask for.
    LiveReplicasAboveStdioCap,
    /// A workload is set to more than one replica without Redis, which `SessionStorageWarning` does not tell.
    LiveReplicasWithoutSessionStorage,
    /// The counts of the workloads fit the server again.
    LiveReplicasFit,
}

/// What a condition on an `MCPServer` should be. The writer adds the time and the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub type_: ConditionType,
    /// `status`.
    pub status: ConditionStatus,
    /// `reason`.
    pub reason: ConditionReason,
    /// `message`, for people.
    pub message: &'static str,
}

impl ConditionReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::StdioTransportCapAt1,
        Self::StdioReplicaCapNotActive,
        Self::SessionStorageMissingForReplicas,
        Self::SessionStorageConfigured,
        Self::SessionStorageWarningNotApplicable,
        Self::BackendReplicasAboveStdioCap,
        Self::LiveReplicasAboveStdioCap,
        Self::LiveReplicasWithoutSessionStorage,
        Self::LiveReplicasFit,
    ];

    /// The value of `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::StdioTransportCapAt1 => "StdioTransportCapAt1",
            Self::StdioReplicaCapNotActive => "StdioReplicaCapNotActive",
            Self::SessionStorageMissingForReplicas => "SessionStorageMissingForReplicas",
            Self::SessionStorageConfigured => "SessionStorageConfigured",
            Self::SessionStorageWarningNotApplicable => "SessionStorageWarningNotApplicable",
            Self::BackendReplicasAboveStdioCap => "BackendReplicasAboveStdioCap",
            Self::LiveReplicasAboveStdioCap => "LiveReplicasAboveStdioCap",
            Self::LiveReplicasWithoutSessionStorage => "LiveReplicasWithoutSessionStorage",
            Self::LiveReplicasFit => "LiveReplicasFit",
        }
    }

    /// The reason of this name, `None` for any other value.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The condition that has this reason.
    pub fn condition(self) -> Condition {
        use ConditionStatus::{False, True};
        use ConditionType::{LiveReplicasWarning, SessionStorageWarning, StdioReplicaCapped};
        let (type_, status, message) = match self {
            Self::StdioTransportCapAt1 => {
                (StdioReplicaCapped, True, "transport stdio supports 1 replica; spec.replicas requests more")
            }
            Self::StdioReplicaCapNotActive => (StdioReplicaCapped, False, "the stdio replica cap does not apply"),
            Self::SessionStorageMissingForReplicas => (
                SessionStorageWarning,
                True,
                "spec.replicas is above 1 and spec.sessionStorage.provider is not redis: replicas do not share sessions",
            ),
            Self::SessionStorageConfigured => (SessionStorageWarning, False, "replicas share their sessions in Redis"),
            Self::SessionStorageWarningNotApplicable => (SessionStorageWarning, False, "spec.replicas is not above 1"),
            Self::BackendReplicasAboveStdioCap => {
                (LiveReplicasWarning, True, "transport stdio supports 1 replica; spec.backendReplicas requests more")
            }
            Self::LiveReplicasAboveStdioCap => {
                (LiveReplicasWarning, True, "a workload was set to more than 1 replica; transport stdio supports 1")
            }
            Self::LiveReplicasWithoutSessionStorage => (
                LiveReplicasWarning,
                True,
                "a workload is set to more than 1 replica and sessions are not stored in Redis: replicas do not share sessions",
            ),
            Self::LiveReplicasFit => {
                (LiveReplicasWarning, False, "the counts of the workloads fit the transport and the session storage")
            }
        };
        Condition { type_, status, reason: self, message }
    }
}

/// Both of ToolHive's conditions for a server, decided from its spec to the letter: an absent storage is not Redis, whatever
/// a cluster's default is, since operators do not look at a default.
pub fn spec_conditions(scaling: &Scaling) -> [Condition; 2] {
    let stdio = match scaling.replicas {
        Some(count) if exceeds_stdio_cap(scaling.transport, count) => ConditionReason::StdioTransportCapAt1,
        _ => ConditionReason::StdioReplicaCapNotActive,
    };
    let storage = match scaling.replicas {
        Some(count) if sessions_at_risk(scaling.session_storage_or(SessionStorage::Memory), count) => {
            ConditionReason::SessionStorageMissingForReplicas
        }
        Some(count) if count > 1 => ConditionReason::SessionStorageConfigured,
        _ => ConditionReason::SessionStorageWarningNotApplicable,
    };
    [stdio.condition(), storage.condition()]
}
