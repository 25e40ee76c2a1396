//! What the reconciler tells people: the events on an `MCPServer`, one for each change and none for a state that stays. Pure.

use mcp_scaling_rules::{Condition, ConditionStatus, ReplicasRule, Scaling, Workload};

use crate::decide::backoff::Target;
use crate::observe::run_config::DEFAULT_REDIS_WITHOUT_PASSWORD;

/// Something to tell people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    /// The event of a write that was made and logged.
    Event(EventContent),
    /// Something that was found. It is logged, and published but for a dry run.
    News(EventContent),
    /// Another writer keeps reverting this target, and the reconciler backs off from it.
    BackingOff(Target),
}

/// A change of a workload's replicas, decided from its Scale as it was just read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScaleChange {
    /// The workload.
    pub workload: Workload,
    /// The replicas that it has.
    pub from: u32,
    /// The replicas to set.
    pub to: u32,
    /// `metadata.resourceVersion` of the Scale, which guards the write.
    pub resource_version: Option<String>,
}

/// A condition whose status changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transition {
    /// The condition as it is now.
    pub to: Condition,
    /// Its status before: `None` if it was missing or had a value that we never write.
    pub from: Option<ConditionStatus>,
}

/// The content of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventContent {
    /// Says whether the event's type is `Warning`.
    pub(crate) is_warning: bool,
    /// `reason`.
    pub(crate) reason: &'static str,
    /// `action`: the name of the action that the event reports.
    pub(crate) action: &'static str,
    /// `note`, for people.
    pub(crate) note: String,
    /// Says whether the event is not published again as long as the API server has it: it tells of a state and not of a change,
    /// which a reconciler that was restarted finds again.
    pub(crate) is_once: bool,
}

/// The event for a condition that became `True`, or that was `True` and no longer is. Other transitions have none.
pub(crate) fn transition(transition: &Transition) -> Option<EventContent> {
    let condition = transition.to;
    let is_warning = condition.status == ConditionStatus::True;
    let was_warning = transition.from == Some(ConditionStatus::True);
    (is_warning || was_warning).then(|| EventContent {
        is_warning,
        reason: condition.reason.name(),
        action: "SetCondition",
        note: format!("{}: {}", condition.type_.name(), condition.message),
        is_once: false,
    })
}

/// The event for replicas of a workload that were corrected by a rule.
pub(crate) fn replicas_corrected(change: &ScaleChange, rule: ReplicasRule, scaling: &Scaling) -> EventContent {
    let ScaleChange { workload, from, to, .. } = change;
    let stdio = format!("transport stdio supports {to}");
    let cause = match (rule, workload.declared(scaling)) {
        (ReplicasRule::Preserved, _) => "ToolHive's operator reset the count and has not restored it".to_owned(),
        (_, Some(count)) if count > *to => format!("{} requests {count}; {stdio}", workload.declared_in()),
        (_, Some(count)) if count == *to => format!("{} requests {count}", workload.declared_in()),
        (ReplicasRule::Declared | ReplicasRule::Stdio, _) => stdio,
    };
    EventContent {
        is_warning: false,
        reason: "ReplicasCorrected",
        action: "Scale",
        note: format!("replicas of the {} set from {from} to {to}: {cause}", workload.kind()),
        is_once: false,
    }
}

/// The event for a change of replicas that another admission webhook changed on its way, so that `stored` replicas are there.
pub(crate) fn changed_on_its_way(change: &ScaleChange, stored: i32) -> EventContent {
    let ScaleChange { workload, from, to, .. } = change;
    EventContent {
        is_warning: true,
        reason: "ReplicasNotCorrected",
        action: "Scale",
        note: format!(
            "replicas of the {} were to be set from {from} to {to}, and {stored} are stored: an admission webhook changed the write",
            workload.kind()
        ),
        is_once: false,
    }
}

/// The event for a StatefulSet that was scaled with its proxies: to 0, or from 0 to a count.
pub fn coupled(change: &ScaleChange) -> EventContent {
    let ScaleChange { workload, from, to, .. } = change;
    let (reason, cause) = match to {
        0 => ("BackendScaledToZero", "the server has no proxies"),
        _ => ("BackendScaledUp", "the server has proxies again"),
    };
    EventContent {
        is_warning: false,
        reason,
        action: "Scale",
        note: format!("replicas of the {} set from {from} to {to}: {cause}", workload.kind()),
        is_once: false,
    }
}

/// The event for an autoscaler that does not fit the spec.
pub(crate) fn autoscaler_conflict(finding: String) -> EventContent {
    EventContent { is_warning: true, reason: "AutoscalerConflict", action: "Validate", note: finding, is_once: true }
}

/// The event for a server whose proxies use the operator's default Redis without its password.
pub(crate) fn default_redis_without_password() -> EventContent {
    EventContent {
        is_warning: true,
        reason: "DefaultRedisWithoutPassword",
        action: "Validate",
        note: DEFAULT_REDIS_WITHOUT_PASSWORD.to_owned(),
        is_once: true,
    }
}

/// The event for a target that another writer keeps reverting.
pub(crate) fn backing_off(target: Target) -> EventContent {
    EventContent {
        is_warning: true,
        reason: "BackingOff",
        action: "Wait",
        note: format!("another writer keeps reverting {}; backing off", target.name()),
        is_once: false,
    }
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::{
        ConditionReason, ConditionStatus, ReplicasRule, Scaling, SessionStorage, Transport, Workload,
    };

    use super::{ScaleChange, Transition, replicas_corrected, transition};

    #[test]
    fn reports_only_conditions_that_become_or_were_true() {
        let capped = ConditionReason::StdioTransportCapAt1.condition();
        let cleared = ConditionReason::StdioReplicaCapNotActive.condition();
        let reported = |to, from: Option<ConditionStatus>| {
            transition(&Transition { to, from }).map(|event| (event.is_warning, event.reason))
        };
        assert_eq!(reported(capped, None), Some((true, "StdioTransportCapAt1")));
        assert_eq!(reported(capped, Some(ConditionStatus::False)), Some((true, "StdioTransportCapAt1")));
        assert_eq!(reported(cleared, Some(ConditionStatus::True)), Some((false, "StdioReplicaCapNotActive")));
        assert_eq!(reported(cleared, None), None, "missing, or a status that we never write");
    }

    #[test]
    fn names_the_cause_of_a_correction() {
        use ReplicasRule::{Declared, Preserved, Stdio};
        let note = |transport, replicas, from, to, rule| {
            let session_storage = Some(SessionStorage::Redis);
            let scaling = Scaling { transport, replicas, backend_replicas: None, session_storage };
            let change = ScaleChange { workload: Workload::Deployment, from, to, resource_version: None };
            replicas_corrected(&change, rule, &scaling).note
        };
        assert_eq!(
            note(Transport::Stdio, None, 3, 1, Stdio),
            "replicas of the Deployment set from 3 to 1: transport stdio supports 1"
        );
        assert_eq!(
            note(Transport::Stdio, Some(4), 4, 1, Stdio),
            "replicas of the Deployment set from 4 to 1: spec.replicas requests 4; transport stdio supports 1"
        );
        assert_eq!(
            note(Transport::Sse, Some(2), 5, 2, Declared),
            "replicas of the Deployment set from 5 to 2: spec.replicas requests 2"
        );
        assert_eq!(
            note(Transport::Stdio, None, 1, 0, Preserved),
            "replicas of the Deployment set from 1 to 0: ToolHive's operator reset the count and has not restored it"
        );
    }
}
