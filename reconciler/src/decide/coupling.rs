//! The proxies of a server and its backend as one unit: with no proxy left the backend is scaled to 0, and it gets its count back
//! with the first proxy. The count is preserved in an annotation of the StatefulSet, so that a restart of the reconciler does not
//! lose it. Pure.
//!
//! ToolHive couples them in neither direction: a proxy runner that ends leaves its backend running
//! (<https://github.com/stacklok/toolhive/issues/4484>), and from v0.12.5 on one that starts does not scale a backend up from 0.

use mcp_scaling_rules::stopped::stopped_alone;
use mcp_scaling_rules::workload::DEFAULT_REPLICAS;
use mcp_scaling_rules::{Scaling, Workload, replicas};

use crate::observe::workload::PodsLeft;
use crate::observe::workload_replicas::WorkloadReplicas;

/// The next write that couples the backend of a server to its proxies. Each leads to a state from which the next one follows, so
/// that the reconciler may stop between any two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Preserve this count of the StatefulSet in its annotation, before it is scaled to 0.
    PreserveCount(u32),
    /// Scale the StatefulSet to 0.
    ScaleToZero,
    /// Scale the StatefulSet from 0 to this count.
    ScaleUp(u32),
    /// Remove the annotation: the StatefulSet runs again.
    ForgetCount,
}

/// The next step for a server. `None` if its workloads fit together, or if somebody else scaled its backend to 0.
pub(crate) fn next_step(scaling: &Scaling, set_to: WorkloadReplicas) -> Option<Step> {
    let (_, backends) = (set_to.deployment?, set_to.statefulset?);
    let preserved = set_to.statefulset_before_zero;
    match workload_at_zero(set_to) {
        // Proxies that are ending still serve the streams that they have.
        Some(Workload::Deployment) if set_to.proxies_left != PodsLeft::None => None,
        Some(Workload::Deployment) if preserved == Some(backends) => Some(Step::ScaleToZero),
        Some(Workload::Deployment) => Some(Step::PreserveCount(backends)),
        Some(Workload::StatefulSet) => {
            preserved.map(|_| count_to_restore(scaling, set_to).map_or(Step::ForgetCount, Step::ScaleUp))
        }
        None if backends > 0 => preserved.map(|_| Step::ForgetCount),
        // Somebody stopped both, the backend perhaps by hand: it starts with its proxies again.
        None => count_to_start(scaling).filter(|_| preserved.is_none()).map(Step::PreserveCount),
    }
}

/// The count for a backend that was stopped with its proxies by somebody else, so that nobody knows the one before: the declared
/// one, or else the one that ToolHive makes a backend with. `None` if 0 is declared.
fn count_to_start(scaling: &Scaling) -> Option<u32> {
    let declared = Workload::StatefulSet.declared(scaling).unwrap_or(DEFAULT_REPLICAS);
    Some(declared).filter(|count| *count > 0)
}

/// The count that a backend at 0 gets with its proxies: the declared one, which may have changed meanwhile, or else the
/// preserved one.
/// `None` if there is neither, or if it is 0.
pub(crate) fn count_to_restore(scaling: &Scaling, set_to: WorkloadReplicas) -> Option<u32> {
    let declared = Workload::StatefulSet.declared(scaling);
    replicas::decide(scaling.transport, 0, declared, set_to.statefulset_before_zero).changed()
}

