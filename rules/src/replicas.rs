//! How many replicas a workload gets.

use crate::transport::{STDIO_REPLICAS, Transport, exceeds_stdio_cap};

/// The count that a declared count comes to. With nothing declared the result is `None`: an autoscaler or a person owns
/// the count. `stdio` gets at most one replica, and 0 stays 0.
pub fn resolve(transport: Transport, declared: Option<u32>) -> Option<u32> {
    declared.map(|count| if exceeds_stdio_cap(transport, count) { STDIO_REPLICAS } else { count })
}

/// The count that a workload gets when a request asks for `requested` replicas.
///
/// A `declared` count overrides the others. With nothing declared, the `preserved` count does (the old one, where the
/// request is an operator's reset). Otherwise the request gets what it asks for. The stdio cap applies to all of them.
pub fn admitted(transport: Transport, requested: u32, declared: Option<u32>, preserved: Option<u32>) -> u32 {
    let count = declared.or(preserved).unwrap_or(requested);
    resolve(transport, Some(count)).unwrap_or(count)
}
