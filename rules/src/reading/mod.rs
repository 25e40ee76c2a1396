//! Reading: what the fields of an object mean. Nothing is decided here.

pub mod auth_server;
pub mod autoscaler;
pub mod field;
pub mod owner;
pub mod rolled_out;
pub mod scaling;
