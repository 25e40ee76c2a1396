//! Reads the custom resource behind a workload, through the host.

use std::collections::BTreeSet;

use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use mcp_scaling_rules::Scaling;
use mcp_scaling_rules::server::API_VERSIONS;
use serde_json::value::RawValue;

use crate::custom_resource;
use crate::request::{Object, Request};
use crate::server::Server;
use crate::settings::Settings;
use crate::view::{Field, read};

/// The host's `get_resource`: the object as the API server gives it, or the host's error text.
pub type GetResource<'h> = dyn Fn(&GetResourceRequest) -> Result<Box<RawValue>, String> + 'h;

/// What a lookup came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The custom resource, as far as it decides.
    Found(Scaling),
    /// There is no such custom resource.
    NotFound,
    /// It could not be read, or what came back makes no sense.
    Failed,
}

/// Looks the custom resource up: at the API version its owner reference names, else at ToolHive's newest, and where that
/// does not find it at one other. Never from the host's cache: an answer some seconds old would undo a change that the
/// operator is just carrying out.
///
/// A guess is not worth a second look where the first finds nothing, and its failure says nothing of ToolHive.
pub(crate) fn find(server: &Server<'_>, request: &Request<'_>, settings: &Settings, get: &GetResource<'_>) -> Lookup {
    let namespace = request.namespace.text().value().unwrap_or_default();
    let own = server.api_version.as_deref();
    let others = API_VERSIONS.into_iter().filter(|version| Some(*version) != own);
    let mut outcome = if server.is_guess { Lookup::NotFound } else { Lookup::Failed };
    for api_version in own.into_iter().chain(others).take(2) {
        match get(&get_resource_request(server, api_version, &namespace)) {
            Ok(object) => return scaling(server, object.get(), settings).map_or(Lookup::Failed, Lookup::Found),
            Err(error) if is_not_found(&error, server, api_version) => {
                outcome = Lookup::NotFound;
                if server.is_guess {
                    break;
                }
            }
            Err(_) => {}
        }
    }
    outcome
}

fn get_resource_request(server: &Server<'_>, api_version: &str, namespace: &str) -> GetResourceRequest {
    const FIELDS: [&str; 4] =
        ["spec.backendReplicas", "spec.replicas", "spec.sessionStorage.provider", "spec.transport"];
    GetResourceRequest {
        api_version: api_version.to_owned(),
        kind: server.kind.name.to_owned(),
        name: server.name.clone().into_owned(),
        namespace: Some(namespace.to_owned()),
        disable_cache: true,
        field_masks: Some(BTreeSet::from(FIELDS.map(str::to_owned))),
    }
}

/// The host says that an object is missing only in the text of its error. An API version that is not served reads
/// differently.
fn is_not_found(error: &str, server: &Server<'_>, api_version: &str) -> bool {
    error.contains(&format!("Cannot find {api_version}/{} named '{}'", server.kind.name, server.name))
}

fn scaling(server: &Server<'_>, object: &str, settings: &Settings) -> Option<Scaling> {
    let mut view = Field::<Object<'_>>::default();
    read(object, &mut view).ok()?;
    custom_resource::scaling(server.kind, &view.value()?.spec.value()?, settings).ok()
}
