//! The stabilization window of the `WorkloadReplicasWarning`: the condition stays for some time after its cause is gone, so that
//! an autoscaler that scales up and down does not have the status written each time. Pure: the caller passes the time.

use std::time::Duration;

use tokio::time::Instant;

use crate::decide::backoff;

/// How long a `WorkloadReplicasWarning` stays after its cause is gone.
pub const WINDOW: Duration = Duration::from_secs(600);

/// How long the end of a cause is remembered. Writing the condition may be delayed by the backoff; until then a status that
/// still warns must not begin another window.
const RETENTION: Duration = WINDOW.saturating_add(backoff::LONGEST_DELAY.saturating_mul(2));

/// What is known of the cause of a server's warning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StabilizationWindow {
    /// Nothing: it was not seen.
    #[default]
    Unknown,
    /// It is there.
    CausePresent,
    /// It is gone since this time.
    CauseGone(Instant),
}

impl StabilizationWindow {
    /// Records whether there is a cause for the warning, and returns whether the warning is due: there is a cause, or the
    /// window is still open. `is_warning_set` says that the status has the warning. If its cause is not known, it was set
    /// before a restart, and the window begins now.
    pub(crate) fn observe(&mut self, has_cause: bool, is_warning_set: bool, now: Instant) -> bool {
        *self = match *self {
            _ if has_cause => Self::CausePresent,
            Self::CausePresent => Self::CauseGone(now),
            Self::Unknown if is_warning_set => Self::CauseGone(now),
            same => same,
        };
        has_cause || self.remaining(now) > Duration::ZERO
    }

    /// How long the window stays open; zero if the cause is present.
    pub fn remaining(&self, now: Instant) -> Duration {
        match self {
            Self::CauseGone(end) => (*end + WINDOW).saturating_duration_since(now),
            Self::CausePresent | Self::Unknown => Duration::ZERO,
        }
    }

    /// Forgets a cause that has been gone for long.
    pub(crate) fn prune(&mut self, now: Instant) {
        if matches!(self, Self::CauseGone(end) if *end + RETENTION <= now) {
            *self = Self::Unknown;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{RETENTION, StabilizationWindow, WINDOW};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn keeps_a_warning_for_the_window_after_its_cause() {
        let mut window = StabilizationWindow::default();
        let now = Instant::now();
        assert!(!window.observe(false, false, now));
        assert!(window.observe(true, false, now));
        assert_eq!(window.remaining(now), Duration::ZERO, "the cause is present");
        window.prune(now + WINDOW * 10);
        let now = now + WINDOW * 10;
        assert!(window.observe(false, true, now), "the cause was present until now");
        assert_eq!(window.remaining(now + WINDOW - SECOND), SECOND);
        assert!(window.observe(false, true, now + WINDOW - SECOND));
        window.prune(now + WINDOW);
        assert!(!window.observe(false, true, now + WINDOW));
    }

    #[test]
    fn keeps_a_present_cause_whose_warning_is_not_written_yet() {
        let mut window = StabilizationWindow::default();
        let now = Instant::now();
        window.observe(true, false, now);
        window.prune(now + RETENTION * 2);
        assert!(window.observe(false, false, now + RETENTION * 2));
    }

    #[test]
    fn begins_the_window_at_the_first_sight_of_a_warning_after_a_restart() {
        let mut window = StabilizationWindow::default();
        let now = Instant::now();
        assert!(window.observe(false, true, now));
        assert!(!window.observe(false, true, now + WINDOW));
    }

    #[test]
    fn forgets_a_cause_that_has_been_gone_for_long() {
        let mut window = StabilizationWindow::default();
        let now = Instant::now();
        window.observe(false, true, now);
        window.prune(now + RETENTION - SECOND);
        assert_ne!(window, StabilizationWindow::Unknown);
        window.prune(now + RETENTION);
        assert_eq!(window, StabilizationWindow::Unknown);
    }
}
