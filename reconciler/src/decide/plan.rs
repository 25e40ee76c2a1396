//! The changes that one server needs, by the rules of `mcp-scaling-rules`. Pure: no client, no clock.

use mcp_scaling_rules::conditions::{PresentCondition, own_condition, workload_warning};
use mcp_scaling_rules::{
    Condition, ConditionReason, ConditionStatus, ConditionType, Replicas, Scaling, SessionStorage, Workload, replicas,
    sessions, spec_conditions,
};

use crate::decide::coupling::{self, Step};
use crate::observe::server::Server;
use crate::observe::workload_replicas::WorkloadReplicas;
use crate::options::Counts;

/// The changes that one server needs. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// All conditions that the status should have, if one of them is missing, different or stale; else none.
    pub(crate) conditions: Vec<Condition>,
    /// The count to set the Deployment to, if it has another one.
    pub(crate) deployment: Option<u32>,
    /// The count to set the StatefulSet to, if it has another one.
    pub(crate) statefulset: Option<u32>,
    /// The next step that couples the backend to its proxies. The count of the StatefulSet is then not corrected.
    pub(crate) coupling: Option<Step>,
    /// Says whether a reader of the status would be misled: a condition of ToolHive's is different or stale, or a warning is
    /// missing. A missing condition that would say `False` misleads nobody; operators before v0.13 do not write it.
    pub(crate) is_status_misleading: bool,
    /// Says whether the writes cannot wait: a count is wrong, or a reader of the status would be misled, by our own condition too. A
    /// missing condition that would say `False` can wait.
    pub(crate) is_urgent: bool,
    /// The replicas that do not share their sessions, counted after the counts are corrected. Only an edit of the spec helps.
    pub(crate) unshared_replicas: Option<u32>,
}

impl Plan {
    /// The count to set a workload to, if it has another one.
    pub(crate) fn replicas(&self, workload: Workload) -> Option<u32> {
        match workload {
            Workload::Deployment => self.deployment,
            Workload::StatefulSet => self.statefulset,
        }
    }

    /// Returns whether nothing has to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.deployment.is_none() && self.statefulset.is_none() && self.coupling.is_none()
    }
}

/// What the plan of a server depends on beside its spec and its status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanInputs {
    /// The replicas that its workloads are set to.
    pub(crate) set_to: WorkloadReplicas,
    /// The storage of its sessions, `None` if it is not known. ToolHive's own conditions are decided from the spec alone.
    pub(crate) storage: Option<SessionStorage>,
    /// Which counts are corrected.
    pub(crate) counts: Counts,
    /// Says whether the backend is coupled to its proxies.
    pub(crate) couple_zero: bool,
}

impl PlanInputs {
    /// The same with another count of one workload.
    #[must_use]
    pub(crate) fn with_count(self, workload: Workload, replicas: u32) -> Self {
        Self { set_to: self.set_to.with(workload, replicas), ..self }
    }

    /// The same with both workloads as they were just read: the count of the Deployment, and the count and the
    /// [annotation](WorkloadReplicas::statefulset_before_zero) of the StatefulSet.
    #[must_use]
    pub(crate) fn with_workloads(self, proxies: u32, backends: u32, before_zero: Option<u32>) -> Self {
        let set_to = self.set_to.with(Workload::Deployment, proxies).with(Workload::StatefulSet, backends);
        Self { set_to: WorkloadReplicas { statefulset_before_zero: before_zero, ..set_to }, ..self }
    }
}

