//! StatefulSets that are recreated. With no declared count a new one starts with 1 replica, and the count that an autoscaler or
//! a person gave to the one before is lost. Pure.

use std::collections::HashMap;

use mcp_scaling_rules::workload::DEFAULT_REPLICAS;
use mcp_scaling_rules::{Scaling, Transport, Workload};

use crate::uid::Uid;
use crate::workload_replicas::WorkloadReplicas;

/// A StatefulSet as it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    uid: Uid,
    replicas: u32,
}

/// The StatefulSets with a count that would be lost, by their server.
#[derive(Debug, Default)]
pub(crate) struct StatefulSetCounts {
    pub(crate) servers: HashMap<Uid, Seen>,
}

impl StatefulSetCounts {
    /// The count that the StatefulSet of a server had before it was recreated with 1 replica, if it has lost one. There is
    /// none for `stdio`, nor if the server declares a count: those do not depend on what the StatefulSet had before.
    pub(crate) fn lost(&self, server: Uid, scaling: &Scaling, set_to: WorkloadReplicas) -> Option<u32> {
        let seen = self.servers.get(&server).filter(|_| is_undeclared(scaling))?;
        let is_lost = set_to.statefulset == Some(DEFAULT_REPLICAS) && set_to.statefulset_uid != seen.uid;
        is_lost.then_some(seen.replicas)
    }

    /// Records the present StatefulSet. While there is none, the one before is remembered.
    pub(crate) fn record(&mut self, server: Uid, scaling: &Scaling, set_to: WorkloadReplicas) {
        match set_to.statefulset {
            Some(replicas) if replicas != DEFAULT_REPLICAS && is_undeclared(scaling) => {
                self.servers.insert(server, Seen { uid: set_to.statefulset_uid, replicas });
            }
            None if is_undeclared(scaling) => {}
            Some(_) | None => drop(self.servers.remove(&server)),
        }
    }
}

fn is_undeclared(scaling: &Scaling) -> bool {
    scaling.transport != Transport::Stdio && Workload::StatefulSet.declared(scaling).is_none()
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::{Scaling, Transport};

    use super::StatefulSetCounts;
    use crate::uid::Uid;
    use crate::workload_replicas::WorkloadReplicas;

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
        let mut counts = StatefulSetCounts::default();
        let server = Uid::of(Some("server"));
        let (last, recorded) = states.split_last()?;
        for state in recorded {
            counts.record(server, &scaling, state.unwrap_or_default());
        }
        counts.lost(server, &scaling, last.unwrap_or_default())
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
        let mut counts = StatefulSetCounts::default();
        let server = Uid::of(Some("server"));
        counts.record(server, &scaling(Transport::Sse, None), statefulset("first", 3));
        counts.record(server, &scaling(Transport::Sse, Some(3)), statefulset("first", 3));
        assert_eq!(counts.lost(server, &scaling(Transport::Sse, None), statefulset("second", 1)), None);
    }

    #[test]
    fn remembers_nothing_of_an_older_server_of_the_same_name() {
        let mut counts = StatefulSetCounts::default();
        let undeclared = scaling(Transport::Sse, None);
        let [server, recreated] = ["server", "recreated"].map(|uid| Uid::of(Some(uid)));
        counts.record(server, &undeclared, statefulset("first", 3));
        assert_eq!(counts.lost(recreated, &undeclared, statefulset("second", 1)), None);
        assert_eq!(counts.lost(server, &undeclared, statefulset("second", 1)), Some(3));
    }
}
