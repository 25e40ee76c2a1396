//! What the reconciler remembers of servers that keep it busy: when it wrote, and when it failed. All of it may be lost;
//! the API server holds what matters. Servers at rest take no place in it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// For how long after its cause a `LiveReplicasWarning` stays, and after how long without a write the next one is a new
/// matter.
pub const QUIET: Duration = Duration::from_secs(600);

/// Writes to one target that come at once. After them each waits twice as long as the one before.
const UNHINDERED: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_secs(15);
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// What is written of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `status.conditions`.
    Conditions,
    /// The scale of the Deployment.
    Deployment,
    /// The scale of the StatefulSet.
    StatefulSet,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The first for some time.
    Anew,
    /// What was written lately was not there any more.
    Again,
    /// The same, once too often: the next one waits. Said once.
    Yielding,
}

#[derive(Clone, Copy, Debug)]
struct Writes {
    generation: Option<i64>,
    count: u32,
    last: Instant,
}

/// Whether the live counts are wrong, or since when they are no longer.
#[derive(Clone, Copy, Debug, Default)]
enum Wrong {
    #[default]
    Never,
    Now,
    Until(Instant),
}

#[derive(Debug, Default)]
struct Past {
    writes: [Option<Writes>; 3],
    wrong: Wrong,
    failures: Option<Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// What is remembered of all servers, by any name for them.
#[derive(Debug, Default)]
pub struct History {
    servers: HashMap<Box<str>, Past>,
}

impl History {
    /// How long a write has to wait, so as not to fight another writer. Whoever changes the spec (`generation`) begins anew.
    pub fn wait(&self, server: &str, target: Target, generation: Option<i64>, now: Instant) -> Duration {
        let writes = self.servers.get(server).and_then(|past| past.writes[target as usize]);
        match writes.filter(|writes| writes.generation == generation) {
            Some(writes) => (writes.last + patience(writes.count)).saturating_duration_since(now),
            None => Duration::ZERO,
        }
    }

    /// Remembers a write.
    pub fn wrote(&mut self, server: &str, target: Target, generation: Option<i64>, now: Instant) -> Written {
        let past = self.servers.entry(server.into()).or_default();
        let writes = &mut past.writes[target as usize];
        let lately = writes.filter(|writes| writes.generation == generation && !writes.is_over(now));
        let count = lately.map_or(0, |writes| writes.count) + 1;
        *writes = Some(Writes { generation, count, last: now });
        match count {
            1 => Written::Anew,
            count if count == UNHINDERED => Written::Yielding,
            _ => Written::Again,
        }
    }

    /// Whether the live counts of a server are wrong or were within [`QUIET`]. `is_warned_of` says that the status still warns:
    /// since when is lost at a restart, so it is counted from the first time it is seen.
    pub fn warned_lately(&mut self, server: &str, is_wrong: bool, is_warned_of: bool, now: Instant) -> bool {
        if is_wrong {
            self.servers.entry(server.into()).or_default().wrong = Wrong::Now;
            return true;
        }
        if is_warned_of {
            self.servers.entry(server.into()).or_default();
        }
        if let Some(past) = self.servers.get_mut(server)
            && (matches!(past.wrong, Wrong::Now) || is_warned_of && matches!(past.wrong, Wrong::Never))
        {
            past.wrong = Wrong::Until(now);
        }
        self.quiet_in(server, now) > Duration::ZERO
    }

