//! A policy that accepts every request without reading it. Its cost is what no policy can avoid.

use wapc_guest::{CallResult, register_function};

/// Registers the waPC operation. The host calls it once for each instance.
#[allow(unsafe_code, reason = "the waPC host finds the function by its unmangled name")]
#[unsafe(no_mangle)]
pub extern "C" fn wapc_init() {
    register_function("validate", validate);
}

fn validate(_payload: &[u8]) -> CallResult {
    Ok(br#"{"accepted":true}"#.to_vec())
}
