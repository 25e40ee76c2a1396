//! What the reconciler remembers of each server, by the server's uid: a server that is deleted and created again under the same
//! name starts with nothing. A restart loses all of it. Pure: the caller passes the time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::backoff::Backoff;
use crate::decide::deadlines::Deadline;
use crate::decide::events::EventContent;
use crate::decide::retries::Retries;
use crate::decide::stabilization::StabilizationWindow;
use crate::observe::uid::Uid;

/// What is remembered of one server. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerMemory {
    /// Of the writes to it.
    pub backoff: Backoff,
    /// Of the cause of its warning.
    pub stabilization: StabilizationWindow,
    /// For ToolHive's operator to restore a count that its reset took away.
    pub pending_reset: Deadline,
    /// For its proxies to end after it was scaled to 0.
    pub ending_proxies: Deadline,
    pub(crate) retries: Retries,
    /// The conflicts that were reported.
    pub(crate) reported_conflicts: Vec<EventContent>,
}

impl ServerMemory {
    /// How long until the first of these ends: the stabilization window of its warning, the operator's time after a reset, and that of
    /// its proxies. `None` if there is nothing to wait for.
    pub(crate) fn shortest_wait(&self, now: Instant) -> Option<Duration> {
        let waits =
            [self.stabilization.remaining(now), self.pending_reset.remaining(now), self.ending_proxies.remaining(now)];
        waits.into_iter().filter(|remaining| *remaining > Duration::ZERO).min()
    }
}

/// What is remembered of all servers. A server of which nothing is remembered takes no space.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    // A map has room for up to twice its entries, so that large ones are boxed.
    servers: HashMap<Uid, Box<ServerMemory>>,
}

impl Memory {
    /// What is remembered of a server.
    pub(crate) fn get(&self, server: Uid) -> Option<&ServerMemory> {
        self.servers.get(&server).map(Box::as_ref)
    }

    /// Changes what is remembered of a server.
    pub(crate) fn update<R>(&mut self, server: Uid, update: impl FnOnce(&mut ServerMemory) -> R) -> R {
        match self.servers.entry(server) {
            Entry::Occupied(mut entry) => {
                let result = update(entry.get_mut());
                if **entry.get() == ServerMemory::default() {
                    entry.remove();
                }
                result
            }
            Entry::Vacant(entry) => {
                let mut memory = ServerMemory::default();
                let result = update(&mut memory);
                if memory != ServerMemory::default() {
                    entry.insert(Box::new(memory));
                }
                result
            }
        }
    }

    /// Forgets a server that was deleted.
    pub(crate) fn forget(&mut self, server: Uid) {
        self.servers.remove(&server);
    }

    /// Forgets what is outdated, and the servers that do not exist: their deletion was missed while a watch was interrupted, or a
    /// reconcile was under way when they were deleted. Frees their space if it is worth it.
    pub(crate) fn prune(&mut self, exists: impl Fn(Uid) -> bool, now: Instant) {
        self.servers.retain(|server, memory| {
            memory.backoff.prune(now);
            memory.stabilization.prune(now);
            exists(*server) && **memory != ServerMemory::default()
        });
        if self.servers.len() < self.servers.capacity() / 4 {
            self.servers.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::time::Instant;

    use super::{Duration, Memory, ServerMemory};
    use crate::decide::backoff::Target;
    use crate::observe::uid::Uid;

    const SERVERS: usize = 100_000;

    fn uid(index: usize) -> Uid {
        Uid::of(Some(&format!("uid-{index}")))
    }

    fn remember(memory: &mut ServerMemory, now: Instant) {
        memory.backoff.record_write(Target::Conditions, Some(1), now);
    }

    #[test]
    fn does_not_grow_with_servers_that_are_created_and_deleted() {
        let mut memory = Memory::default();
        let now = Instant::now();
        for index in 0..SERVERS {
            memory.update(uid(index), |server| remember(server, now));
            memory.forget(uid(index));
            assert!(memory.servers.is_empty());
        }
        assert!(memory.servers.capacity() < 16, "{}", memory.servers.capacity());
    }

    #[test]
    fn forgets_servers_whose_deletion_was_missed() {
        let mut memory = Memory::default();
        let now = Instant::now();
        for index in 0..SERVERS {
            memory.update(uid(index), |server| remember(server, now));
        }
        assert_eq!(memory.servers.len(), SERVERS);
        let existing: HashSet<Uid> = (0..3).map(uid).collect();
        memory.prune(|server| existing.contains(&server), now);
        assert_eq!(memory.servers.len(), 3);
        assert!(memory.servers.capacity() < 100, "{}", memory.servers.capacity());
    }

    #[test]
    fn keeps_no_server_of_which_nothing_is_remembered() {
        let mut memory = Memory::default();
        let now = Instant::now();
        let [a, b] = [0, 1].map(uid);
        memory.update(a, |server| assert_eq!(*server, ServerMemory::default()));
        assert!(memory.servers.is_empty());
        for server in [a, b] {
            memory.update(server, |server| server.pending_reset.observe(Some(Duration::from_secs(10)), now));
        }
        memory.update(a, |server| server.pending_reset.observe(None, now));
        assert_eq!(memory.get(a), None);
        assert!(memory.get(b).is_some(), "another server");
        memory.update(a, |server| remember(server, now));
        memory.prune(|_| true, now + Duration::from_secs(3600));
        assert_eq!(memory.get(a), None, "its write lasted");
    }
}
