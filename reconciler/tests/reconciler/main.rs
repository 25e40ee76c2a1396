//! The reconciler against a fake API server: the calls that it makes, and that it reaches the desired state whatever fails.
//! Time is the paused time of the runtime, which advances whenever all tasks wait.

#[path = "../fake_api_server/mod.rs"]
mod fake_api_server;

mod autoscalers;
mod coupling;
mod faults;
mod leader_election;
mod lifecycle;
mod other_writers;
mod support;
mod writes;
