//! The rules of safe horizontal scaling for [ToolHive](https://github.com/stacklok/toolhive) MCP servers, and the facts
//! about ToolHive that they rest on.
//!
//! Pure functions over small types: no Kubernetes client, no I/O, no clock. The admission policy and the reconciler both
//! call them, so that a server is held to one set of rules wherever it is seen. Each decision stands here once, and what it
//! returns says which rule decided.
//!
//! | folder | module | holds |
//! |---|---|---|
//! | facts | [`kind`] | the kinds of custom resource that scale, and their API versions |
//! | | [`workload`] | Deployment and StatefulSet, and the field that declares the count of each |
//! | | [`spec_fields`] | the paths of the fields that decide about scaling |
//! | | [`transport`], [`session_storage`] | the transports and how many replicas `stdio` supports; the storages of sessions |
//! | | [`autoscaling`] | the kinds of autoscaler |
//! | | [`labels`], [`annotations`], [`accounts`] | names of labels, annotations and service accounts |
//! | reading | [`field`] | a field of an object that was not validated |
//! | | [`scaling`] | what the spec of a custom resource says about scaling |
//! | | [`owner`] | which custom resource a workload runs for |
//! | | [`autoscaler`] | what an autoscaler scales, and how far |
//! | | [`auth_server`] | what the pods of an embedded auth server do not share |
//! | | [`rolled_out`] | what an operator that resets counts last rolled out |
//! | deciding | [`replicas`] | how many replicas a workload gets: declared counts, preserved counts, the stdio cap |
//! | | [`resets`] | what a reset of a count is, and whether it is undone |
//! | | [`stopped`] | which workload has no replicas while the other one has some |
//! | | [`sessions`] | whether more than one replica would lose sessions, or be of no use to them |
//! | | [`conflicts`] | what conflicts with an autoscaler |
//! | | [`conditions`] | the status conditions of an `MCPServer`: types, reasons, texts, and which apply |
//! | | [`grace_period`] | the floor for a pod's termination grace period |
//! | | [`pod_template`] | whether a pod template may be corrected without restarting pods for it |
//! | | [`applied_generation`] | which generation of a server its StatefulSet was last written from |

#![forbid(unsafe_code)]
// The guest calls these rules, and there a panic is a denied request.
#![deny(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used
)]

mod deciding;
mod facts;
mod named;
mod reading;

pub use deciding::{
    applied_generation, conditions, conflicts, grace_period, pod_template, replicas, resets, sessions, stopped,
};
pub use facts::{accounts, annotations, autoscaling, kind, labels, session_storage, spec_fields, transport, workload};
pub use reading::{auth_server, autoscaler, field, owner, rolled_out, scaling};

pub use autoscaling::AutoscalerKind;
pub use conditions::{Condition, ConditionReason, ConditionStatus, ConditionType, spec_conditions};
pub use field::{Field, Malformed};
pub use kind::ServerKind;
pub use owner::Owner;
pub use replicas::{Replicas, ReplicasRule, resolve};
pub use rolled_out::RolledOut;
pub use scaling::{InvalidField, RawSpec, Scaling};
pub use session_storage::SessionStorage;
pub use sessions::sessions_at_risk;
pub use transport::{Transport, exceeds_stdio_cap};
pub use workload::Workload;
