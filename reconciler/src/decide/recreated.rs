//! StatefulSets that are recreated. With no declared count a new one starts with 1 replica, and the count that an autoscaler or
//! a person gave to the one before is lost. Pure.

use mcp_scaling_rules::workload::DEFAULT_REPLICAS;
use mcp_scaling_rules::{Scaling, Transport, Workload};

use crate::observe::uid::Uid;
use crate::observe::workload_replicas::WorkloadReplicas;

/// The StatefulSet of a server as it was last seen, if it had a count that would be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct StatefulSetCount {
    seen: Option<(Uid, u32)>,
}

impl StatefulSetCount {
    /// The count that the StatefulSet of a server had before it was recreated with 1 replica, if it has lost one. There is
    /// none for `stdio`, nor if the server declares a count: those do not depend on what the StatefulSet had before.
    pub(crate) fn lost(&self, scaling: &Scaling, set_to: WorkloadReplicas) -> Option<u32> {
        let (uid, replicas) = self.seen.filter(|_| is_undeclared(scaling))?;
        let is_lost = set_to.statefulset == Some(DEFAULT_REPLICAS) && set_to.statefulset_uid != uid;
        is_lost.then_some(replicas)
    }

    /// Records the present StatefulSet. While there is none, the one before is remembered.
    pub(crate) fn record(&mut self, scaling: &Scaling, set_to: WorkloadReplicas) {
        self.seen = match set_to.statefulset {
            Some(replicas) if replicas != DEFAULT_REPLICAS && is_undeclared(scaling) => {
                Some((set_to.statefulset_uid, replicas))
            }
            None if is_undeclared(scaling) => self.seen,
            Some(_) | None => None,
        };
    }
}

fn is_undeclared(scaling: &Scaling) -> bool {
    scaling.transport != Transport::Stdio && Workload::StatefulSet.declared(scaling).is_none()
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::{Scaling, Transport};

    use super::StatefulSetCount;
    use crate::observe::uid::Uid;
    use crate::observe::workload_replicas::WorkloadReplicas;

    fn scaling(transport: Transport, backend_replicas: Option<u32>) -> Scaling {
        Scaling { transport, replicas: None, backend_replicas, session_storage: None }
    }

    fn statefulset(uid: &str, replicas: u32) -> WorkloadReplicas {
        WorkloadReplicas {
            statefulset: Some(replicas),
            statefulset_uid: Uid::of(Some(uid)),
            ..WorkloadReplicas::default()
        }
    }

    const GONE: Option<WorkloadReplicas> = None;

    /// The lost count after these states of the StatefulSet, of which all but the last are recorded.
    fn lost(scaling: Scaling, states: &[Option<WorkloadReplicas>]) -> Option<u32> {
        let mut count = StatefulSetCount::default();
        let (last, recorded) = states.split_last()?;
        for state in recorded {
            count.record(&scaling, state.unwrap_or_default());
        }
        count.lost(&scaling, last.unwrap_or_default())
    }

    #[test]
    fn tells_the_count_that_a_recreated_statefulset_lost() {
        let undeclared = scaling(Transport::Sse, None);
        let [three, one, zero] = [3, 1, 0].map(|replicas| Some(statefulset("first", replicas)));
        let [anew_with_one, anew_with_three] = [1, 3].map(|replicas| Some(statefulset("second", replicas)));
        for (states, expected) in [
            (&[three, anew_with_one][..], Some(3)),
            (&[three, GONE, anew_with_one], Some(3)),
            (&[zero, GONE, anew_with_one], Some(0)),
            (&[three, GONE], None),
            (&[three, GONE, anew_with_three], None),
            (&[three, one], None),
            (&[three, one, GONE, anew_with_one], None),
            (&[three, anew_with_three, Some(statefulset("second", 1))], None),
            (&[three, anew_with_one, anew_with_one], None),
            (&[anew_with_one], None),
        ] {
            assert_eq!(lost(undeclared, states), expected, "{states:?}");
        }
        for other in [scaling(Transport::Stdio, None), scaling(Transport::Sse, Some(3))] {
            assert_eq!(lost(other, &[three, GONE, anew_with_one]), None, "{other:?}");
        }
    }

    #[test]
    fn forgets_a_count_once_it_is_declared() {
        let mut count = StatefulSetCount::default();
        count.record(&scaling(Transport::Sse, None), statefulset("first", 3));
        count.record(&scaling(Transport::Sse, Some(3)), statefulset("first", 3));
        assert_eq!(count.lost(&scaling(Transport::Sse, None), statefulset("second", 1)), None);
    }
}
