//! Facts about ToolHive, Kubernetes and KEDA: names, defaults and limits. Nothing here depends on an object.

pub mod accounts;
pub mod annotations;
pub mod autoscaling;
pub mod kind;
pub mod labels;
pub mod session_storage;
pub mod spec_fields;
pub mod transport;
pub mod workload;
