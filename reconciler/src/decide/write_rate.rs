//! How many writes a second the API server gets from the reconciler: a token bucket. Without it, the first contact with a large
//! cluster would be a storm of writes, each of which has ToolHive's operator reconcile the server. Pure: the caller passes the
//! time.
//!
//! tower's rate limit is not used, because it knows no writes that can wait; nor governor, whose timer is not tokio's.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// The bucket holds the tokens of this time.
const CAPACITY: Duration = Duration::from_secs(1);

/// A token bucket.
#[derive(Debug)]
pub(crate) struct WriteRate {
    /// Between two tokens.
    interval: Duration,
    /// When the bucket is full again, if nobody takes a token until then.
    full_at: Instant,
    /// The turn of the write that was put off last.
    last_turn: Instant,
}

impl WriteRate {
    /// A full bucket.
    pub(crate) fn new(per_second: NonZeroU32, now: Instant) -> Self {
        Self { interval: CAPACITY / per_second.get(), full_at: now, last_turn: now }
    }

    /// Takes a token and returns how long to wait until it is in the bucket.
    pub(crate) fn take(&mut self, now: Instant) -> Duration {
        self.full_at = self.full_at.max(now) + self.interval;
        (self.full_at - now).saturating_sub(CAPACITY)
    }

    /// How long a write that can wait is put off: zero if there is a token now, else until its turn. The turns are as far apart as
    /// the tokens, so that a write finds a token at its turn unless more urgent ones took it.
    pub(crate) fn put_off(&mut self, now: Instant) -> Duration {
        if self.full_at.max(now) + self.interval <= now + CAPACITY {
            return Duration::ZERO;
        }
        self.last_turn = self.last_turn.max(now) + self.interval;
        self.last_turn - now
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::WriteRate;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(per_second: u32, now: Instant) -> WriteRate {
        WriteRate::new(NonZeroU32::new(per_second).expect("is not zero"), now)
    }

    #[test]
    fn permits_a_burst_of_one_second_and_then_the_rate() {
        let now = Instant::now();
        for per_second in [1, 20, 1000] {
            let mut rate = rate(per_second, now);
            for write in 0..per_second * 3 {
                let expected = SECOND * write.saturating_sub(per_second - 1) / per_second;
                let wait = rate.take(now);
                assert!(wait.abs_diff(expected) < SECOND / 100, "write {write} of {per_second}/s waits {wait:?}");
            }
            let later = now + SECOND * 10;
            assert_eq!(rate.take(later), Duration::ZERO, "the bucket is full again, and not fuller");
            let waits = (0..per_second).filter(|_| rate.take(later) == Duration::ZERO).count();
            assert_eq!(waits as u32, per_second - 1);
        }
    }

    #[test]
    fn puts_off_what_can_wait_while_there_is_no_token() {
        let now = Instant::now();
        let mut rate = rate(10, now);
        assert_eq!(rate.put_off(now), Duration::ZERO);
        for _ in 0..10 {
            rate.take(now);
        }
        assert_eq!(rate.put_off(now), SECOND / 10);
        assert_eq!(rate.put_off(now), SECOND / 5, "each has a turn of its own");
        assert_eq!(rate.put_off(now + SECOND / 10), Duration::ZERO, "a token has come");
        rate.take(now + SECOND / 10);
        rate.take(now + SECOND / 10);
        let turn = rate.put_off(now + SECOND / 5);
        assert_eq!(turn, SECOND / 10, "urgent writes took the tokens: at the end of the line");
    }
}
