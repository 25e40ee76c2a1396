//! A controller that corrects what admission missed: replicas that were set before the policy was installed or while it was
//! not called. It also writes the status conditions about scaling, and publishes events.
//!
//! Low-level modules first; each imports only modules above it.
//!
//! | module | holds |
//! |---|---|
//! | [`error`] | the errors of the library |
//! | [`client`] | the client of the API server and its timeouts |
//! | [`options`] | the settings of the reconciler |
//! | `field` | reading a field that may be malformed |
//! | [`uid`] | the identity of an object |
//! | [`server`], [`workload`] | the slim types that an `MCPServer`, a Deployment and a StatefulSet are read into |
//! | `watch_cache` | the part of watched objects that is kept |
//! | [`workload_replicas`] | the replicas that the workloads of each server are set to |
//! | `run_config` | the session storage that each server really uses |
//! | `autoscaler` | the autoscalers of workloads, and their conflicts with a spec |
//! | [`coupling`] | the proxies of a server and its backend as one unit; pure |
//! | [`plan`] | the changes that one server needs, by the rules of `mcp-scaling-rules`; pure |
//! | [`backoff`] | how long to back off from a target that another writer keeps reverting; pure |
//! | [`events`] | what people are told of; pure |
//! | [`deadlines`] | until when somebody else has time to act first; pure |
//! | `recreated` | whether a StatefulSet lost its count when it was recreated; pure |
//! | [`stabilization`] | how long a `WorkloadReplicasWarning` is kept after its cause is gone; pure |
//! | `retries` | how long to wait after a failure; pure |
//! | [`memory`] | what is remembered of each server, in one map; pure |
//! | [`observed`] | what the watches tell of the objects that belong to a server |
//! | [`machine`] | one reconcile of one server as a value: which call is made next; pure |
//! | `scale`, [`status`], `publish` | the writes: the scale of a workload, the conditions of a server, events |
//! | `write_rate` | how many writes a second the API server gets; pure |
//! | [`metrics`], [`endpoints`] | metrics, and the HTTP endpoints for them and for probes |
//! | [`reconcile`] | the driver of reconciles: makes the calls of the machine |
//! | `last_writer` | the field manager that last wrote the count of a workload |
//! | [`cluster`], [`check`] | one pass over a cluster, and its findings |
//! | [`controller`] | watches, the queue, and the reconciler behind them |
//! | `candidate` | when a candidate of the leader election may write the Lease, and until when it leads; pure |
//! | [`leader_election`] | leader election by a Lease |

#![forbid(unsafe_code)]

mod autoscaler;
pub mod backoff;
mod candidate;
pub mod check;
pub mod client;
pub mod cluster;
pub mod controller;
pub mod coupling;
pub mod deadlines;
pub mod endpoints;
pub mod error;
pub mod events;
mod last_writer;
pub mod leader_election;
pub mod machine;
pub mod memory;
pub mod metrics;
pub mod observed;
pub mod options;
pub mod plan;
mod publish;
pub mod reconcile;
mod recreated;
mod retries;
mod run_config;
mod scale;
pub mod server;
pub mod stabilization;
pub mod status;
pub mod uid;
mod watch_cache;
pub mod workload;
pub mod workload_replicas;
mod write_rate;
