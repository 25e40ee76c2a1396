//! What admission cannot see: how the MCP servers of a cluster are scaled now, and what is wrong with it.
//!
//! | module | is |
//! |---|---|
//! | [`server`] | what is read of an `MCPServer` |
//! | [`plan`] | what is wrong with a server and its workloads: pure, by the rules of `mcp-scaling-rules` |
//! | [`cluster`] | reads servers and workloads from the API server |
//! | [`check`] | one pass over a cluster, as a table or as JSON |

#![forbid(unsafe_code)]

pub mod check;
pub mod cluster;
pub mod plan;
pub mod server;
