//! The rules of safe horizontal scaling for [ToolHive](https://github.com/stacklok/toolhive) MCP servers.
//!
//! Pure functions over small types: no Kubernetes client, no I/O, no clock. The admission policy and the reconciler both
//! call them, so that a server is judged by one set of rules wherever it is seen.
//!
//! | module | decides |
//! |---|---|
//! | [`replicas`] | how many replicas a workload gets: the stdio cap, declared counts, preserved counts |
//! | [`session_storage`] | whether more than one replica would lose sessions |
//! | [`grace_period`] | the floor under a pod's termination grace period |
//! | [`conditions`] | the two status conditions on an `MCPServer` and their vocabulary |
//! | [`server`] | the kinds of custom resource that scale, and the fields of theirs that the rules read |

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

pub mod conditions;
pub mod grace_period;
pub mod replicas;
pub mod server;
pub mod session_storage;

pub use conditions::{Condition, conditions};
pub use replicas::{Transport, admitted, exceeds_stdio_cap, resolve};
pub use server::{Scaling, ServerKind};
pub use session_storage::{SessionStorage, sessions_at_risk};
