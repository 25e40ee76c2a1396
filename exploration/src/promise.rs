//! What must be true for ever once nothing disturbs any more. Written down a second time, without the code that is explored.

use mcp_scaling_rules::{ConditionReason, ConditionStatus, SessionStorage, Transport, Workload};

use crate::model::{Era, Scenario, State, Step, Transition, capped};
use crate::objects::Count;

/// What a state breaks of the promise, as sentences; empty where it keeps it.
pub fn broken(scenario: &Scenario, state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    for workload in Workload::ALL {
        broken.extend(count(scenario, state, workload));
    }
    broken.extend(toolhives_conditions(scenario, state));
    // Beside an autoscaler that insists on a wrong count, the cause of our warning comes and goes.
    if scenario.autoscaler.is_none() {
        broken.extend(own_condition(scenario, state));
    }
    broken.extend(rollout(state));
    broken
}

/// What is wrong about a step, whatever follows: the reconciler starts no workload that somebody has scaled to zero.
pub fn forbidden(state: &State, transition: &Transition) -> Option<&'static str> {
    let Step::ReconcilerScales(workload, _) = transition.step else { return None };
    let is_started = state.count(workload) == Some(0) && transition.to.count(workload) != Some(0);
    is_started.then_some("the reconciler starts a workload that was scaled to zero")
}

/// Whether a count is allowed for ever.
fn count(scenario: &Scenario, state: &State, workload: Workload) -> Option<String> {
    // An autoscaler that insists decides about the Deployment, or fights with those who do. Each time it wins, a proxy runner
    // starts, and sets the StatefulSet.
    if scenario.autoscaler.is_some() && (workload == Workload::Deployment || !scenario.policy) {
        return None;
    }
    let live = state.count(workload)?;
    let spec = &state.server.spec;
    let is_stdio = spec.transport == Transport::Stdio;
    let operator = state.operator.is_up;
    let has_declared = scenario.era == Era::Declares;
    let name = workload.kind();
    // The policy alone corrects nothing that nobody writes; operators correct the Deployment.
    let stdio_is_corrected = scenario.reconciler || operator && workload == Workload::Deployment;
    if is_stdio && live > 1 && stdio_is_corrected {
        return Some(format!("the {name} of a stdio server has {live} replicas"));
    }
    let chosen = |count: Count| state.choices(workload) & (1 << count) != 0;
    if let Some(declared) = spec.declared(workload).filter(|_| has_declared) {
        let declared = capped(spec.transport, declared);
        let is_enforced = scenario.reconciler || operator && workload == Workload::Deployment;
        // A workload that somebody scaled to zero stays there until its operator or proxy runner sets the declared count.
        let is_zero = live == 0 && chosen(0);
        return (is_enforced && live != declared && !is_zero)
            .then(|| format!("the {name} has {live} replicas, and {declared} are declared"));
    }
    // Without the policy, operators and proxy runners reset counts, and nobody knows what was chosen. Where the reconciler is
    // missing too, nobody gives back the count of an operator that has stopped in between.
    let is_preserved = scenario.policy && (operator || scenario.reconciler);
    let is_chosen = chosen(live) || is_stdio && live == 1 && (2..8).any(chosen);
    (is_preserved && !is_chosen).then(|| {
        let chosen: Vec<String> = (0..8).filter(|count| chosen(*count)).map(|count| count.to_string()).collect();
        format!("the {name} has {live} replicas; its owner chose {}", chosen.join(" or "))
    })
}

fn toolhives_conditions(scenario: &Scenario, state: &State) -> Vec<String> {
    let is_written = scenario.reconciler || scenario.era == Era::Declares && state.operator.is_up;
    let expected = state.server.spec.toolhive_conditions(state.server.generation);
    let pairs = state.server.conditions.into_iter().zip(expected);
    let wrong = pairs.filter(|(found, expected)| is_written && *found != Some(*expected));
    wrong.map(|(found, expected)| format!("the condition should be {expected:?} and is {found:?}")).collect()
}

fn own_condition(scenario: &Scenario, state: &State) -> Option<String> {
    if !scenario.reconciler {
        return None;
    }
    let spec = &state.server.spec;
    let several = Workload::ALL.into_iter().any(|workload| state.count(workload).is_some_and(|count| count > 1));
    let has_redis = spec.storage.unwrap_or(scenario.default_storage) == SessionStorage::Redis;
    let is_reported = spec.replicas.is_some_and(|count| count > 1) && spec.storage != Some(SessionStorage::Redis);
    let expected = if spec.transport == Transport::Stdio && spec.backend_replicas.is_some_and(|count| count > 1) {
        Some(ConditionReason::BackendReplicasAboveStdioCap)
    } else if several && !has_redis && !is_reported {
        Some(ConditionReason::LiveReplicasWithoutSessionStorage)
    } else {
        None
    };
    let condition = state.server.conditions[2];
    let found = condition.filter(|condition| condition.status == ConditionStatus::True);
    let is_as_expected = match (found, expected) {
        (None, None) => true,
        (Some(found), Some(expected)) => found.reason == expected && found.generation == state.server.generation,
        _ => false,
    };
    (!is_as_expected).then(|| format!("LiveReplicasWarning should be {expected:?} and is {condition:?}"))
}

/// Whether what people changed is rolled out.
fn rollout(state: &State) -> Option<String> {
    let operator = state.operator;
    let deployment = state.deployment?;
    let spec = &state.server.spec;
    if operator.is_up && (deployment.template.image, deployment.template.release) != (spec.image, operator.release) {
        return Some(format!(
            "the Deployment runs image {} of release {}, and image {} of release {} is to be rolled out",
            deployment.template.image, deployment.template.release, spec.image, operator.release
        ));
    }
    let statefulset = state.statefulset?;
    (deployment.replicas > 0 && statefulset.image != deployment.template.image).then(|| {
        format!(
            "the StatefulSet runs image {}, and image {} is rolled out",
            statefulset.image, deployment.template.image
        )
    })
}
