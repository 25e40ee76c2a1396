//! Passes arbitrary bytes as the payload of `validate` and, after a zero byte, arbitrary bytes as the answer to a lookup. The
//! result must be an error or a response.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpserver_scaling_policy::{HostError, ResourceRequest, validate};

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (payload, found) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let get = |_: &ResourceRequest<'_>| {
        std::str::from_utf8(found)
            .map(str::to_owned)
            .map_err(|_| HostError(String::from_utf8_lossy(found).into_owned()))
    };
    if let Ok(response) = validate(payload, &get) {
        serde_json::to_vec(&response.mutated_object).expect("a changed object can be written");
    }
});
