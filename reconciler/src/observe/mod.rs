//! Observes: the objects of servers as they are read, and the part of them that the watches keep.

pub(crate) mod autoscaler;
pub mod cluster;
pub(crate) mod last_writer;
pub mod observed;
pub(crate) mod run_config;
pub mod server;
pub(crate) mod server_key;
pub(crate) mod servers;
pub mod uid;
pub(crate) mod watch_cache;
pub mod workload;
pub mod workload_replicas;
