//! Passes arbitrary text as settings. They must be accepted, or rejected with an error that has a text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpserver_scaling_policy::settings::Settings;

fuzz_target!(|json: &str| {
    if let Err(error) = Settings::from_json(json) {
        assert!(!error.to_string().is_empty());
    }
});
