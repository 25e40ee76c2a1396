//! Safe horizontal scaling of [ToolHive](https://github.com/stacklok/toolhive) MCP servers at admission: a policy for
//! [Kubewarden](https://www.kubewarden.io).
//!
//! [`validate`] answers an admission request. Each kind of request has a file of its own; the decisions come from
//! `mcp-scaling-rules`. For WebAssembly, `src/guest.rs` makes a waPC guest of it.

// A panic in the guest is a trap, and a trap is a denied request.
#![cfg_attr(
    not(test),
    deny(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod autoscaler;
mod backend_template;
mod checks;
mod custom_resource;
mod deployment;
mod edit;
mod error;
#[cfg(target_family = "wasm")]
mod guest;
mod lookup;
mod memory;
mod owner;
mod pod_template;
mod replicas;
mod request;
mod requester;
mod rollout;
mod scale;
mod server_spec;
pub mod settings;
mod statefulset;
mod stopped;
mod verdict;

pub use error::{RequestError, SettingsError};
pub use lookup::{HostError, ReadResources, ResourceRequest};
use mcp_scaling_rules::{AutoscalerKind, Field, Malformed, ServerKind};
use memory::leave;
use request::{Payload, Request};
use serde_json::Value;
use serde_json::value::RawValue;
use settings::Settings;
use verdict::Verdict;
pub use verdict::{Refusal, Response};

/// Answers the operation `validate`, whose payload holds an admission request and the settings. `get` reads objects from the
/// cluster.
///
/// # Errors
/// [`RequestError`] if the payload is no admission request, or holds settings that `validate_settings` refuses. The host
/// denies such a request.
pub fn validate(payload: &[u8], get: &ReadResources<'_>) -> Result<Response, RequestError> {
    let payload = std::str::from_utf8(payload).map_err(|_| RequestError::NotUtf8)?;
    match Payload::read(payload) {
        Ok(payload) => validate_payload(payload, get),
        // serde's derived types fail for a name that stands twice in an object. A `Value` keeps the last one, as the API
        // server and the host do, and fails for bad syntax alone.
        Err(_) => {
            let not_json = |error: serde_json::Error| RequestError::NotJson(error.to_string());
            let value: Value = serde_json::from_str(payload).map_err(not_json)?;
            let payload = serde_json::to_string(&value).map_err(not_json)?;
            validate_payload(Payload::read(&payload).map_err(not_json)?, get)
        }
    }
}

fn validate_payload(payload: Field<Payload<'_>>, get: &ReadResources<'_>) -> Result<Response, RequestError> {
    let payload = payload.value().ok_or(RequestError::NotAnObject("the payload"))?;
    let mut request = match payload.request {
        Field::Value(request) => request,
        Field::Absent => return Err(RequestError::Missing("request")),
        Field::Malformed => return Err(RequestError::NotAnObject("request")),
    };
    let settings =
        || Settings::from_json(payload.settings.map_or("null", RawValue::get)).map_err(RequestError::Settings);
    let response = validate_request(&request, settings, get)?.into_response(|| request.take_whole_objects());
    leave(request);
    Ok(response)
}

/// Finds out what the request is about and validates it. `settings` are read only if it is about an object of ToolHive's
/// or an autoscaler.
fn validate_request(
    request: &Request<'_>,
    settings: impl FnOnce() -> Result<Settings, RequestError>,
    get: &ReadResources<'_>,
) -> Result<Verdict, RequestError> {
    let kind = match &request.kind {
        Field::Value(kind) => kind,
        Field::Absent => return Err(RequestError::Missing("request.kind")),
        Field::Malformed => return Err(RequestError::NotAnObject("request.kind")),
    };
    let name = required(&kind.kind, "request.kind.kind")?;
    let group = required(&kind.group, "request.kind.group")?;
    let operation = required(&request.operation, "request.operation")?;
    let sub_resource = request.sub_resource.get().map_or("", String::as_str);

    if !matches!(operation, "CREATE" | "UPDATE") || request.is_being_deleted() {
        return Ok(Verdict::default());
    }
    let verdict = match (group, name, sub_resource) {
        (group, name, "") if let Some(kind) = ServerKind::from_kind(group, name) => {
            custom_resource::validate(kind, request, &settings()?, get)
        }
        ("apps", "Deployment", "") if let Some(owner) = owner::of_workload(request) => {
            deployment::validate(&owner, request, &settings()?, get)
        }
        ("apps", "StatefulSet", "") if let Some(owner) = owner::of_workload(request) => {
            statefulset::validate(&owner, request, &settings()?, get)
        }
        ("autoscaling", "Scale", "scale") if let Some((owner, workload)) = owner::of_scale(request) => {
            scale::validate(&owner, workload, request, &settings()?, get)
        }
        (group, name, "") if let Some(autoscaler) = AutoscalerKind::from_kind(group, name) => {
            autoscaler::validate(autoscaler, request, &settings()?, get)
        }
        _ => Ok(Verdict::default()),
    };
    // The API server refuses a malformed object itself, and names the field.
    Ok(verdict.unwrap_or_else(|Malformed| Verdict::default()))
}

fn required<'f>(field: &'f Field<String>, name: &'static str) -> Result<&'f str, RequestError> {
    match field {
        Field::Value(value) => Ok(value),
        Field::Absent => Err(RequestError::Missing(name)),
        Field::Malformed => Err(RequestError::NotAString(name)),
    }
}
