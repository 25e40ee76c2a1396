//! What the reconciler remembers of each server, by the server's uid: a server that is deleted and created again under the same
//! name starts with nothing. A restart loses all of it. Pure: the caller passes the time.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::deadlines::Deadlines;
use crate::events::EventContent;
use crate::recreated::StatefulSetCounts;
use crate::retries::Retries;
use crate::stabilization::StabilizationWindows;
use crate::uid::Uid;

/// What is remembered of all servers. A server of which nothing is remembered takes no space.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) backoff: Backoff,
    pub(crate) stabilization: StabilizationWindows,
    /// For ToolHive's operator to restore a count that its reset took away.
    pub(crate) pending_resets: Deadlines,
    /// For the proxies of a server that was scaled to 0 to end.
    pub(crate) ending_proxies: Deadlines,
    pub(crate) retries: Retries,
    pub(crate) statefulset_counts: StatefulSetCounts,
    /// The conflicts that were reported, of servers that have some.
    pub(crate) reported_conflicts: HashMap<Uid, Vec<EventContent>>,
}

impl Memory {
    /// Forgets a server that was deleted.
    pub(crate) fn forget(&mut self, server: Uid) {
        self.backoff.servers.remove(&server);
        self.stabilization.servers.remove(&server);
        self.pending_resets.until.remove(&server);
        self.ending_proxies.until.remove(&server);
        self.retries.servers.remove(&server);
        self.statefulset_counts.servers.remove(&server);
        self.reported_conflicts.remove(&server);
    }

    /// Forgets what is outdated, and the servers that do not exist: their deletion was missed while a watch was interrupted, or a
    /// reconcile was under way when they were deleted.
    pub(crate) fn prune(&mut self, exists: impl Fn(Uid) -> bool, now: Instant) {
        self.backoff.prune(now);
        self.stabilization.prune(now);
        keep(&mut self.backoff.servers, &exists);
        keep(&mut self.stabilization.servers, &exists);
        keep(&mut self.pending_resets.until, &exists);
        keep(&mut self.ending_proxies.until, &exists);
        keep(&mut self.retries.servers, &exists);
        keep(&mut self.statefulset_counts.servers, &exists);
        keep(&mut self.reported_conflicts, &exists);
    }
}

/// Keeps the servers that exist, and frees the space of the others if it is worth it.
fn keep<T>(servers: &mut HashMap<Uid, T>, exists: impl Fn(Uid) -> bool) {
    servers.retain(|server, _| exists(*server));
    if servers.len() < servers.capacity() / 4 {
        servers.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use mcp_scaling_rules::{Scaling, Transport};
    use tokio::time::Instant;

    use super::Memory;
    use crate::backoff::Target;
    use crate::uid::Uid;
    use crate::workload_replicas::WorkloadReplicas;

    const SERVERS: usize = 100_000;

    fn uid(index: usize) -> Uid {
        Uid::of(Some(&format!("uid-{index}")))
    }

    /// Has everything remembered of a server.
    fn remember(memory: &mut Memory, server: Uid, now: Instant) {
        let scaling =
            Scaling { transport: Transport::Sse, replicas: None, backend_replicas: None, session_storage: None };
        let set_to = WorkloadReplicas { statefulset: Some(3), ..WorkloadReplicas::default() };
        memory.backoff.record_write(server, Target::Conditions, Some(1), now);
        memory.stabilization.observe(server, true, false, now);
        memory.pending_resets.observe(server, Some(Duration::ZERO), now);
        memory.ending_proxies.observe(server, Some(Duration::ZERO), now);
        memory.retries.delay_after_failure(server);
        memory.statefulset_counts.record(server, &scaling, set_to);
        memory.reported_conflicts.insert(server, Vec::new());
    }

    /// The number of servers that each part remembers, and the space that it holds.
    fn sizes(memory: &Memory) -> [(usize, usize); 7] {
        let Memory {
            backoff,
            stabilization,
            pending_resets,
            ending_proxies,
            retries,
            statefulset_counts,
            reported_conflicts,
        } = memory;
        [
            (backoff.servers.len(), backoff.servers.capacity()),
            (stabilization.servers.len(), stabilization.servers.capacity()),
            (pending_resets.until.len(), pending_resets.until.capacity()),
            (ending_proxies.until.len(), ending_proxies.until.capacity()),
            (retries.servers.len(), retries.servers.capacity()),
            (statefulset_counts.servers.len(), statefulset_counts.servers.capacity()),
            (reported_conflicts.len(), reported_conflicts.capacity()),
        ]
    }

    #[test]
    fn does_not_grow_with_servers_that_are_created_and_deleted() {
        let mut memory = Memory::default();
        let now = Instant::now();
        for index in 0..SERVERS {
            remember(&mut memory, uid(index), now);
            memory.forget(uid(index));
            assert!(sizes(&memory).iter().all(|(servers, _)| *servers == 0), "{:?}", sizes(&memory));
        }
        assert!(sizes(&memory).iter().all(|(_, space)| *space < 16), "{:?}", sizes(&memory));
    }

    #[test]
    fn forgets_servers_whose_deletion_was_missed() {
        let mut memory = Memory::default();
        let now = Instant::now();
        for index in 0..SERVERS {
            remember(&mut memory, uid(index), now);
        }
        assert!(sizes(&memory).iter().all(|(servers, _)| *servers == SERVERS), "{:?}", sizes(&memory));
        let existing: HashSet<Uid> = (0..3).map(uid).collect();
        memory.prune(|server| existing.contains(&server), now);
        assert!(sizes(&memory).iter().all(|(servers, space)| *servers == 3 && *space < 100), "{:?}", sizes(&memory));
    }
}
