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
//! | [`observe`] | what is read |
//! | [`uid`](observe::uid) | the identity of an object |
//! | `server_key` | the key of what is kept of each server |
//! | [`server`](observe::server), [`workload`](observe::workload) | the slim types that an `MCPServer`, a Deployment and a StatefulSet are read into |
//! | `watch_cache` | the part of watched objects that is kept |
//! | `servers` | all servers, as the watch tells of them |
//! | [`workload_replicas`](observe::workload_replicas) | the replicas that the workloads of each server are set to |
//! | `run_config` | the session storage that each server really uses |
//! | `autoscaler` | the autoscalers of workloads, and their conflicts with a spec |
//! | [`observed`](observe::observed) | what the watches tell of the objects that belong to a server |
//! | `last_writer` | the field manager that last wrote the count of a workload |
//! | [`cluster`](observe::cluster) | one reading of a whole cluster |
//! | [`decide`] | what follows from that; pure |
//! | [`coupling`](decide::coupling) | the proxies of a server and its backend as one unit |
//! | `plan` | the changes that one server needs, by the rules of `mcp-scaling-rules` |
//! | [`backoff`](decide::backoff) | how long to back off from a target that another writer keeps reverting |
//! | [`events`](decide::events) | what people are told of |
//! | `deadlines` | until when somebody else has time to act first |
//! | [`stabilization`](decide::stabilization) | how long a `WorkloadReplicasWarning` is kept after its cause is gone |
//! | `retries` | how long to wait after a failure |
//! | `write_rate` | how many writes a second the API server gets |
//! | [`memory`](decide::memory) | what is remembered of each server, in one map |
//! | [`machine`](decide::machine) | one reconcile of one server as a value: which call is made next |
//! | [`metrics`] | the metrics |
//! | [`act`] | the calls: the scale of a workload, the conditions of a server, events, and their driver |
//! | [`run`] | the controller and its queue, leader election by a Lease, and the HTTP endpoints for metrics and for probes |
//! | [`check`] | one pass over a cluster, and its findings |

#![forbid(unsafe_code)]

pub mod act;
pub mod check;
pub mod client;
pub mod decide;
pub mod error;
pub mod metrics;
pub mod observe;
pub mod options;
pub mod run;
