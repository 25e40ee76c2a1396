//! Decisions: what a server or a workload gets, and which rule says so.

pub mod applied_generation;
pub mod conditions;
pub mod conflicts;
pub mod grace_period;
pub mod pod_template;
pub mod replicas;
pub mod resets;
pub mod sessions;
pub mod stopped;
