//! The stabilization window of the `WorkloadReplicasWarning`: the condition stays for some time after its cause is gone, so that
//! an autoscaler that scales up and down does not have the status written each time. Pure: the caller passes the time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff;
use crate::uid::Uid;

/// How long a `WorkloadReplicasWarning` stays after its cause is gone.
pub const WINDOW: Duration = Duration::from_secs(600);

/// How long the end of a cause is remembered. Writing the condition may be delayed by the backoff; until then a status that
/// still warns must not begin another window.
const RETENTION: Duration = WINDOW.saturating_add(backoff::LONGEST_DELAY.saturating_mul(2));

/// The cause of a warning.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    Present,
    GoneSince(Instant),
}

/// The causes of the warnings of each server.
#[derive(Debug, Default)]
pub struct StabilizationWindows {
    pub(crate) servers: HashMap<Uid, Cause>,
}

impl StabilizationWindows {
    /// Records whether there is a cause for the warning, and returns whether the warning is due: there is a cause, or the
    /// window is still open. `is_warning_set` says that the status has the warning. If its cause is not known, it was set
    /// before a restart, and the window begins now.
    pub fn observe(&mut self, server: Uid, has_cause: bool, is_warning_set: bool, now: Instant) -> bool {
        if has_cause {
            self.servers.insert(server, Cause::Present);
            return true;
        }
        match self.servers.get_mut(&server) {
            Some(Cause::GoneSince(_)) => {}
            Some(cause) => *cause = Cause::GoneSince(now),
            None if is_warning_set => drop(self.servers.insert(server, Cause::GoneSince(now))),
            None => {}
        }
        self.remaining(server, now) > Duration::ZERO
    }

    /// How long the window stays open; zero if the cause is present.
    pub fn remaining(&self, server: Uid, now: Instant) -> Duration {
        match self.servers.get(&server) {
            Some(Cause::GoneSince(end)) => (*end + WINDOW).saturating_duration_since(now),
            Some(Cause::Present) | None => Duration::ZERO,
        }
    }

    /// Removes the servers whose cause has been gone for long.
    pub(crate) fn prune(&mut self, now: Instant) {
        self.servers.retain(|_, cause| match cause {
            Cause::Present => true,
            Cause::GoneSince(end) => *end + RETENTION > now,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{RETENTION, StabilizationWindows, WINDOW};
    use crate::uid::Uid;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn keeps_a_warning_for_the_window_after_its_cause() {
        let mut windows = StabilizationWindows::default();
        let a = Uid::of(Some("a"));
        let now = Instant::now();
        assert!(!windows.observe(a, false, false, now));
        assert!(windows.observe(a, true, false, now));
        assert_eq!(windows.remaining(a, now), Duration::ZERO, "the cause is present");
        windows.prune(now + WINDOW * 10);
        let now = now + WINDOW * 10;
        assert!(windows.observe(a, false, true, now), "the cause was present until now");
        assert_eq!(windows.remaining(a, now + WINDOW - SECOND), SECOND);
        assert!(windows.observe(a, false, true, now + WINDOW - SECOND));
        windows.prune(now + WINDOW);
        assert!(!windows.observe(a, false, true, now + WINDOW));
    }

    #[test]
    fn keeps_a_present_cause_whose_warning_is_not_written_yet() {
        let mut windows = StabilizationWindows::default();
        let a = Uid::of(Some("a"));
        let now = Instant::now();
        windows.observe(a, true, false, now);
        windows.prune(now + RETENTION * 2);
        assert!(windows.observe(a, false, false, now + RETENTION * 2));
    }

    #[test]
    fn begins_the_window_at_the_first_sight_of_a_warning_after_a_restart() {
        let mut windows = StabilizationWindows::default();
        let a = Uid::of(Some("a"));
        let now = Instant::now();
        assert!(windows.observe(a, false, true, now));
        assert!(!windows.observe(a, false, true, now + WINDOW));
    }

    #[test]
    fn forgets_a_cause_that_has_been_gone_for_long() {
        let mut windows = StabilizationWindows::default();
        let a = Uid::of(Some("a"));
        let now = Instant::now();
        windows.observe(a, false, true, now);
        windows.prune(now + RETENTION - SECOND);
        assert_eq!(windows.servers.len(), 1);
        windows.prune(now + RETENTION);
        assert!(windows.servers.is_empty());
    }
}
