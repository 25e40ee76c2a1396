//! A policy that returns a fixed response to every request without reading the request. With the response of the real
//! policy, its cost is what no policy with this response can avoid: the host has to build the payload, to parse the response
//! and to compare the changed object with the object of the request.
//!
//! `wasmtime_host::baseline` writes the response into the compiled module, because a response in the payload or from a host
//! call would itself cost time.

use std::hint::black_box;

use wapc_guest::{CallResult, register_function};

/// By this text the host finds [`RESPONSE`] in the compiled module.
const MARKER: &[u8] = b"fixed-response-guest: the response is written here";

/// The length of the response as a little-endian `u32`, followed by the response. The host overwrites both.
static RESPONSE: [u8; 64 * 1024] = {
    // The filling is not zero, so that the linker keeps the whole array in the module.
    let mut bytes = [b' '; 64 * 1024];
    let (start, _) = bytes.split_at_mut(MARKER.len());
    start.copy_from_slice(MARKER);
    bytes
};

/// Registers the waPC operation. The host calls it once for each instance.
#[allow(unsafe_code, reason = "the waPC host finds the function by its unmangled name")]
#[unsafe(no_mangle)]
pub extern "C" fn wapc_init() {
    register_function("validate", validate);
}

fn validate(_payload: &[u8]) -> CallResult {
    // `black_box` keeps the compiler from using the contents that the array has at compile time.
    let (length, response) = black_box(&RESPONSE).split_first_chunk().ok_or("the array is too short")?;
    let length = usize::try_from(u32::from_le_bytes(*length))?;
    Ok(response.get(..length).ok_or("the host has not written a response")?.to_vec())
}
