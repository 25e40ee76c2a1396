//! How long to wait after a failed reconcile. Pure but for the random part of the delay.

use std::time::Duration;

use crate::decide::backoff::doubled;

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// How often a server failed since its last successful reconcile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Retries {
    failures: u32,
}

impl Retries {
    /// Records a failure and returns the delay before the next attempt. It doubles with each failure, and its second half is
    /// random, so that servers that failed together are not retried together.
    pub(crate) fn delay_after_failure(&mut self) -> Duration {
        let delay = doubled(FIRST_DELAY, self.failures, LONGEST_DELAY);
        self.failures = self.failures.saturating_add(1);
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Retries;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn doubles_the_delay_with_each_failure() {
        let mut retries = Retries::default();
        for (failures, longest) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
            let delay = retries.delay_after_failure();
            assert!(delay >= SECOND * longest / 2 && delay <= SECOND * longest, "{failures} failures: {delay:?}");
        }
        for _ in 0..100 {
            assert!(retries.delay_after_failure() <= Duration::from_secs(300));
        }
    }
}
