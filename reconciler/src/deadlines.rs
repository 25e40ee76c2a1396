//! Until when the reconciler waits for somebody else before it acts on a server. Pure: the caller passes the time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::uid::Uid;

/// How long ToolHive's operator has to restore a count that its reset took away. Its next write does that within a second;
/// only an operator that ended in between leaves it to the reconciler.
pub const OPERATOR_TIMEOUT: Duration = Duration::from_secs(10);

/// The servers for which the reconciler waits.
#[derive(Debug, Default)]
pub struct Deadlines {
    pub(crate) until: HashMap<Uid, Instant>,
}

impl Deadlines {
    /// Records whether there is something to wait for, and for how long at most. The time begins when that is first seen.
    pub fn observe(&mut self, server: Uid, timeout: Option<Duration>, now: Instant) {
        match timeout {
            Some(timeout) => drop(self.until.entry(server).or_insert(now + timeout)),
            None => drop(self.until.remove(&server)),
        }
    }

    /// Returns whether the time is over. False if there is nothing to wait for.
    pub fn is_over(&self, server: Uid, now: Instant) -> bool {
        self.until.get(&server).is_some_and(|until| now >= *until)
    }

    /// How much of the time is left; zero if there is nothing to wait for.
    pub(crate) fn remaining(&self, server: Uid, now: Instant) -> Duration {
        self.until.get(&server).map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{Deadlines, Duration};
    use crate::uid::Uid;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn waits_from_the_moment_at_which_there_is_something_to_wait_for() {
        let mut deadlines = Deadlines::default();
        let a = Uid::of(Some("a"));
        let now = Instant::now();
        deadlines.observe(a, Some(TIMEOUT), now);
        assert_eq!((deadlines.is_over(a, now), deadlines.remaining(a, now)), (false, TIMEOUT));
        deadlines.observe(a, Some(TIMEOUT), now + TIMEOUT / 2);
        assert_eq!(deadlines.remaining(a, now + TIMEOUT / 2), TIMEOUT / 2, "seen again");
        assert!(deadlines.is_over(a, now + TIMEOUT));
        assert_eq!(deadlines.remaining(a, now + TIMEOUT * 2), Duration::ZERO);

        deadlines.observe(a, None, now + TIMEOUT);
        assert!(!deadlines.is_over(a, now + TIMEOUT), "nothing to wait for");
        deadlines.observe(a, Some(TIMEOUT), now + TIMEOUT * 2);
        assert!(!deadlines.is_over(a, now + TIMEOUT * 2), "something new to wait for");
        assert!(!deadlines.is_over(Uid::of(Some("b")), now + TIMEOUT * 3), "another server");
    }
}
