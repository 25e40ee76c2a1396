//! Safe horizontal scaling of [ToolHive](https://github.com/stacklok/toolhive) MCP servers at admission: a policy for
//! [Kubewarden](https://www.kubewarden.io), as a waPC guest.
//!
//! [`wapc_init`] registers the operations, [`evaluate`] answers `validate`. One file judges each kind of request; what
//! they decide comes from `mcp-scaling-rules`.

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
mod custom_resource;
mod deployment;
mod edit;
mod judge;
mod lookup;
mod replicas;
mod request;
mod requester;
mod scale;
mod server;
pub mod settings;
mod statefulset;
mod verdict;
mod view;

use std::panic::PanicHookInfo;

use autoscaler::Autoscaler;
use kubewarden_policy_sdk::host_capabilities::kubernetes::get_resource;
use kubewarden_policy_sdk::protocol_version_guest;
pub use lookup::GetResource;
use mcp_scaling_rules::ServerKind;
use request::{Payload, Request};
use settings::Settings;
use verdict::Verdict;
use view::{Field, Malformed};
use wapc_guest::{CallResult, host_call, register_function};

/// Registers the waPC operations; the host calls it once for each instance.
#[allow(unsafe_code, reason = "waPC finds the entry point by its plain name")]
#[unsafe(no_mangle)]
pub extern "C" fn wapc_init() {
    std::panic::set_hook(Box::new(log_panic));
    register_function("validate", validate);
    register_function("validate_settings", validate_settings);
    register_function("protocol_version", protocol_version_guest);
}

/// Tells the host's log where a panic was: the trap that follows reaches the host without a word.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let event = format!("{{\"level\":\"error\",\"message\":{}}}", edit::quoted(&panic.to_string()));
    // Nobody is left to hear of a failure.
    let _ = host_call("kubewarden", "tracing", "log", event.as_bytes());
}

fn validate(payload: &[u8]) -> CallResult {
    let response = evaluate(payload, &|request| get_resource(request).map_err(host_error))?;
    Ok(response)
}

/// The host's own words, where the error has any; of the rest it matters only that it failed.
fn host_error(error: kubewarden_policy_sdk::Error) -> String {
    match error {
        kubewarden_policy_sdk::Error::HostCall { source, .. } => source.to_string(),
        _ => "no object".to_owned(),
    }
}

fn validate_settings(payload: &[u8]) -> CallResult {
    Ok(serde_json::to_vec(&settings::validate(payload))?)
}

/// Answers `validate`: takes what the host sends and gives what it wants back. `get` reads objects from the cluster.
///
/// # Errors
/// A sentence that names the fault, where the payload is no admission request or holds settings that
/// `validate_settings` refuses. It quotes nothing of the request, which may hold secrets. The host denies the request.
pub fn evaluate(payload: &[u8], get: &GetResource<'_>) -> Result<Vec<u8>, String> {
    let payload = std::str::from_utf8(payload).map_err(|error| format!("the payload is not UTF-8: {error}"))?;
    let parsed = Payload::read(payload)?;
    let request = match &parsed.request {
        Field::Value(request) => request,
        Field::Absent => return Err("request is missing".to_owned()),
        Field::Malformed => return Err("request is not an object".to_owned()),
    };
    let verdict = if parsed.is_about_foreign_workload() {
        Verdict::default()
    } else {
        judge_request(request, || Settings::from_json(parsed.settings.json().unwrap_or("null")), get)?
    };
    verdict
        .into_response(|| request.object_text(payload))
        .map_err(|error| format!("the response cannot be written: {error}"))
}

/// Finds what the request is about and has it judged. `settings` are read only where it is about something of ToolHive's.
fn judge_request<'a>(
    request: &Request<'a>,
    settings: impl FnOnce() -> Result<Settings, String>,
    get: &GetResource<'_>,
) -> Result<Verdict<'a>, String> {
    let kind = match &request.kind {
        Field::Value(kind) => kind,
        Field::Absent => return Err("request.kind is missing".to_owned()),
        Field::Malformed => return Err("request.kind is not an object".to_owned()),
    };
    let name = required(kind.kind.text(), "request.kind.kind")?;
    let group = required(kind.group.text(), "request.kind.group")?;
    let operation = required(request.operation.text(), "request.operation")?;
    let sub_resource = request.sub_resource.text().value().unwrap_or_default();

    if !matches!(&*operation, "CREATE" | "UPDATE") || request.is_being_deleted() {
        return Ok(Verdict::default());
    }
    let judged = match (&*group, &*name, &*sub_resource) {
        (group, name, "") if let Some(kind) = ServerKind::from_name(group, name) => {
            custom_resource::evaluate(kind, request, &settings()?)
        }
        ("apps", "Deployment", "") if let Some(server) = request.server_of_workload() => {
            deployment::evaluate(&server, request, &settings()?, get)
        }
        ("apps", "StatefulSet", "") if let Some(server) = request.server_of_workload() => {
            statefulset::evaluate(&server, request, &settings()?, get)
        }
        ("autoscaling", "Scale", "scale") if let Some((server, declaration)) = scale::server(request) => {
            scale::evaluate(&server, declaration, request, &settings()?, get)
        }
        ("autoscaling", "HorizontalPodAutoscaler", "") => {
            autoscaler::evaluate(&Autoscaler::Horizontal, request, &settings()?, get)
        }
        ("keda.sh", "ScaledObject", "") => autoscaler::evaluate(&Autoscaler::Keda, request, &settings()?, get),
        _ => Ok(Verdict::default()),
    };
    // The API server refuses what is malformed, and says why better than a guess of ours could.
    Ok(judged.unwrap_or_else(|Malformed| Verdict::default()))
}

fn required<T>(field: Field<T>, name: &str) -> Result<T, String> {
    match field {
        Field::Value(value) => Ok(value),
        Field::Absent => Err(format!("{name} is missing")),
        Field::Malformed => Err(format!("{name} is not a string")),
    }
}
