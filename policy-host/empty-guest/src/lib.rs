//! A guest on the same SDK as the policy that accepts every request unread. What it costs is what any policy costs, so
//! the benchmark gives the policy's own cost against it.

use kubewarden_policy_sdk::{accept_request, protocol_version_guest};
use wapc_guest::{CallResult, register_function};

/// Registers the waPC operations; the host calls it once for each instance.
#[allow(unsafe_code, reason = "waPC finds the entry point by its plain name")]
#[unsafe(no_mangle)]
pub extern "C" fn wapc_init() {
    register_function("validate", validate);
    register_function("protocol_version", protocol_version_guest);
}

fn validate(_payload: &[u8]) -> CallResult {
    accept_request()
}
