//! Since when a Deployment waits for the count that a reset by ToolHive's operator took away. The operator's next write gives it
//! back within a second; only an operator that ended in between leaves it to the reconciler. Pure: the caller passes the
//! time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::uid::Uid;

/// How long the operator has for its next write.
pub const OPERATOR_TIMEOUT: Duration = Duration::from_secs(10);

/// The servers whose Deployment waits.
#[derive(Debug, Default)]
pub struct PendingResets {
    pub(crate) since: HashMap<Uid, Instant>,
}

impl PendingResets {
    /// Records whether a Deployment waits, and returns whether the operator's time is over.
    pub fn observe(&mut self, server: Uid, is_pending: bool, now: Instant) -> bool {
        if !is_pending {
            self.since.remove(&server);
            return false;
        }
        let since = *self.since.entry(server).or_insert(now);
        now >= since + OPERATOR_TIMEOUT
    }

    /// How long the operator still has; zero where nothing waits.
    pub fn remaining(&self, server: Uid, now: Instant) -> Duration {
        self.since
            .get(&server)
            .map_or(Duration::ZERO, |since| (*since + OPERATOR_TIMEOUT).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{Duration, OPERATOR_TIMEOUT, PendingResets};
    use crate::uid::Uid;

    #[test]
    fn waits_for_the_operator_first() {
        let mut pending = PendingResets::default();
        let a = Uid::of(Some("a"));
        let now = Instant::now();
        assert!(!pending.observe(a, true, now));
        assert_eq!(pending.remaining(a, now), OPERATOR_TIMEOUT);
        assert!(!pending.observe(a, true, now + OPERATOR_TIMEOUT / 2));
        assert!(pending.observe(a, true, now + OPERATOR_TIMEOUT));
        assert_eq!(pending.remaining(Uid::of(Some("b")), now), Duration::ZERO);
    }

    #[test]
    fn begins_again_after_the_operators_write() {
        let mut pending = PendingResets::default();
        let a = Uid::of(Some("a"));
        let now = Instant::now();
        pending.observe(a, true, now);
        assert!(!pending.observe(a, false, now + OPERATOR_TIMEOUT));
        assert!(!pending.observe(a, true, now + OPERATOR_TIMEOUT));
    }
}
