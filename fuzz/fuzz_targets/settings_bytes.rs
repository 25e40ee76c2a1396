//! Any bytes as settings: accepted, or refused with one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpserver_scaling_policy::settings::Settings;

fuzz_target!(|json: &str| {
    if let Err(message) = Settings::from_json(json) {
        assert!(!message.is_empty());
    }
});
