//! Hosts the policy module as Kubewarden does: the same WebAssembly engine and protocol (wasmtime and `wapc`), a new
//! instance for each request, and the same requests, responses and host errors. Its verdicts are those of `kwctl run`.
//!
//! | module | contents |
//! |---|---|
//! | [`policy`] | a policy module and its waPC operations |
//! | [`admission`] | the request and the response of the API server |
//! | [`host`] | the functions that the host provides to the module |
//! | [`cluster`] | a cluster that consists of manifests |
//! | [`session`] | recorded responses of a host, in kwctl's format |
//! | [`report`] | a readable report of a verdict |
//! | [`meter`] | the cost of an evaluation in fuel and memory |
//! | [`baseline`] | the modules that a cost is compared with |

#![forbid(unsafe_code)]

pub mod admission;
pub mod baseline;
pub mod cluster;
mod engine;
pub mod host;
pub mod meter;
pub mod policy;
pub mod report;
pub mod session;
