//! What must be true for ever once nothing disturbs any more. Written down a second time, without the code that is explored.

use mcp_scaling_rules::{ConditionReason, ConditionStatus, SessionStorage, Transport, Workload};

use crate::decisions::Coupling;
use crate::model::{Act, Era, Reconciler, Scenario, State, Step, Transition};
use crate::objects::{Count, capped};

/// The invariants that a state breaks, as sentences; empty if it breaks none.
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
    broken.extend(preserved_count(scenario, state));
    broken
}

const STARTS_FOREIGN_BACKEND: &str = "the reconciler starts a backend that somebody else scaled to zero";

/// What is wrong about a step, whatever follows. The reconciler starts no workload that somebody has scaled to zero; a backend
/// that it has scaled to zero itself, with its proxies, has its annotation.
pub fn forbidden(state: &State, transition: &Transition) -> Option<&'static str> {
    let is_started = |workload| state.count(workload) == Some(0) && transition.to.count(workload) != Some(0);
    let Step::Reconciler(index, act) = transition.step else { return None };
    match act {
        Act::Scales(workload, _) => {
            is_started(workload).then_some("the reconciler starts a workload that was scaled to zero")
        }
        Act::Couples(_) => {
            let has_annotation = state.statefulset.is_some_and(|statefulset| statefulset.preserved.is_some());
            let is_wrong = is_started(Workload::StatefulSet) && !has_annotation;
            is_wrong.then_some(STARTS_FOREIGN_BACKEND)
        }
        Act::ReadsBackend(Some(write)) => forbidden_coupling(state, &state.reconcilers[index]?, write),
        _ => None,
    }
}

/// What is wrong about a write that couples the backend to its proxies, at the moment when it is decided. Somebody may scale the
/// proxies between that and the write.
fn forbidden_coupling(state: &State, reconciler: &Reconciler, write: Coupling) -> Option<&'static str> {
    let proxies = reconciler.proxies?;
    let (deployment, statefulset) = (state.deployment?, state.statefulset?);
    let spec = &state.server.spec;
    match write {
        Coupling::ScaleToZero => {
            // It knows only what it has just read and its cache. What the cache has not seen at all it cannot know.
            let seems_ended =
                proxies == 0 && reconciler.cached.deployment == Some(0) && !reconciler.cached.has_ending_proxies;
            let has_proxies = proxies > 0 || deployment.replicas > 0 || deployment.has_ending_pods;
            (has_proxies && !seems_ended).then_some("the reconciler scales a backend to zero that still has proxies")
        }
        Coupling::ScaleUp(count) => {
            let Some(preserved) = statefulset.preserved else { return Some(STARTS_FOREIGN_BACKEND) };
            let wanted = capped(spec.transport, spec.backend_replicas.unwrap_or(preserved));
            if proxies == 0 {
                Some("the reconciler starts a backend that has no proxies")
            } else if count != wanted {
                Some("the reconciler starts a backend with another count than the declared or preserved one")
            } else {
                None
            }
        }
        Coupling::PreserveCount(_) | Coupling::ForgetCount => None,
    }
}

/// Returns whether a count is allowed for ever.
fn count(scenario: &Scenario, state: &State, workload: Workload) -> Option<String> {
    // An autoscaler that insists decides about the Deployment, or fights with those who do. Each time it wins, a proxy runner
    // starts, and sets the StatefulSet.
    if scenario.autoscaler.is_some() && (workload == Workload::Deployment || !scenario.policy) {
        return None;
    }
    let count = state.count(workload)?;
    if workload == Workload::StatefulSet && is_without_proxies(scenario, state) {
        return (count > 0).then(|| format!("the StatefulSet has {count} replicas without proxies"));
    }
    let spec = &state.server.spec;
    let is_stdio = spec.transport == Transport::Stdio;
    let operator = state.operator.is_up;
    let has_declared = scenario.era == Era::Declares;
    let name = workload.kind();
    // The policy alone corrects nothing that nobody writes; operators correct the Deployment.
    let stdio_is_corrected = (scenario.reconcilers > 0) || operator && workload == Workload::Deployment;
    if is_stdio && count > 1 && stdio_is_corrected {
        return Some(format!("the {name} of a stdio server has {count} replicas"));
    }
    let chosen = |count: Count| state.choices(workload) & (1 << count) != 0;
    if let Some(declared) = spec.declared(workload).filter(|_| has_declared) {
        let declared = capped(spec.transport, declared);
        let is_enforced = (scenario.reconcilers > 0) || operator && workload == Workload::Deployment;
        // A workload that somebody scaled to zero stays there until its operator or proxy runner sets the declared count.
        let is_zero = count == 0 && chosen(0);
        return (is_enforced && count != declared && !is_zero)
            .then(|| format!("the {name} has {count} replicas, and {declared} are declared"));
    }
    // Without the policy, operators and proxy runners reset counts, and nobody knows what was chosen. If the reconciler is
    // missing too, nobody restores the count of an operator that has stopped in between.
    let is_preserved = scenario.policy && (operator || (scenario.reconcilers > 0));
    let is_chosen = chosen(count)
        || is_stdio && count == 1 && (2..8).any(chosen)
        || workload == Workload::StatefulSet && count == 1 && starts_with_its_proxies(scenario, chosen(0));
    (is_preserved && !is_chosen)
        .then(|| format!("the {name} has {count} replicas; its owner chose {}", choices(state, workload)))
}

