//! The rules of safe horizontal scaling for [ToolHive](https://github.com/stacklok/toolhive) MCP servers, and the facts
//! about ToolHive that they rest on.
//!
//! Pure functions over small types: no Kubernetes client, no I/O, no clock. The admission policy and the reconciler both
//! call them, so that a server is held to one set of rules wherever it is seen.
//!
//! | module | holds |
//! |---|---|
//! | [`replicas`] | how many replicas a workload gets: declared counts, preserved counts, the stdio cap |
//! | [`transport`] | the transports, and how many replicas `stdio` supports |
//! | [`session_storage`] | whether more than one replica would lose sessions, or be of no use to them |
//! | [`grace_period`] | the floor for a pod's termination grace period |
//! | [`conditions`] | the status conditions of an `MCPServer`: types, reasons, and which apply |
//! | [`kind`] | the kinds of custom resource that scale, and their API versions |
//! | [`scaling`] | what the spec of a custom resource says about scaling |
//! | [`workload`] | Deployment and StatefulSet, and the field that declares the count of each |
//! | [`owner`] | which custom resource a workload runs for |
//! | [`rolled_out`] | what an operator that resets counts last rolled out |
//! | [`applied_generation`] | which generation of a server its StatefulSet was last written from |
//! | [`labels`], [`accounts`] | names of labels, annotations and service accounts |
//! | [`field`] | a field of an object that was not validated |

#![forbid(unsafe_code)]
// The guest calls these rules, and there a panic is a denied request.
#![deny(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]

pub mod accounts;
pub mod applied_generation;
pub mod conditions;
pub mod field;
pub mod grace_period;
pub mod kind;
pub mod labels;
pub mod owner;
pub mod replicas;
pub mod rolled_out;
pub mod scaling;
pub mod session_storage;
pub mod transport;
pub mod workload;

pub use conditions::{Condition, ConditionReason, ConditionStatus, ConditionType, spec_conditions};
pub use field::{Field, Malformed};
pub use kind::ServerKind;
pub use owner::Owner;
pub use replicas::{admitted, resolve};
pub use rolled_out::RolledOut;
pub use scaling::{InvalidField, RawSpec, Scaling};
pub use session_storage::{SessionStorage, sessions_at_risk};
pub use transport::{Transport, exceeds_stdio_cap};
pub use workload::Workload;