/// Plans one server. A count that the server does not declare belongs to an autoscaler or a person, and only the stdio cap
/// applies to it.
///
/// `keep_warning` says that a `WorkloadReplicasWarning` whose cause is gone is still within its stabilization window.
pub(crate) fn plan(server: &Server, scaling: &Scaling, inputs: PlanInputs, keep_warning: bool) -> Plan {
    let of_spec = spec_conditions(scaling);
    let is_missing_or_different = |condition: &Condition| !server.has_condition(condition);
    let is_status_misleading = of_spec.iter().any(|condition| {
        let is_present = server.condition(condition.type_).is_some();
        is_missing_or_different(condition) && (condition.status == ConditionStatus::True || is_present)
    });
    let cause = current_warning(scaling, inputs);
    let own = workload_condition(server, cause, keep_warning);
    let desired: Vec<Condition> = of_spec.into_iter().chain(own).collect();
    let deployment = corrected(Workload::Deployment, scaling, inputs);
    let coupling = coupling_step(scaling, inputs);
    let statefulset = match coupling {
        Some(_) => None,
        None => corrected(Workload::StatefulSet, scaling, inputs),
    };
    Plan {
        conditions: if desired.iter().any(is_missing_or_different) { desired } else { Vec::new() },
        deployment,
        statefulset,
        coupling,
        is_status_misleading,
        is_urgent: is_status_misleading
            || own.as_ref().is_some_and(is_missing_or_different)
            || deployment.is_some()
            || statefulset.is_some()
            || coupling.is_some(),
        unshared_replicas: unshared_replicas(scaling, inputs),
    }
}

/// The next step that couples the backend of a server to its proxies, if that is asked for.
pub(crate) fn coupling_step(scaling: &Scaling, inputs: PlanInputs) -> Option<Step> {
    coupling::next_step(scaling, inputs.set_to).filter(|_| inputs.couple_zero)
}

/// The reason for which `WorkloadReplicasWarning` should be `True` now, if there is one.
pub(crate) fn current_warning(scaling: &Scaling, inputs: PlanInputs) -> Option<ConditionReason> {
    let has_unshared_replicas = unshared_replicas(scaling, inputs).is_some();
    workload_warning(scaling, |workload| inputs.set_to.of(workload), has_unshared_replicas)
}

/// The count that a workload of this server should have and the rule that says so, if it has another one.
pub(crate) fn correction(workload: Workload, scaling: &Scaling, inputs: PlanInputs) -> Option<Replicas> {
    let PlanInputs { set_to, counts, .. } = inputs;
    let before_reset = set_to.deployment_before_reset.filter(|_| workload == Workload::Deployment);
    let (declared, before_reset) = match counts {
        Counts::All => (workload.declared(scaling), before_reset),
        Counts::Stdio => (None, None),
        Counts::None => return None,
    };
    let corrected = replicas::correct(scaling.transport, set_to.of(workload)?, declared, before_reset);
    Some(corrected).filter(|corrected| corrected.rule.is_some())
}

fn unshared_replicas(scaling: &Scaling, inputs: PlanInputs) -> Option<u32> {
    // Replicas that a correction removes lose their sessions whatever the storage is.
    let corrected = |workload| corrected(workload, scaling, inputs).or(inputs.set_to.of(workload));
    sessions::unshared_replicas(scaling.transport, inputs.storage, Workload::ALL.into_iter().filter_map(corrected))
}

fn corrected(workload: Workload, scaling: &Scaling, inputs: PlanInputs) -> Option<u32> {
    correction(workload, scaling, inputs).map(|corrected| corrected.count)
}

