//! Hosts the policy module as Kubewarden does: the same protocol (`wapc`), a new instance for each request, and the same
//! requests, responses and host errors. Its verdicts are those of `kwctl run`. The module runs in an interpreter, which starts
//! in milliseconds; the crate `wasmtime-host` adds wasmtime, the engine of Kubewarden.
//!
//! | module | contents |
//! |---|---|
//! | [`policy`] | a policy module and its waPC operations |
//! | [`admission`] | the request and the response of the API server |
//! | [`host`] | the functions that the host provides to the module |
//! | [`cluster`] | a cluster that consists of manifests |
//! | [`session`] | recorded responses of a host, in kwctl's format |
//! | [`report`] | a readable report of a verdict |
//! | [`engine`], [`protocol`] | what a WebAssembly engine provides, and the functions that it offers to a module |
//! | [`meter`] | the cost of an evaluation in fuel and memory |

#![forbid(unsafe_code)]

pub mod admission;
pub mod cluster;
pub mod engine;
pub mod host;
mod interpreter;
pub mod meter;
pub mod policy;
pub mod protocol;
pub mod report;
pub mod session;

pub use wapc;
