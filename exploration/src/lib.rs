//! Explores what policy and reconciler do together with everybody else who writes to a server: operators and proxy runners of
//! three eras, autoscalers, people, and an API server with admission and optimistic concurrency. The decisions are the real
//! code; the other actors are small state machines. The invariants are those of a controller: once people and autoscalers stop,
//! the counts are eventually and for ever those of their owners, the conditions are true, changes are rolled out, and nothing is left to
//! write. If the reconciler couples the backend to its proxies, it is at 0 as long as they are.
//!
//! | module | holds |
//! |---|---|
//! | [`objects`] | the objects of one server, and their JSON texts |
//! | [`decisions`] | the policy's real decisions, and what the reconciler reads and writes |
//! | [`mutant`] | seeded faults in the decisions and in the order of calls |
//! | [`answers`] | the policy's answers with or without a fault, each computed once |
//! | [`reconciler`] | the reconciler's real machine, with or without a fault |
//! | [`model`] | the states, and the steps between them |
//! | [`invariants`] | what must be true in the end |
//! | [`search`] | the exploration of all states |
//! | [`trace`] | a counterexample as text |

#![forbid(unsafe_code)]

pub mod answers;
pub mod decisions;
pub mod invariants;
pub mod model;
pub mod mutant;
pub mod objects;
pub mod reconciler;
pub mod search;
pub mod trace;
