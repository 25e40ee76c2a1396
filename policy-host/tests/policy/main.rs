//! The real module in the real host, from the design's decision tables outward. One test program, so that the module is
//! compiled once for all of it.

mod autoscaler;
mod bad_input;
mod budgets;
mod deployment;
mod evaluate_command;
mod fixtures;
mod harness;
mod kinds;
mod mcpserver;
mod metadata;
mod model;
mod properties;
mod resets;
mod scale;
mod settings;
mod statefulset;
