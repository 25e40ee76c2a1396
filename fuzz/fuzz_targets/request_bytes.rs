//! Passes arbitrary bytes as the payload of `validate` and, after a zero byte, arbitrary bytes as the answer to a lookup. The
//! result must be an error or a response in JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpserver_scaling_policy::{HostError, ResourceRequest, validate};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (payload, found) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let get = |_: &ResourceRequest<'_>| {
        std::str::from_utf8(found)
            .map(str::to_owned)
            .map_err(|_| HostError(String::from_utf8_lossy(found).into_owned()))
    };
    if let Ok(response) = validate(payload, &get) {
        // The policy copies values that it does not read, so a payload which serde_json rejects (a number out of range, too
        // much nesting) may come back in the response. No host can send such a payload.
        if serde_json::from_slice::<Value>(payload).is_ok() {
            let response: Value = serde_json::from_slice(&response).expect("a response is JSON");
            assert!(response["accepted"].is_boolean());
        }
    }
});
