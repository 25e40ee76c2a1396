//! The status conditions of an `MCPServer` that tell about scaling.
//!
//! Two of the types are ToolHive's, decided from the spec alone. Their names and reasons are those that its operators write
//! from v0.13 on (`cmd/thv-operator/api/*/mcpserver_types.go`), so that readers and alerts find the same words whoever wrote
//! them. The third type is ours.

use crate::deciding::sessions::sessions_at_risk;
use crate::facts::session_storage::SessionStorage;
use crate::facts::transport::exceeds_stdio_cap;
use crate::facts::workload::Workload;
use crate::named::named;
use crate::reading::scaling::Scaling;

named! {
    /// `type` of a condition.
    pub enum ConditionType {
        /// Says whether `spec.replicas` is above what `stdio` supports. ToolHive's.
        StdioReplicaCapped,
        /// Says whether `spec.replicas` asks for replicas that do not share their sessions. ToolHive's.
        SessionStorageWarning,
        /// Says whether the workloads are set to more replicas than the server supports, or `spec.backendReplicas` requests
        /// them, which ToolHive's conditions do not tell: they are decided from `spec.replicas`. Ours: no operator writes it.
        WorkloadReplicasWarning,
    }
}

named! {
    /// `status` of a condition that we write. Others may write `Unknown`.
    pub enum ConditionStatus {
        /// `True`.
        True,
        /// `False`.
        False,
    }
}

named! {
    /// `reason` of a condition. Each belongs to one type and one status.
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
        WorkloadReplicasAboveStdioCap,
        /// A workload is set to more than one replica without Redis, which `SessionStorageWarning` does not tell.
        WorkloadReplicasWithoutSessionStorage,
        /// The counts of the workloads fit the server again.
        WorkloadReplicasFit,
    }
}

/// What a condition on an `MCPServer` should be. The writer adds the time and the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// The condition that has this reason.
    pub fn condition(self) -> Condition {
        use ConditionStatus::{False, True};
        use ConditionType::{SessionStorageWarning, StdioReplicaCapped, WorkloadReplicasWarning};
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
            Self::BackendReplicasAboveStdioCap => (
                WorkloadReplicasWarning,
                True,
                "transport stdio supports 1 replica; spec.backendReplicas requests more",
            ),
            Self::WorkloadReplicasAboveStdioCap => {
                (WorkloadReplicasWarning, True, "a workload was set to more than 1 replica; transport stdio supports 1")
            }
            Self::WorkloadReplicasWithoutSessionStorage => (
                WorkloadReplicasWarning,
                True,
                "a workload is set to more than 1 replica and sessions are not stored in Redis: replicas do not share sessions",
            ),
            Self::WorkloadReplicasFit => (
                WorkloadReplicasWarning,
                False,
                "the counts of the workloads fit the transport and the session storage",
            ),
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

/// The reason for which our own condition should be `True` now, if there is one. It reports what ToolHive's conditions do not:
/// `spec.backendReplicas` above the stdio cap, and what the workloads are set to.
///
/// `count` is what a workload is set to. `has_unshared_replicas` says that some of the replicas, counted after their
/// correction, do not share their sessions.
pub fn workload_warning(
    scaling: &Scaling,
    count: impl Fn(Workload) -> Option<u32>,
    has_unshared_replicas: bool,
) -> Option<ConditionReason> {
    let exceeds = |count: Option<u32>| count.is_some_and(|count| exceeds_stdio_cap(scaling.transport, count));
    let is_scaled_above_cap = |workload: Workload| exceeds(count(workload)) && !exceeds(workload.declared(scaling));
    let is_storage_reported = || {
        let reported = ConditionReason::SessionStorageMissingForReplicas;
        spec_conditions(scaling).iter().any(|condition| condition.reason == reported)
    };
    if exceeds(scaling.backend_replicas) {
        Some(ConditionReason::BackendReplicasAboveStdioCap)
    } else if Workload::ALL.into_iter().any(is_scaled_above_cap) {
        Some(ConditionReason::WorkloadReplicasAboveStdioCap)
    } else if has_unshared_replicas && !is_storage_reported() {
        Some(ConditionReason::WorkloadReplicasWithoutSessionStorage)
    } else {
        None
    }
}

/// Our own condition as a status has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresentCondition {
    /// `status`, `None` for a value that we never write.
    pub status: Option<ConditionStatus>,
    /// `reason`, `None` for a value that we never write.
    pub reason: Option<ConditionReason>,
    /// Says whether its writer saw the spec as it is now.
    pub is_of_this_spec: bool,
}

/// Our own condition, if the status should get it, with the `warning` that applies now. It is not written to a server that
/// never had a warning, and a warning that no longer applies stays while `is_in_window`.
pub fn own_condition(
    warning: Option<ConditionReason>,
    present: Option<PresentCondition>,
    is_in_window: bool,
) -> Option<Condition> {
    if let Some(reason) = warning {
        return Some(reason.condition());
    }
    let fit = ConditionReason::WorkloadReplicasFit.condition();
    // A condition that another writer changed is replaced like a warning that no longer applies.
    let present = present?;
    let is_fit = present.status == Some(fit.status) && present.reason == Some(fit.reason);
    let stays = present.is_of_this_spec && is_in_window;
    (!is_fit && !stays).then_some(fit)
}
