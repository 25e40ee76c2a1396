//! Tests of the rules on the host and, with wasm-bindgen-test under Node, on wasm32.
//!
//! They are one test program, because wasm-bindgen takes longer for each program than the tests in it.

/// The decision tables, row by row.
mod decision_tables;
/// Reading fields of JSON that nobody validated.
mod field;
/// What must hold for every input. On the host only: proptest wants a clock and files.
#[cfg(not(target_arch = "wasm32"))]
mod properties;
