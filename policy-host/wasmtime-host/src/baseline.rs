//! The modules that the cost of the policy is compared with. No policy costs less than its baseline, because the baseline
//! returns the same kind of response without any work:
//!
//! - `empty-guest` accepts, and is compared with the policy on requests that the policy does not change.
//! - `fixed-response-guest` returns the response that the policy gave, and is compared with it on requests that the policy
//!   mutates. The host then parses the changed object and computes the patch, which costs it several times the evaluation
//!   by an empty guest.

use anyhow::{Context, Result, ensure};

/// The text at the place of the response in `fixed-response-guest`.
const MARKER: &[u8] = b"fixed-response-guest: the response is written here";
/// The space for the response and its length in `fixed-response-guest`.
const CAPACITY: usize = 64 * 1024;

/// Writes a response into the compiled `fixed-response-guest`, which then returns it to every `validate`.
///
/// # Errors
/// If the module is not `fixed-response-guest`, or if the response is longer than the space in it.
pub fn with_response(mut module: Vec<u8>, response: &[u8]) -> Result<Vec<u8>> {
    let start = module.windows(MARKER.len()).position(|window| window == MARKER);
    let start = start.context("the module is not fixed-response-guest")?;
    let length = u32::try_from(response.len())?.to_le_bytes();
    let content = [&length, response].concat();
    ensure!(content.len() <= CAPACITY, "the response is longer than {CAPACITY} bytes");
    module.get_mut(start..start + content.len()).context("the module is truncated")?.copy_from_slice(&content);
    Ok(module)
}
