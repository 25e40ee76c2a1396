//! How many replicas a workload gets, and which rule says so.

use crate::deciding::resets;
use crate::facts::transport::{STDIO_REPLICAS, Transport, exceeds_stdio_cap};
use crate::named::named;

named! {
    /// The rule by which a workload gets another count than the one that it asks for or has.
    pub enum ReplicasRule {
        /// The custom resource declares the count.
        Declared = "declared",
        /// A reset took the count away, or is about to: it is preserved.
        Preserved = "preserved",
        /// `stdio` supports one replica.
        Stdio = "stdio",
    }
}

/// The count that a workload gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// The count.
    pub count: u32,
    /// The rule that chose another count than the requested one, before the stdio cap if that lowers it further. `None` if
    /// the workload gets what is requested.
    pub rule: Option<ReplicasRule>,
}

impl Replicas {
    /// The count that is requested, which no rule changes.
    pub fn as_requested(count: u32) -> Self {
        Self { count, rule: None }
    }

    /// The count, if it is another one than the requested one.
    pub fn changed(self) -> Option<u32> {
        self.rule.map(|_| self.count)
    }
}

/// The count that a declared count comes to. With nothing declared the result is `None`: an autoscaler or a person owns
/// the count. `stdio` gets at most one replica, and 0 stays 0.
pub fn resolve(transport: Transport, declared: Option<u32>) -> Option<u32> {
    declared.map(|count| capped(transport, count))
}

fn capped(transport: Transport, count: u32) -> u32 {
    if exceeds_stdio_cap(transport, count) { STDIO_REPLICAS } else { count }
}

/// The count that a workload gets if a request asks for `requested` replicas, or if it has them already.
///
/// A `declared` count overrides the others. With nothing declared, the `preserved` count does, which is the one that a reset
/// takes away. Otherwise the workload gets what is requested. The stdio cap applies to all of them.
pub fn decide(transport: Transport, requested: u32, declared: Option<u32>, preserved: Option<u32>) -> Replicas {
    let count = capped(transport, declared.or(preserved).unwrap_or(requested));
    let rule = match (declared, preserved) {
        _ if count == requested => None,
        (Some(declared), _) if declared != requested => Some(ReplicasRule::Declared),
        (None, Some(preserved)) if preserved != requested => Some(ReplicasRule::Preserved),
        _ => Some(ReplicasRule::Stdio),
    };
    Replicas { count, rule }
}

/// The count that a workload gets which exists with `count` replicas, and of which a reset may have taken `before_reset` away.
/// One that somebody scaled to 0 stays there.
pub fn correct(transport: Transport, count: u32, declared: Option<u32>, before_reset: Option<u32>) -> Replicas {
    if count == 0 {
        return Replicas::as_requested(count);
    }
    decide(transport, count, declared, resets::count_taken_away(before_reset, count))
}