/// The workload of a server that is at 0 while the other one runs.
pub(crate) fn workload_at_zero(set_to: WorkloadReplicas) -> Option<Workload> {
    let (deployment, statefulset) = (set_to.deployment?, set_to.statefulset?);
    stopped_alone(|workload| match workload {
        Workload::Deployment => deployment,
        Workload::StatefulSet => statefulset,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mcp_scaling_rules::{Scaling, Transport};

    use super::{Step, next_step};
    use crate::observe::workload::PodsLeft;
    use crate::observe::workload_replicas::WorkloadReplicas;

    fn scaling(transport: Transport, backend_replicas: Option<u32>) -> Scaling {
        Scaling { transport, replicas: None, backend_replicas, session_storage: None }
    }

    fn set_to(proxies: u32, backends: u32, preserved: Option<u32>) -> WorkloadReplicas {
        WorkloadReplicas {
            deployment: Some(proxies),
            statefulset: Some(backends),
            statefulset_before_zero: preserved,
            ..WorkloadReplicas::default()
        }
    }

    #[test]
    fn scales_the_backend_to_zero_with_its_proxies_and_up_again() {
        use Step::{ForgetCount, PreserveCount, ScaleToZero, ScaleUp};
        for (proxies, backends, preserved, step) in [
            (2, 3, None, None),
            (0, 3, None, Some(PreserveCount(3))),
            (0, 3, Some(3), Some(ScaleToZero)),
            (0, 0, Some(3), None),
            (2, 0, Some(3), Some(ScaleUp(3))),
            (2, 3, Some(3), Some(ForgetCount)),
            // Somebody scaled the backend while its proxies were at 0, or woke the proxies before the backend was at 0.
            (0, 2, Some(3), Some(PreserveCount(2))),
            (2, 2, Some(3), Some(ForgetCount)),
            // Somebody else scaled the backend to 0.
            (2, 0, None, None),
            // Somebody scaled both to 0.
            (0, 0, None, Some(PreserveCount(1))),
        ] {
            let set_to = set_to(proxies, backends, preserved);
            assert_eq!(next_step(&scaling(Transport::Sse, None), set_to), step, "{set_to:?}");
        }
    }

    #[test]
    fn restores_the_declared_count_and_one_backend_for_stdio() {
        use Step::{ForgetCount, ScaleUp};
        for (transport, declared, step) in [
            (Transport::Sse, None, ScaleUp(3)),
            (Transport::Sse, Some(2), ScaleUp(2)),
            (Transport::Sse, Some(0), ForgetCount),
            (Transport::Stdio, None, ScaleUp(1)),
            (Transport::Stdio, Some(2), ScaleUp(1)),
        ] {
            let next = next_step(&scaling(transport, declared), set_to(1, 0, Some(3)));
            assert_eq!(next, Some(step), "{transport:?} {declared:?}");
        }
        assert_eq!(next_step(&scaling(Transport::Sse, Some(2)), set_to(1, 0, None)), None, "somebody scaled it to 0");
    }

    #[test]
    fn records_a_count_for_a_backend_that_somebody_stopped_with_its_proxies() {
        for (declared, step) in
            [(None, Some(Step::PreserveCount(1))), (Some(3), Some(Step::PreserveCount(3))), (Some(0), None)]
        {
            assert_eq!(next_step(&scaling(Transport::Sse, declared), set_to(0, 0, None)), step, "{declared:?}");
        }
    }

    #[test]
    fn waits_for_the_end_of_the_proxies() {
        for (proxies_left, step) in [
            (PodsLeft::Some, None),
            (PodsLeft::Ending(Duration::from_secs(35)), None),
            (PodsLeft::None, Some(Step::PreserveCount(2))),
        ] {
            let set_to = WorkloadReplicas { proxies_left, ..set_to(0, 2, None) };
            assert_eq!(next_step(&scaling(Transport::Sse, None), set_to), step, "{proxies_left:?}");
        }
    }

    #[test]
    fn leaves_a_server_without_one_of_its_workloads() {
        let none = WorkloadReplicas::default();
        let only_proxies = WorkloadReplicas { deployment: Some(0), ..none };
        let only_backend = WorkloadReplicas { statefulset: Some(3), statefulset_before_zero: Some(3), ..none };
        for set_to in [none, only_proxies, only_backend] {
            assert_eq!(next_step(&scaling(Transport::Sse, None), set_to), None, "{set_to:?}");
        }
    }

    /// Whatever the state, its steps end, and with proxies again the backend has the count that it had.
    #[test]
    fn ends_in_a_state_that_fits_together() {
        let scaling = scaling(Transport::Sse, None);
        let settle = |mut state: WorkloadReplicas| {
            for _ in 0..4 {
                match next_step(&scaling, state) {
                    None => return Some(state),
                    Some(Step::PreserveCount(count)) => state.statefulset_before_zero = Some(count),
                    Some(Step::ScaleToZero) => state.statefulset = Some(0),
                    Some(Step::ScaleUp(count)) => state.statefulset = Some(count),
                    Some(Step::ForgetCount) => state.statefulset_before_zero = None,
                }
            }
            None
        };
        for (backends, preserved) in [(1, None), (3, None), (3, Some(3)), (3, Some(2)), (0, Some(3)), (0, None)] {
            let asleep = settle(set_to(0, backends, preserved));
            assert_eq!(asleep.and_then(|state| state.statefulset), Some(0), "{backends} {preserved:?}");
            let awake = asleep.and_then(|state| settle(WorkloadReplicas { deployment: Some(1), ..state }));
            let expected = if backends > 0 { backends } else { preserved.unwrap_or(1) };
            assert_eq!(awake.map(|it| (it.statefulset, it.statefulset_before_zero)), Some((Some(expected), None)));
        }
    }
}
