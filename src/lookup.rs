//! Reads the custom resource behind a workload, through the host.

use std::collections::BTreeSet;

use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use mcp_scaling_rules::kind::API_VERSIONS;
use mcp_scaling_rules::scaling::FIELDS;
use mcp_scaling_rules::{Field, Owner, Scaling, ServerKind};
use serde_json::value::RawValue;

use crate::custom_resource;
use crate::json::read;
use crate::request::{Object, Request};

/// The host's `get_resource`: the object as the API server gives it.
pub type GetResource<'h> = dyn Fn(&GetResourceRequest) -> Result<Box<RawValue>, HostError> + 'h;

/// The host's error text. It may run over many lines (a backtrace), so it is never passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError(
    /// The text.
    pub String,
);

impl HostError {
    /// Whether the host says that the object does not exist. Only the text tells, and a text of its own belongs to an API
    /// version that is not served.
    ///
    /// Source: `policy-evaluator`, `src/callback_handler/kubernetes/client.rs`.
    fn is_not_found(&self, request: &GetResourceRequest) -> bool {
        let GetResourceRequest { api_version, kind, name, .. } = request;
        self.0.contains(&format!("Cannot find {api_version}/{kind} named '{name}'"))
    }
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// What the custom resource says about scaling.
    Found(Scaling),
    /// There is no such custom resource.
    NotFound,
    /// It could not be read, or what was read is invalid.
    Failed,
}

/// Looks the custom resource up at the API version that its owner reference names, or else at ToolHive's newest. Where that
/// does not find it, one other version is tried. The host's cache is never used: an answer some seconds old would undo a
/// change that the operator is just carrying out.
///
/// An owner that is known by its name alone is tried at one version where it is not found, and a failed lookup of it counts
/// as not found: the name may as well belong to something else.
pub(crate) fn find(owner: &Owner<'_>, request: &Request<'_>, get: &GetResource<'_>) -> Lookup {
    let namespace = request.namespace.string().value().unwrap_or_default();
    let own = owner.api_version.as_deref();
    let others = API_VERSIONS.into_iter().filter(|version| Some(*version) != own);
    let mut outcome = if owner.is_by_name_only { Lookup::NotFound } else { Lookup::Failed };
    for api_version in own.into_iter().chain(others).take(2) {
        let request = get_resource_request(owner, api_version, &namespace);
        match get(&request) {
            Ok(object) => return scaling(owner.kind, object.get()).map_or(Lookup::Failed, Lookup::Found),
            Err(error) if error.is_not_found(&request) => {
                outcome = Lookup::NotFound;
                if owner.is_by_name_only {
                    break;
                }
            }
            Err(_) => {}
        }
    }
    outcome
}

fn get_resource_request(owner: &Owner<'_>, api_version: &str, namespace: &str) -> GetResourceRequest {
    GetResourceRequest {
        api_version: api_version.to_owned(),
        kind: owner.kind.name().to_owned(),
        name: owner.name.clone().into_owned(),
        namespace: Some(namespace.to_owned()),
        disable_cache: true,
        field_masks: Some(BTreeSet::from(FIELDS.map(str::to_owned))),
    }
}

fn scaling(kind: ServerKind, object: &str) -> Option<Scaling> {
    let mut parsed = Field::<Object<'_>>::default();
    read(object, &mut parsed).ok()?;
    custom_resource::scaling(kind, &parsed.value()?.spec.value()?).ok()
}
