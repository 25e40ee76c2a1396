//! How long to wait after a failed reconcile. Pure but for the random part of the delay.

use std::collections::HashMap;
use std::time::Duration;

use crate::backoff::doubled;
use crate::uid::Uid;

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// How often each server failed since its last successful reconcile.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    pub(crate) servers: HashMap<Uid, u32>,
}

impl Retries {
    /// Records a failure and returns the delay before the next attempt. It doubles with each failure, and its second half is
    /// random, so that servers that failed together are not retried together.
    pub(crate) fn delay_after_failure(&mut self, server: Uid) -> Duration {
        let failures = self.servers.entry(server).or_default();
        let delay = doubled(FIRST_DELAY, *failures, LONGEST_DELAY);
        *failures = failures.saturating_add(1);
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Forgets the failures of a server, after a reconcile that succeeded.
    pub(crate) fn reset(&mut self, server: Uid) {
        self.servers.remove(&server);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Retries;
    use crate::uid::Uid;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn doubles_the_delay_with_each_failure() {
        let mut retries = Retries::default();
        let server = Uid::of(Some("a"));
        for (failures, longest) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
            let delay = retries.delay_after_failure(server);
            assert!(delay >= SECOND * longest / 2 && delay <= SECOND * longest, "{failures} failures: {delay:?}");
        }
        for _ in 0..100 {
            assert!(retries.delay_after_failure(server) <= Duration::from_secs(300));
        }
        retries.reset(server);
        assert!(retries.delay_after_failure(server) <= SECOND);
    }
}
