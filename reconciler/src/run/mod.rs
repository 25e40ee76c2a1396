//! Runs: the watches and the queue, leader election, and the HTTP endpoints.

mod candidate;
pub mod controller;
pub mod endpoints;
pub mod leader_election;
mod queue;
