//! How long to wait after a failed reconcile. Pure but for the random part of the delay: the caller passes the time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::doubled;

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// The servers whose last reconcile failed, by the server's key.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    servers: HashMap<Box<str>, Failures>,
}

impl Retries {
    /// Records a failure and returns the delay before the next attempt. It doubles with each failure, and its second half is
    /// random, so that servers that failed together are not retried together.
    pub(crate) fn delay_after_failure(&mut self, server: &str, now: Instant) -> Duration {
        let previous = self.servers.get(server).map_or(0, |failures| failures.count);
        self.servers.insert(server.into(), Failures { count: previous.saturating_add(1), last: now });
        let delay = doubled(FIRST_DELAY, previous, LONGEST_DELAY);
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Forgets the failures of a server, after a reconcile that succeeded.
    pub(crate) fn reset(&mut self, server: &str) {
        self.servers.remove(server);
    }

    /// Removes the servers that were not retried when they should have been, since they are deleted.
    pub(crate) fn prune(&mut self, now: Instant) {
        self.servers.retain(|_, failures| failures.last + LONGEST_DELAY * 2 > now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Retries;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn doubles_the_delay_with_each_failure() {
        let mut retries = Retries::default();
        let now = Instant::now();
        for (failures, longest) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
            let delay = retries.delay_after_failure("a", now);
            assert!(delay >= SECOND * longest / 2 && delay <= SECOND * longest, "{failures} failures: {delay:?}");
        }
        for _ in 0..100 {
            assert!(retries.delay_after_failure("a", now) <= Duration::from_secs(300));
        }
        retries.reset("a");
        assert!(retries.delay_after_failure("a", now) <= SECOND);
    }

    #[test]
    fn forgets_servers_that_are_not_retried() {
        let mut retries = Retries::default();
        let now = Instant::now();
        retries.delay_after_failure("a", now);
        retries.prune(now + SECOND * 300);
        assert_eq!(retries.servers.len(), 1);
        retries.prune(now + SECOND * 600);
        assert!(retries.servers.is_empty(), "the server was deleted");
    }
}
