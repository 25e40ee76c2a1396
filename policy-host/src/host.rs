//! What the module may ask of its host, and how the host words its errors.

use std::sync::Arc;

use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use serde_json::Value;

/// Answers the module's `get_resource`.
pub trait Host: Send + Sync {
    /// The object, or the host's error text.
    ///
    /// # Errors
    /// The text that Kubewarden's host would give.
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String>;
}

impl<F> Host for F
where
    F: Fn(&GetResourceRequest) -> Result<Vec<u8>, String> + Send + Sync,
{
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        self(request)
    }
}

/// Where the module's log goes: level and message of each event.
pub type Log = dyn Fn(&str, &str) + Send + Sync;

/// A host for modules that ask for nothing: it has no objects.
pub fn empty() -> Arc<dyn Host> {
    Arc::new(|request: &GetResourceRequest| Err(not_found(request)))
}

/// What the host says of an object that is not there.
///
/// Source: `policy-evaluator`, `callback_handler/kubernetes/client.rs`, and the wrapping in `runtimes/callback.rs`.
pub fn not_found(request: &GetResourceRequest) -> String {
    let GetResourceRequest { api_version, kind, name, namespace, .. } = request;
    callback_failure(&format!("Cannot find {api_version}/{kind} named '{name}' inside of namespace '{namespace:?}'"))
}

/// What the host says of an API version that is not served.
pub fn not_served(request: &GetResourceRequest) -> String {
    let GetResourceRequest { api_version, kind, .. } = request;
    callback_failure(&format!("error finding resource {api_version} / {kind}: 404 page not found"))
}

/// A failed callback as the module hears of it. The host prints the error's `Debug` form, which goes on over many lines
/// where backtraces are on, as they are here so that no test forgets it.
pub fn callback_failure(error: &str) -> String {
    format!("Callback evaluation failure: {error}\n\nStack backtrace:\n   0: policy_evaluator::runtimes::callback\n")
}

/// Takes a waPC host call apart and answers it, with the host's own words where it cannot.
pub(crate) fn call(
    host: &dyn Host,
    log: &Log,
    binding: &str,
    namespace: &str,
    operation: &str,
    payload: &[u8],
) -> Result<Vec<u8>, String> {
    match (binding, namespace, operation) {
        ("kubewarden", "kubernetes", "get_resource") => {
            let request: GetResourceRequest = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
            host.get_resource(&request)
        }
        ("kubewarden", "tracing", "log") => {
            let event: Value = serde_json::from_slice(payload).unwrap_or_default();
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            log(&text("level"), &text("message"));
            Ok(Vec::new())
        }
        ("kubewarden", "kubernetes" | "tracing", _) => Err(format!("unknown operation: {operation}")),
        ("kubewarden", ..) => Err(format!("unknown namespace: {namespace}")),
        _ => Err(format!("unknown binding: {binding}")),
    }
}
