//! What admission cannot do: status conditions, events, and the counts that were wrong before it looked.
//!
//! | module | is |
//! |---|---|
//! | [`server`], [`workload`] | what is read of an `MCPServer`, of a Deployment or StatefulSet |
//! | [`plan`] | what is wrong with a server, and what would set it right: pure, by the rules of `mcp-scaling-rules` |
//! | [`status`] | conditions in a raw list that is otherwise left as it is: pure |
//! | [`history`] | when to write again, and when to yield to another writer: pure |
//! | [`events`] | which events say so: pure |
//! | [`reconcile`] | does what the plan says: the only part that writes |
//! | [`live`] | how many replicas the workloads are set to run |
//! | [`controller`] | the wiring: watches, queue, reconciler |
//! | [`cluster`], [`check`] | one pass over a cluster, as a table or as JSON |
//! | [`client`], [`election`], [`endpoints`], [`metrics`] | what a controller needs besides |

#![forbid(unsafe_code)]

pub mod check;
pub mod client;
pub mod cluster;
pub mod controller;
pub mod election;
pub mod endpoints;
pub mod events;
pub mod history;
pub mod live;
pub mod metrics;
pub mod plan;
pub mod reconcile;
pub mod server;
pub mod status;
pub mod workload;
