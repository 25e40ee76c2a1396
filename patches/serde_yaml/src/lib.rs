//! Takes the place of the crate serde_yaml, which kubewarden-policy-sdk 0.17 depends on and uses only in its tests:
//! `findings/kubewarden-policy-sdk-unused-dependencies.sh` shows it. The SDK does not use chrono and url either, but other crates of the
//! workspace use the real ones.
//!
//! It and the crates that it brings take 6 s to compile. `Cargo.toml` of the workspace puts this crate in place; delete both
//! when the SDK no longer depends on it.
