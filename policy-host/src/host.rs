//! The functions that the host provides to the module, and the error texts of Kubewarden's host.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A request of the module for one object, as kubewarden-policy-sdk writes it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
pub struct GetResourceRequest {
    /// Group and version; only the version for the core group.
    pub api_version: String,
    /// The kind of the object.
    pub kind: String,
    /// The name of the object.
    pub name: String,
    /// The namespace of the object; `None` for an object of the cluster.
    pub namespace: Option<String>,
    /// Says whether the host has to ask the API server. Otherwise it may return an object that is up to 5 s old.
    pub disable_cache: bool,
    /// The fields that the module needs, as paths with dots; `None` for the whole object.
    pub field_masks: Option<BTreeSet<String>>,
}

/// A request of the module for all objects of a kind in a namespace, as kubewarden-policy-sdk writes it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
pub struct ListResourcesRequest {
    /// Group and version; only the version for the core group.
    pub api_version: String,
    /// The kind of the objects.
    pub kind: String,
    /// The namespace of the objects.
    pub namespace: String,
    /// Limits the list by labels; `None` for all objects.
    pub label_selector: Option<String>,
    /// Limits the list by fields; `None` for all objects.
    pub field_selector: Option<String>,
    /// The fields that the module needs, as paths with dots; `None` for whole objects.
    pub field_masks: Option<BTreeSet<String>>,
}

/// Provides objects of the cluster to the module.
pub trait Host: Send + Sync {
    /// Returns the requested object as JSON.
    ///
    /// # Errors
    /// The error text that Kubewarden's host would return.
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String>;

    /// Returns a list of the requested objects as JSON. A host that is a closure has none to offer.
    ///
    /// # Errors
    /// As [`Host::get_resource`].
    fn list_resources(&self, request: &ListResourcesRequest) -> Result<Vec<u8>, String> {
        Err(not_granted(&request.api_version, &request.kind))
    }
}

impl<F> Host for F
where
    F: Fn(&GetResourceRequest) -> Result<Vec<u8>, String> + Send + Sync,
{
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        self(request)
    }
}

/// Receives the level and the message of each log event of the module.
pub type Log = dyn Fn(&str, &str) + Send + Sync;

/// A host without objects.
pub fn empty() -> Arc<dyn Host> {
    Arc::new(|request: &GetResourceRequest| Err(not_found(request)))
}

/// The error text of Kubewarden's host for an object that does not exist.
///
/// Source: `policy-evaluator`, `callback_handler/kubernetes/client.rs`, and the wrapping in `runtimes/callback.rs`.
pub fn not_found(request: &GetResourceRequest) -> String {
    let GetResourceRequest { api_version, kind, name, namespace, .. } = request;
    callback_failure(&format!("Cannot find {api_version}/{kind} named '{name}' inside of namespace '{namespace:?}'"))
}

/// The error text of Kubewarden's host for an API version that the API server does not serve.
pub fn not_served(api_version: &str, kind: &str) -> String {
    callback_failure(&format!("error finding resource {api_version} / {kind}: 404 page not found"))
}

/// The JSON of a list of objects, as Kubewarden's host makes it. Of each object the fields stay that the
/// request asks for.
pub fn list(request: &ListResourcesRequest, objects: impl IntoIterator<Item = Value>) -> Vec<u8> {
    let mut items: Vec<Value> = objects.into_iter().collect();
    if let Some(masks) = &request.field_masks {
        items.iter_mut().for_each(|item| keep_masked(item, masks.iter().map(String::as_str)));
    }
    let ListResourcesRequest { api_version, kind, .. } = request;
    let list = json!({"apiVersion": api_version, "kind": format!("{kind}List"), "metadata": {}, "items": items});
    list.to_string().into_bytes()
}

/// Removes the fields of an object that no mask names, as Kubewarden's host does: type and metadata always stay.
pub fn keep_masked<'m>(object: &mut Value, masks: impl Iterator<Item = &'m str>) {
    let mut kept = Map::new();
    for name in ["apiVersion", "kind", "metadata"] {
        kept.insert(name.to_owned(), object[name].take());
    }
    let mut kept = Value::Object(kept);
    for mask in masks {
        keep(object, &mut kept, &mask.split('.').collect::<Vec<_>>());
    }
    *object = kept;
}

fn keep(from: &Value, to: &mut Value, path: &[&str]) {
    let Some((name, rest)) = path.split_first() else {
        *to = from.clone();
        return;
    };
    if let Some(value) = from.get(name) {
        // The parent objects stay even if the field itself is missing.
        if to.get(name).is_none() {
            to[*name] = if value.is_object() { Value::Object(Map::new()) } else { value.clone() };
        }
        keep(value, &mut to[*name], rest);
    }
}

/// The error text of Kubewarden's host for a kind that `contextAwareResources` does not name.
///
/// Source: `policy-evaluator`, `runtimes/callback.rs`.
pub fn not_granted(api_version: &str, kind: &str) -> String {
    format!(
        "Policy has not been granted access to Kubernetes {api_version}/{kind} resources. The violation has been reported."
    )
}

/// The error text of Kubewarden's host for a failed callback. It is the `Debug` form of the error, which has many lines if
/// backtraces are enabled. The text always has a backtrace here, so that every test covers that case.
pub fn callback_failure(error: &str) -> String {
    format!("Callback evaluation failure: {error}\n\nStack backtrace:\n   0: policy_evaluator::runtimes::callback\n")
}

/// Answers a waPC host call. The error texts are those of Kubewarden's host.
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
        ("kubewarden", "kubernetes", "list_resources_by_namespace") => {
            let request: ListResourcesRequest = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
            host.list_resources(&request)
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