/// The counts that the owners of a workload chose.
fn choices(state: &State, workload: Workload) -> String {
    let chosen = (0..8).filter(|count| state.choices(workload) & (1 << count) != 0);
    chosen.map(|count: Count| count.to_string()).collect::<Vec<_>>().join(" or ")
}

/// Returns whether a backend that somebody stopped (`is_stopped`) may have started again with 1 replica: with its proxies, if they
/// were at 0 too.
fn starts_with_its_proxies(scenario: &Scenario, is_stopped: bool) -> bool {
    scenario.couple_zero && (scenario.reconcilers > 0) && is_stopped
}

/// Returns whether the backend should be at 0 since there is no proxy.
fn is_without_proxies(scenario: &Scenario, state: &State) -> bool {
    let has_no_proxy = state.deployment.is_some_and(|deployment| deployment.replicas == 0);
    scenario.couple_zero && (scenario.reconcilers > 0) && has_no_proxy
}

/// Returns whether the annotation is there only while the backend is at 0 with its proxies, and has a count that an owner chose.
fn preserved_count(scenario: &Scenario, state: &State) -> Option<String> {
    let statefulset = state.statefulset.filter(|_| scenario.couple_zero && (scenario.reconcilers > 0))?;
    if !is_without_proxies(scenario, state) {
        return statefulset
            .preserved
            .map(|preserved| format!("the annotation with the count {preserved} is left beside proxies"));
    }
    let spec = &state.server.spec;
    let chosen = |count: Count| state.choices(Workload::StatefulSet) & (1 << count) != 0;
    // Without the policy, proxy runners reset counts. A declared count is restored whatever the annotation says.
    let is_chosen = match statefulset.preserved {
        None => spec.backend_replicas == Some(0),
        Some(preserved) => {
            !scenario.policy
                || spec.backend_replicas.is_some()
                || chosen(preserved)
                || preserved == 1 && starts_with_its_proxies(scenario, chosen(0))
                || spec.transport == Transport::Stdio && (2..8).any(chosen)
        }
    };
    (!is_chosen).then(|| {
        let preserved = statefulset.preserved.map_or("no".to_owned(), |preserved| preserved.to_string());
        format!(
            "the StatefulSet gets {preserved} replicas back; its owner chose {}",
            choices(state, Workload::StatefulSet)
        )
    })
}

fn toolhives_conditions(scenario: &Scenario, state: &State) -> Vec<String> {
    let is_written = (scenario.reconcilers > 0) || scenario.era == Era::Declares && state.operator.is_up;
    let expected = state.server.spec.toolhive_conditions(state.server.generation);
    let pairs = state.server.conditions.into_iter().zip(expected);
    let wrong = pairs.filter(|(found, expected)| is_written && *found != Some(*expected));
    wrong.map(|(found, expected)| format!("the condition should be {expected:?} and is {found:?}")).collect()
}

fn own_condition(scenario: &Scenario, state: &State) -> Option<String> {
    if scenario.reconcilers == 0 {
        return None;
    }
    let spec = &state.server.spec;
    let several = Workload::ALL.into_iter().any(|workload| state.count(workload).is_some_and(|count| count > 1));
    // The operator's default Redis takes the place of a declared memory too.
    let has_redis = [spec.storage, Some(scenario.default_storage)].contains(&Some(SessionStorage::Redis));
    let is_reported = spec.replicas.is_some_and(|count| count > 1) && spec.storage != Some(SessionStorage::Redis);
    let expected = if spec.transport == Transport::Stdio && spec.backend_replicas.is_some_and(|count| count > 1) {
        Some(ConditionReason::BackendReplicasAboveStdioCap)
    } else if several && !has_redis && !is_reported {
        Some(ConditionReason::WorkloadReplicasWithoutSessionStorage)
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
    (!is_as_expected).then(|| format!("WorkloadReplicasWarning should be {expected:?} and is {condition:?}"))
}

/// Returns whether what people changed is rolled out.
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
