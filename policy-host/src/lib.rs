//! Hosts the real policy module as Kubewarden's own tools do: the same crates (`wapc`, `wasmtime-provider`), a fresh
//! instance for each request, the same requests, responses and host errors. What `kwctl run` says of a request, this
//! says too.
//!
//! | module | is |
//! |---|---|
//! | [`policy`] | the module and its waPC calls |
//! | [`admission`] | the request and response of the API server |
//! | [`host`] | what the module may ask of its host |
//! | [`cluster`] | manifests that answer `get_resource` |
//! | [`session`] | recorded answers, in kwctl's format |
//! | [`report`] | a verdict for people |
//! | [`meter`] | work per evaluation, counted the same on every machine |

#![forbid(unsafe_code)]

pub mod admission;
pub mod cluster;
pub mod host;
pub mod meter;
pub mod policy;
pub mod report;
pub mod session;