    /// In how long the warning of live counts that are right again can go.
    pub fn quiet_in(&self, server: &str, now: Instant) -> Duration {
        match self.servers.get(server).map(|past| past.wrong) {
            Some(Wrong::Until(then)) => (then + QUIET).saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }

    /// How long to wait after a failure: longer each time, and never quite as long as others, so that not all come back at
    /// once.
    pub fn failed(&mut self, server: &str, now: Instant) -> Duration {
        let past = self.servers.entry(server.into()).or_default();
        let before = past.failures.map_or(0, |failures| failures.count);
        past.failures = Some(Failures { count: before.saturating_add(1), last: now });
        let wait = doubled(FIRST_RETRY, before, LONGEST_RETRY);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Forgets the failures of a server.
    pub fn succeeded(&mut self, server: &str) {
        if let Some(past) = self.servers.get_mut(server) {
            past.failures = None;
        }
    }

    /// Forgets what is over.
    pub fn prune(&mut self, now: Instant) {
        self.servers.retain(|_, past| {
            let is_wrong = match past.wrong {
                Wrong::Never => false,
                Wrong::Now => true,
                // Longer than the warning lasts, or it would be taken for one from before a restart.
                Wrong::Until(then) => then + QUIET * 2 > now,
            };
            // A server that failed and was deleted is not tried again.
            let fails = past.failures.is_some_and(|failures| failures.last + LONGEST_RETRY * 2 > now);
            is_wrong || fails || past.writes.iter().flatten().any(|writes| !writes.is_over(now))
        });
    }
}

impl Writes {
    /// Whether it stayed written for long enough to call another write a new matter.
    fn is_over(&self, now: Instant) -> bool {
        self.last + QUIET.max(patience(self.count) * 2) <= now
    }
}

/// How long the next write waits after as many.
fn patience(writes: u32) -> Duration {
    match writes.checked_sub(UNHINDERED) {
        Some(more) => doubled(FIRST_WAIT, more, LONGEST_WAIT),
        None => Duration::ZERO,
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 2_u32.checked_pow(times).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{History, QUIET, Target, Written};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_yields_to_a_writer_that_insists_and_says_so_once() {
        let mut history = History::default();
        let mut now = Instant::now();
        let mut told = Vec::new();
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = history.wait("a", Target::Deployment, Some(1), now);
            now += wait + SECOND;
            waits.push(wait.as_secs().next_multiple_of(15));
            told.push(history.wrote("a", Target::Deployment, Some(1), now));
        }
        assert_eq!(waits, [0, 0, 0, 15, 30, 60, 120, 240, 480, 960, 1800, 1800]);
        assert_eq!(&told[..4], [Written::Anew, Written::Again, Written::Yielding, Written::Again]);
        assert!(told[3..].iter().all(|written| *written == Written::Again));
        assert_eq!(history.wait("a", Target::StatefulSet, Some(1), now), Duration::ZERO, "each target for itself");
        assert_eq!(history.wait("b", Target::Deployment, Some(1), now), Duration::ZERO, "each server for itself");
        assert_eq!(history.wait("a", Target::Deployment, Some(2), now), Duration::ZERO, "the spec was changed");
        assert_eq!(history.wrote("a", Target::Deployment, Some(2), now), Written::Anew);
    }

    #[test]
    fn what_stayed_written_is_over() {
        let mut history = History::default();
        let now = Instant::now();
        assert_eq!(history.wrote("a", Target::Conditions, None, now), Written::Anew);
        assert_eq!(history.wrote("a", Target::Conditions, None, now + QUIET - SECOND), Written::Again);
        assert_eq!(history.wrote("a", Target::Conditions, None, now + QUIET * 2), Written::Anew);
        history.prune(now + QUIET * 2);
        assert_eq!(history.servers.len(), 1);
        history.prune(now + QUIET * 3);
        assert!(history.servers.is_empty());
    }

    #[test]
    fn a_warning_lasts_for_some_time_after_its_cause() {
        let mut history = History::default();
        let now = Instant::now();
        assert!(!history.warned_lately("a", false, false, now));
        assert!(history.warned_lately("a", true, false, now));
        assert_eq!(history.quiet_in("a", now), Duration::ZERO, "as long as it is wrong");
        history.prune(now + QUIET * 10);
        let now = now + QUIET * 10;
        assert!(history.warned_lately("a", false, true, now), "it was wrong until now");
        assert_eq!(history.quiet_in("a", now + QUIET - SECOND), SECOND);
        assert!(history.warned_lately("a", false, true, now + QUIET - SECOND));
        history.prune(now + QUIET);
        assert!(!history.warned_lately("a", false, true, now + QUIET));
        assert!(history.warned_lately("b", false, true, now), "after a restart it is counted from when it is seen");
        assert!(!history.warned_lately("b", false, true, now + QUIET));
    }

    #[test]
    fn failures_are_tried_again_ever_later() {
        let mut history = History::default();
        let now = Instant::now();
        for (times, longest) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
            let wait = history.failed("a", now);
            assert!(wait >= SECOND * longest / 2 && wait <= SECOND * longest, "{times}: {wait:?}");
        }
        for _ in 0..100 {
            assert!(history.failed("a", now) <= Duration::from_secs(300));
        }
        history.succeeded("a");
        assert!(history.failed("a", now) <= SECOND);
        history.prune(now + SECOND * 300);
        assert_eq!(history.servers.len(), 1);
        history.prune(now + SECOND * 600);
        assert!(history.servers.is_empty(), "it was deleted meanwhile");
    }
}
