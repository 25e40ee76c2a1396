//! The waPC guest: Kubewarden's operations, with the messages of its SDK. Only the module has this file. Other programs, such as
//! the tests of the decisions, compile without the SDK and the crates on which it depends.

use std::fmt::Display;
use std::panic::PanicHookInfo;

use kubewarden_policy_sdk::protocol_version_guest;
use kubewarden_policy_sdk::response::ValidationResponse;
use kubewarden_policy_sdk::settings::SettingsValidationResponse;
use serde_json::json;
use wapc_guest::{CallResult, host_call, register_function};

use crate::error::SettingsError;
use crate::lookup::{HostError, ResourceRequest};
use crate::memory::leave;
use crate::settings::Settings;
use crate::validate;
use crate::verdict::Response;

/// Registers the waPC operations; the host calls it once for each instance.
#[allow(unsafe_code, reason = "waPC finds the entry point by its plain name")]
#[unsafe(no_mangle)]
extern "C" fn wapc_init() {
    std::panic::set_hook(Box::new(log_panic));
    register_function("validate", answer_validate);
    register_function("validate_settings", answer_validate_settings);
    register_function("protocol_version", protocol_version_guest);
}

/// Writes the place of a panic to the host's log: the trap that follows carries no text.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let event = json!({"level": "error", "message": panic.to_string()});
    // If one of these calls fails as well, there is nobody left to tell.
    let _ = serde_json::to_vec(&event).map(|event| host_call("kubewarden", "tracing", "log", &event));
}

fn answer_validate(payload: &[u8]) -> CallResult {
    let response = message(validate(payload, &read_resources)?);
    let mut bytes = Vec::with_capacity(payload.len());
    serde_json::to_writer(&mut bytes, &response)?;
    leave(response);
    Ok(bytes)
}

/// The response as Kubewarden's message.
fn message(response: Response) -> ValidationResponse {
    let accepted = response.refusal.is_none();
    let (message, code) = response.refusal.map(|refusal| (refusal.message, refusal.code)).unzip();
    ValidationResponse {
        accepted,
        message,
        code,
        mutated_object: response.mutated_object,
        audit_annotations: Some(response.audit_annotations).filter(|annotations| !annotations.is_empty()),
        warnings: Some(response.warnings).filter(|warnings| !warnings.is_empty()),
    }
}

fn read_resources(request: &ResourceRequest<'_>) -> Result<String, HostError> {
    let payload = serde_json::to_vec(request).map_err(host_error)?;
    let answer = host_call("kubewarden", "kubernetes", request.operation(), &payload).map_err(host_error)?;
    String::from_utf8(answer).map_err(host_error)
}

fn host_error(error: impl Display) -> HostError {
    HostError(error.to_string())
}

fn answer_validate_settings(payload: &[u8]) -> CallResult {
    let settings = std::str::from_utf8(payload).map_err(|_| SettingsError::NotUtf8).and_then(Settings::from_json);
    let message = settings.err().map(|error| error.to_string());
    Ok(serde_json::to_vec(&SettingsValidationResponse { valid: message.is_none(), message })?)
}
