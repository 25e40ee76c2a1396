//! Any bytes as the payload of `validate`, and after a zero byte any bytes as the answer to a lookup: a response or an
//! error, and a response is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpserver_scaling_policy::evaluate;
use serde_json::Value;
use serde_json::value::RawValue;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (payload, found) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let get = |_: &_| -> Result<Box<RawValue>, String> {
        serde_json::from_slice(found).map_err(|_| String::from_utf8_lossy(found).into_owned())
    };
    if let Ok(response) = evaluate(payload, &get) {
        // What no host could have sent may come back as it came: a number out of range, nesting without end.
        if serde_json::from_slice::<Value>(payload).is_ok() {
            let response: Value = serde_json::from_slice(&response).expect("a response is JSON");
            assert!(response["accepted"].is_boolean());
        }
    }
});
