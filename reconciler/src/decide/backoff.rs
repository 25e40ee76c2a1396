//! Backing off from a target that another writer keeps reverting, so that the two do not overwrite each other without end.
//! Pure: the caller passes the time. A restart loses this memory, and the backoff begins again.

use std::time::Duration;

use mcp_scaling_rules::Workload;
use tokio::time::Instant;

/// Writes to one target that may follow each other without a delay. After them the delay doubles with each write.
pub const WRITES_WITHOUT_DELAY: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_secs(15);
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(30 * 60);

/// How long a write must last at least, so that the next one counts as the first again.
const RESET_AFTER: Duration = Duration::from_secs(600);

/// A part of a server that the reconciler writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// `status.conditions` of the `MCPServer`.
    Conditions,
    /// The scale of the Deployment.
    Deployment,
    /// The scale of the StatefulSet.
    StatefulSet,
    /// The scale of the StatefulSet, which is set to 0 with its proxies.
    StatefulSetToZero,
    /// The scale of the StatefulSet, which is set up from 0 with its proxies. They need it at once, whoever reverts its other counts.
    StatefulSetFromZero,
}

impl Target {
    /// The target in log entries and events.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Conditions => "status.conditions",
            Self::Deployment => "replicas of the Deployment",
            Self::StatefulSet => "replicas of the StatefulSet",
            Self::StatefulSetToZero => "replicas of the StatefulSet, which has no proxies",
            Self::StatefulSetFromZero => "replicas of the StatefulSet, whose proxies start",
        }
    }
}

impl From<Workload> for Target {
    fn from(workload: Workload) -> Self {
        match workload {
            Workload::Deployment => Self::Deployment,
            Workload::StatefulSet => Self::StatefulSet,
        }
    }
}

/// How a write relates to the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteKind {
    /// There was no write of late.
    First,
    /// The last write was reverted.
    Repeated,
    /// The same, and from now on there is a delay before each write. Returned once in a row of writes.
    BackoffBegins,
}

/// The recent writes to one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Writes {
    /// The generation of the server.
    pub generation: Option<i64>,
    /// How many there were in a row.
    pub count: u32,
    /// When the last one was made.
    pub last: Instant,
}

/// The recent writes to the targets of one server. Most servers have one target, and it takes no space for the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// The targets that were written, the last one at the end.
    pub targets: Vec<(Target, Writes)>,
}

impl Backoff {
    /// How long to wait before the next write. There is no delay for a spec of another `generation`: its change may have
    /// ended the conflict.
    pub fn delay(&self, target: Target, generation: Option<i64>, now: Instant) -> Duration {
        match self.writes(target).filter(|writes| writes.generation == generation) {
            Some(writes) => (writes.last + delay_after(writes.count)).saturating_duration_since(now),
            None => Duration::ZERO,
        }
    }

    /// Records a write.
    pub(crate) fn record_write(&mut self, target: Target, generation: Option<i64>, now: Instant) -> WriteKind {
        let recent = self.writes(target).filter(|writes| writes.generation == generation && !writes.is_outdated(now));
        let count = recent.map_or(0, |writes| writes.count) + 1;
        self.forget(target);
        self.targets.reserve_exact(1);
        self.targets.push((target, Writes { generation, count, last: now }));
        match count {
            1 => WriteKind::First,
            WRITES_WITHOUT_DELAY => WriteKind::BackoffBegins,
            _ => WriteKind::Repeated,
        }
    }

    /// Forgets the writes to a target whose conflict has ended.
    pub(crate) fn forget(&mut self, target: Target) {
        self.targets.retain(|(written, _)| *written != target);
    }

    /// Forgets the writes that lasted.
    pub(crate) fn prune(&mut self, now: Instant) {
        self.targets.retain(|(_, writes)| !writes.is_outdated(now));
    }

    fn writes(&self, target: Target) -> Option<Writes> {
        self.targets.iter().find(|(written, _)| *written == target).map(|(_, writes)| *writes)
    }
}

impl Writes {
    /// Returns whether the last write lasted long enough for the next one to count as the first.
    fn is_outdated(&self, now: Instant) -> bool {
        self.last + RESET_AFTER.max(delay_after(self.count) * 2) <= now
    }
}

/// The delay after this many writes.
fn delay_after(writes: u32) -> Duration {
    match writes.checked_sub(WRITES_WITHOUT_DELAY) {
        Some(doublings) => doubled(FIRST_DELAY, doublings, LONGEST_DELAY),
        None => Duration::ZERO,
    }
}

/// `first`, doubled this many times and at most `longest`.
pub(crate) fn doubled(first: Duration, doublings: u32, longest: Duration) -> Duration {
    let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Backoff, RESET_AFTER, Target, WriteKind};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn backs_off_from_a_writer_that_keeps_reverting() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut kinds = Vec::new();
        let mut delays = Vec::new();
        for _ in 0..12 {
            let delay = backoff.delay(Target::Deployment, Some(1), now);
            now += delay + SECOND;
            delays.push(delay.as_secs().next_multiple_of(15));
            kinds.push(backoff.record_write(Target::Deployment, Some(1), now));
        }
        assert_eq!(delays, [0, 0, 0, 15, 30, 60, 120, 240, 480, 960, 1800, 1800]);
        assert_eq!(kinds[..3], [WriteKind::First, WriteKind::Repeated, WriteKind::BackoffBegins]);
        assert!(kinds[3..].iter().all(|kind| *kind == WriteKind::Repeated), "reported once");
        assert_eq!(backoff.delay(Target::StatefulSet, Some(1), now), Duration::ZERO, "another target");
        assert_eq!(backoff.delay(Target::Deployment, Some(2), now), Duration::ZERO, "the spec changed");
        assert_eq!(backoff.record_write(Target::Deployment, Some(2), now), WriteKind::First);
    }

    #[test]
    fn forgets_writes_that_lasted() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        let mut write = |now| backoff.record_write(Target::Conditions, None, now);
        assert_eq!(write(now), WriteKind::First);
        assert_eq!(write(now + RESET_AFTER - SECOND), WriteKind::Repeated);
        assert_eq!(write(now + RESET_AFTER * 2), WriteKind::First);
        backoff.prune(now + RESET_AFTER * 2);
        assert_ne!(backoff, Backoff::default());
        backoff.prune(now + RESET_AFTER * 3);
        assert_eq!(backoff, Backoff::default());
    }
}