/// Our own condition, if the status should have it.
fn workload_condition(server: &Server, cause: Option<ConditionReason>, keep_warning: bool) -> Option<Condition> {
    let present = server.condition(ConditionType::WorkloadReplicasWarning).map(|present| PresentCondition {
        status: present.status,
        reason: present.reason,
        is_of_this_spec: present.observed_generation == server.generation,
    });
    own_condition(cause, present, keep_warning)
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::{
        ConditionReason, ConditionStatus, ConditionType, Scaling, SessionStorage, Transport, spec_conditions,
    };
    use serde_json::json;

    use super::{Plan, PlanInputs};
    use crate::observe::server::{Server, StatusCondition};
    use crate::observe::workload_replicas::WorkloadReplicas;
    use crate::options::Counts;

    const REDIS: Option<SessionStorage> = Some(SessionStorage::Redis);
    const MEMORY: Option<SessionStorage> = Some(SessionStorage::Memory);

    /// A server whose conditions are up to date, and its scaling fields.
    fn server(
        transport: Transport,
        replicas: Option<u32>,
        backend_replicas: Option<u32>,
        session_storage: Option<SessionStorage>,
    ) -> (Server, Scaling) {
        let scaling = Scaling { transport, replicas, backend_replicas, session_storage };
        let up_to_date = spec_conditions(&scaling).map(|condition| StatusCondition {
            type_: condition.type_,
            status: Some(condition.status),
            reason: Some(condition.reason),
            observed_generation: Some(2),
        });
        let mut server: Server = serde_json::from_value(json!({})).expect("is read");
        server.generation = Some(2);
        server.conditions = up_to_date.into();
        (server, scaling)
    }

    fn plan((server, scaling): &(Server, Scaling), set_to: WorkloadReplicas) -> Plan {
        super::plan(server, scaling, inputs(scaling, set_to), false)
    }

    fn inputs(scaling: &Scaling, set_to: WorkloadReplicas) -> PlanInputs {
        let storage = Some(scaling.session_storage_or(SessionStorage::Memory));
        PlanInputs { set_to, storage, counts: Counts::All, couple_zero: false }
    }

    fn set_to(deployment: u32, statefulset: u32) -> WorkloadReplicas {
        WorkloadReplicas { deployment: Some(deployment), statefulset: Some(statefulset), ..WorkloadReplicas::default() }
    }

    #[test]
    fn restores_a_count_that_a_reset_took_away() {
        use Transport::{Sse, Stdio};
        for (transport, declared, set_to, before_reset, expected) in [
            (Sse, None, 1, Some(3), Some(3)),
            (Sse, None, 1, Some(0), Some(0)),
            (Sse, None, 1, None, None),
            (Sse, None, 2, Some(3), None),
            (Sse, None, 0, Some(3), None),
            (Sse, Some(2), 1, Some(3), Some(2)),
            (Stdio, None, 1, Some(3), None),
            (Stdio, None, 1, Some(0), Some(0)),
        ] {
            let set_to = WorkloadReplicas { deployment_before_reset: before_reset, ..self::set_to(set_to, 1) };
            let planned = plan(&server(transport, declared, None, REDIS), set_to);
            assert_eq!(
                (planned.deployment, planned.statefulset),
                (expected, None),
                "{transport:?} {declared:?} {set_to:?}"
            );
        }
    }

    #[test]
    fn corrects_counts_to_the_declared_one_and_the_stdio_cap() {
        use Transport::{Sse, Stdio};
        for (transport, declared, set_to, corrected) in [
            (Stdio, None, 0, None),
            (Stdio, None, 1, None),
            (Stdio, None, 3, Some(1)),
            (Stdio, Some(3), 0, None),
            (Stdio, Some(3), 3, Some(1)),
            (Stdio, Some(3), 1, None),
            (Stdio, Some(0), 1, Some(0)),
            (Sse, None, 0, None),
            (Sse, None, 5, None),
            (Sse, Some(3), 0, None),
            (Sse, Some(3), 3, None),
            (Sse, Some(3), 5, Some(3)),
            (Sse, Some(3), 1, Some(3)),
            (Sse, Some(0), 2, Some(0)),
        ] {
            let case = format!("{transport:?}, {declared:?} declared, set to {set_to}");
            let of_deployment = WorkloadReplicas { deployment: Some(set_to), ..WorkloadReplicas::default() };
            let planned = plan(&server(transport, declared, None, REDIS), of_deployment);
            assert_eq!((planned.deployment, planned.statefulset), (corrected, None), "{case}");
            let of_statefulset = WorkloadReplicas { statefulset: Some(set_to), ..WorkloadReplicas::default() };
            let planned = plan(&server(transport, None, declared, REDIS), of_statefulset);
            assert_eq!((planned.deployment, planned.statefulset), (None, corrected), "{case}");
        }
        let without_workloads = plan(&server(Sse, Some(3), Some(3), REDIS), WorkloadReplicas::default());
        assert_eq!(without_workloads, Plan::default());
    }

    #[test]
    fn corrects_only_the_counts_that_it_is_told_to() {
        use Transport::{Sse, Stdio};
        for (transport, declared, set_to, before_reset, [all, stdio, none]) in [
            (Stdio, None, 3, None, [Some(1), Some(1), None]),
            (Stdio, Some(3), 3, None, [Some(1), Some(1), None]),
            (Stdio, Some(0), 1, None, [Some(0), None, None]),
            (Sse, Some(2), 5, None, [Some(2), None, None]),
            (Sse, None, 1, Some(3), [Some(3), None, None]),
            (Sse, None, 5, None, [None, None, None]),
        ] {
            let (server, scaling) = server(transport, declared, None, REDIS);
            let set_to = WorkloadReplicas { deployment_before_reset: before_reset, ..self::set_to(set_to, 1) };
            for (counts, expected) in [(Counts::All, all), (Counts::Stdio, stdio), (Counts::None, none)] {
                let inputs = PlanInputs { counts, ..inputs(&scaling, set_to) };
                let plan = super::plan(&server, &scaling, inputs, false);
                assert_eq!(plan.deployment, expected, "{counts:?}, {transport:?} {declared:?} {set_to:?}");
            }
        }
    }

    #[test]
    fn warns_of_no_session_where_the_storage_is_not_known() {
        let (server, scaling) = server(Transport::Sse, None, None, MEMORY);
        for (storage, warning) in [(MEMORY, UNSHARED), (REDIS, None), (None, None)] {
            let inputs = PlanInputs { storage, ..inputs(&scaling, set_to(3, 1)) };
            let plan = super::plan(&server, &scaling, inputs, false);
            assert_eq!(own_condition_of(&plan), warning, "{storage:?}");
        }
    }

    #[test]
    fn counts_replicas_that_stay_as_unshared() {
        let (server, scaling) = server(Transport::Sse, Some(1), None, MEMORY);
        for (counts, unshared) in [(Counts::All, None), (Counts::Stdio, Some(3)), (Counts::None, Some(3))] {
            let inputs = PlanInputs { counts, ..inputs(&scaling, set_to(3, 1)) };
            let plan = super::plan(&server, &scaling, inputs, false);
            assert_eq!(plan.unshared_replicas, unshared, "{counts:?}");
        }
    }

    #[test]
    fn leaves_conditions_that_are_up_to_date() {
        let mut server = server(Transport::Sse, Some(1), None, REDIS);
        assert_eq!(plan(&server, set_to(1, 1)).conditions, []);
        server.0.conditions.iter_mut().for_each(|condition| condition.observed_generation = None);
        assert_eq!(plan(&server, set_to(1, 1)).conditions, [], "a writer that leaves out the observed generation");
        server.0.conditions.reverse();
        assert_eq!(plan(&server, set_to(1, 1)).conditions, [], "in another order");
    }

    #[test]
    fn plans_all_conditions_where_one_is_missing_different_or_stale() {
        let up_to_date = server(Transport::Stdio, Some(3), None, REDIS);
        let all = spec_conditions(&up_to_date.1).to_vec();
        for index in 0..2 {
            let with = |change: fn(&mut StatusCondition)| {
                let mut server = up_to_date.clone();
                change(&mut server.0.conditions[index]);
                plan(&server, set_to(1, 1)).conditions
            };
            assert_eq!(with(|condition| condition.status = None), all);
            assert_eq!(with(|condition| condition.reason = None), all);
            assert_eq!(with(|condition| condition.observed_generation = Some(1)), all, "of an older spec");
            let mut server = up_to_date.clone();
            server.0.conditions = Box::new([server.0.conditions[1 - index]]);
            assert_eq!(plan(&server, set_to(1, 1)).conditions, all, "missing");
        }
        let types = spec_conditions(&up_to_date.1).map(|condition| condition.type_);
        assert_eq!(types, [ConditionType::StdioReplicaCapped, ConditionType::SessionStorageWarning]);
    }

    #[test]
    fn finds_a_missing_condition_misleading_only_where_it_would_warn() {
        let is_misleading = |replicas, change: fn(&mut Server)| {
            let mut server = server(Transport::Stdio, replicas, None, REDIS);
            change(&mut server.0);
            plan(&server, set_to(1, 1)).is_status_misleading
        };
        assert!(!is_misleading(Some(3), |_| {}));
        assert!(is_misleading(Some(3), |server| server.conditions = [].into()));
        assert!(!is_misleading(None, |server| server.conditions = [].into()), "nothing to warn of");
        let wrong_warning = |server: &mut Server| server.conditions[0].status = Some(ConditionStatus::True);
        assert!(is_misleading(None, wrong_warning), "a warning without a cause");
    }

    #[test]
    fn finds_only_conditions_that_mislead_nobody_able_to_wait() {
        let (mut missing, scaling) = server(Transport::Sse, None, None, MEMORY);
        let plan_with = |server: &Server, set_to| super::plan(server, &scaling, inputs(&scaling, set_to), false);
        assert!(!plan_with(&missing, set_to(1, 1)).is_urgent, "nothing to write");
        assert!(plan_with(&missing, set_to(3, 1)).is_urgent, "our own warning is missing");
        missing.conditions = [].into();
        let plan = plan_with(&missing, set_to(1, 1));
        assert!(!plan.is_empty() && !plan.is_urgent, "two missing conditions that say False");
        let (server, scaling) = server(Transport::Stdio, None, None, REDIS);
        assert!(super::plan(&server, &scaling, inputs(&scaling, set_to(3, 1)), false).is_urgent, "a wrong count");
    }

    #[test]
    fn counts_workload_replicas_without_redis() {
        let unshared = |replicas, storage, set_to| {
            plan(&server(Transport::Sse, replicas, None, storage), set_to).unshared_replicas
        };
        assert_eq!(unshared(None, REDIS, set_to(3, 1)), None);
        for (replicas, set_to, count) in [
            (None, set_to(3, 1), Some(3)),
            (None, set_to(1, 2), Some(2)),
            (None, set_to(1, 1), None),
            (None, WorkloadReplicas::default(), None),
            // The first is about to be scaled down, the second to be scaled up.
            (Some(1), set_to(3, 1), None),
            (Some(2), set_to(1, 1), Some(2)),
        ] {
            assert_eq!(unshared(replicas, MEMORY, set_to), count, "{replicas:?}, {set_to:?}");
        }
    }

    /// Status and reason of our own condition in a plan.
    fn own_condition_of(plan: &Plan) -> Option<(ConditionStatus, ConditionReason)> {
        let own = plan.conditions.iter().find(|condition| condition.type_ == ConditionType::WorkloadReplicasWarning);
        own.map(|condition| (condition.status, condition.reason))
    }

    const BACKEND_ABOVE_CAP: Option<(ConditionStatus, ConditionReason)> =
        Some((ConditionStatus::True, ConditionReason::BackendReplicasAboveStdioCap));
    const ABOVE_CAP: Option<(ConditionStatus, ConditionReason)> =
        Some((ConditionStatus::True, ConditionReason::WorkloadReplicasAboveStdioCap));
    const UNSHARED: Option<(ConditionStatus, ConditionReason)> =
        Some((ConditionStatus::True, ConditionReason::WorkloadReplicasWithoutSessionStorage));
    const FIT: Option<(ConditionStatus, ConditionReason)> =
        Some((ConditionStatus::False, ConditionReason::WorkloadReplicasFit));

    #[test]
    fn warns_of_workload_replicas_that_the_operators_conditions_do_not_report() {
        use Transport::{Sse, Stdio};
        for (transport, replicas, backend, storage, set_to, warning) in [
            (Stdio, None, None, MEMORY, set_to(1, 1), None),
            (Stdio, None, None, MEMORY, set_to(3, 1), ABOVE_CAP),
            (Stdio, None, None, REDIS, set_to(1, 3), ABOVE_CAP),
            (Stdio, Some(1), None, REDIS, set_to(3, 1), ABOVE_CAP),
            (Stdio, None, Some(3), REDIS, set_to(1, 1), BACKEND_ABOVE_CAP),
            (Stdio, None, Some(3), REDIS, set_to(3, 3), BACKEND_ABOVE_CAP),
            (Stdio, Some(3), Some(3), REDIS, set_to(1, 1), BACKEND_ABOVE_CAP),
            (Stdio, None, Some(1), REDIS, set_to(1, 1), None),
            // StdioReplicaCapped reports the declared count.
            (Stdio, Some(3), None, REDIS, set_to(3, 1), None),
            (Sse, None, None, REDIS, set_to(3, 3), None),
            (Sse, None, None, MEMORY, set_to(3, 1), UNSHARED),
            (Sse, None, None, MEMORY, set_to(1, 3), UNSHARED),
            // SessionStorageWarning reports spec.replicas only.
            (Sse, Some(3), None, MEMORY, set_to(3, 1), None),
            (Sse, None, Some(3), MEMORY, set_to(1, 3), UNSHARED),
            (Sse, Some(1), None, MEMORY, set_to(3, 1), None),
        ] {
            let case = format!("{transport:?}, {replicas:?}/{backend:?} declared, {storage:?}, {set_to:?}");
            assert_eq!(
                own_condition_of(&plan(&server(transport, replicas, backend, storage), set_to)),
                warning,
                "{case}"
            );
        }
    }

    #[test]
    fn applies_the_default_storage_to_workload_replicas_only() {
        use SessionStorage::{Memory, Redis};
        for (replicas, set_to, default_storage, warning, unshared) in [
            (None, set_to(3, 1), Memory, UNSHARED, Some(3)),
            (None, set_to(3, 1), Redis, None, None),
            (Some(3), set_to(3, 1), Memory, None, Some(3)),
            (Some(3), set_to(3, 1), Redis, None, None),
        ] {
            let case = format!("{replicas:?} declared, {default_storage:?} by default");
            let (mut server, scaling) = server(Transport::Sse, replicas, None, None);
            let inputs = PlanInputs { set_to, storage: Some(default_storage), counts: Counts::All, couple_zero: false };
            let plan = super::plan(&server, &scaling, inputs, false);
            assert_eq!((own_condition_of(&plan), plan.unshared_replicas), (warning, unshared), "{case}");
            assert!(!plan.is_status_misleading, "{case}");

            server.conditions = [].into();
            let plan = super::plan(&server, &scaling, inputs, false);
            assert_eq!(plan.conditions[..2], spec_conditions(&scaling), "{case}");
            let reason = plan.conditions[1].reason;
            let is_warned = reason == ConditionReason::SessionStorageMissingForReplicas;
            assert_eq!(is_warned, replicas.is_some(), "{case}: absent storage is not Redis for ToolHive's condition");
        }
    }

    #[test]
    fn clears_our_own_warning_after_the_stabilization_window_or_with_a_new_spec() {
        let mut server = server(Transport::Sse, None, None, MEMORY);
        let present = |status, reason, generation| StatusCondition {
            type_: ConditionType::WorkloadReplicasWarning,
            status,
            reason,
            observed_generation: Some(generation),
        };
        let warning = |generation| {
            let reason = ConditionReason::WorkloadReplicasWithoutSessionStorage;
            present(Some(ConditionStatus::True), Some(reason), generation)
        };
        let fit =
            |generation| present(Some(ConditionStatus::False), Some(ConditionReason::WorkloadReplicasFit), generation);
        let up_to_date = server.0.conditions.clone();
        let mut with = |own: StatusCondition, set_to: WorkloadReplicas, keep_warning: bool| {
            server.0.conditions = up_to_date.iter().copied().chain([own]).collect();
            let (server, scaling) = &server;
            own_condition_of(&super::plan(server, scaling, inputs(scaling, set_to), keep_warning))
        };
        assert_eq!(with(warning(2), set_to(3, 1), true), None, "up to date");
        assert_eq!(with(warning(2), set_to(1, 1), true), None, "an autoscaler may scale up again");
        assert_eq!(with(warning(2), set_to(1, 1), false), FIT);
        assert_eq!(with(warning(1), set_to(1, 1), true), FIT, "the spec changed since");
        assert_eq!(with(fit(1), set_to(1, 1), false), None, "cleared for an older spec");
        assert_eq!(with(present(None, None, 2), set_to(1, 1), false), FIT, "another writer changed it");
        let contradictory = present(Some(ConditionStatus::True), Some(ConditionReason::WorkloadReplicasFit), 2);
        assert_eq!(with(contradictory, set_to(1, 1), false), FIT, "another writer changed its status");
        assert_eq!(with(fit(2), set_to(3, 1), false), UNSHARED);
    }
}
