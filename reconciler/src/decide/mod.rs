//! Decides: which calls a reconcile makes, in which order and when. Pure: no client, no clock.

pub mod backoff;
pub mod coupling;
pub(crate) mod deadlines;
pub mod events;
pub mod machine;
pub mod memory;
pub(crate) mod plan;
pub(crate) mod retries;
pub mod stabilization;
pub(crate) mod write_rate;
