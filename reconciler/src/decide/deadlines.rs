//! Until when the reconciler waits for somebody else before it acts on a server. Pure: the caller passes the time.

use std::time::Duration;

use tokio::time::Instant;

/// How long ToolHive's operator has to restore a count that its reset took away. Its next write does that within a second;
/// only an operator that ended in between leaves it to the reconciler.
pub(crate) const OPERATOR_TIMEOUT: Duration = Duration::from_secs(10);

/// Until when the reconciler waits, if it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Deadline {
    /// Not before this time.
    pub until: Option<Instant>,
}

impl Deadline {
    /// Records whether there is something to wait for, and for how long at most. The time begins when that is first seen.
    pub(crate) fn observe(&mut self, timeout: Option<Duration>, now: Instant) {
        self.until = timeout.map(|timeout| self.until.unwrap_or(now + timeout));
    }

    /// Returns whether the time is over. False if there is nothing to wait for.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// How much of the time is left; zero if there is nothing to wait for.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{Deadline, Duration};

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn waits_from_the_moment_at_which_there_is_something_to_wait_for() {
        let mut deadline = Deadline::default();
        let now = Instant::now();
        deadline.observe(Some(TIMEOUT), now);
        assert_eq!((deadline.is_over(now), deadline.remaining(now)), (false, TIMEOUT));
        deadline.observe(Some(TIMEOUT), now + TIMEOUT / 2);
        assert_eq!(deadline.remaining(now + TIMEOUT / 2), TIMEOUT / 2, "seen again");
        assert!(deadline.is_over(now + TIMEOUT));
        assert_eq!(deadline.remaining(now + TIMEOUT * 2), Duration::ZERO);

        deadline.observe(None, now + TIMEOUT);
        assert!(!deadline.is_over(now + TIMEOUT), "nothing to wait for");
        deadline.observe(Some(TIMEOUT), now + TIMEOUT * 2);
        assert!(!deadline.is_over(now + TIMEOUT * 2), "something new to wait for");
    }
}
