//! Reads the custom resource behind a workload, through the host.

use mcp_scaling_rules::auth_server::AuthServer;
use mcp_scaling_rules::kind::API_VERSIONS;
use mcp_scaling_rules::spec_fields::{
    AUTH_SERVER_REF, BACKEND_REPLICAS, FIELDS, REPLICAS, SESSION_STORAGE_PROVIDER, TRANSPORT,
};
use mcp_scaling_rules::{AutoscalerKind, Field, Owner, Scaling, ServerKind};

use serde::Serialize;

use crate::request::{Object, ObjectList, Request};
use crate::server_spec;

/// The host's `get_resource` and `list_resources_by_namespace`: the JSON text of the object or of the list, as the API server
/// gives it.
pub type ReadResources<'h> = dyn Fn(&ResourceRequest<'_>) -> Result<String, HostError> + 'h;

/// The request for an object, or for all objects of a kind in a namespace. The members are those of kubewarden-policy-sdk's
/// types `GetResourceRequest` and `ListResourcesByNamespaceRequest`, which the SDK has only with its feature
/// `cluster-context`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceRequest<'a> {
    /// `apiVersion` of the object.
    pub api_version: &'a str,
    /// `kind` of the object.
    pub kind: &'a str,
    /// Name of the object, or `None` for a list of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// Namespace of the object.
    pub namespace: &'a str,
    /// Paths of the fields to fetch. Metadata is fetched in any case.
    pub field_masks: &'a [&'a str],
    /// Says whether the host asks the API server. It always has to: an answer from the host's cache, some seconds old, would undo
    /// a change that the operator is just carrying out. The host ignores this for a list, which it takes from a watch.
    pub disable_cache: bool,
}

impl ResourceRequest<'_> {
    /// The host's operation that answers the request.
    pub fn operation(&self) -> &'static str {
        if self.name.is_some() { "get_resource" } else { "list_resources_by_namespace" }
    }
}

/// The host's error text. It may run over many lines (a backtrace), so it is never passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError(
    /// The text.
    pub String,
);

impl HostError {
    /// Returns whether the host says that the object does not exist. Only the text tells, and an API version that is not served has
    /// a text of its own.
    ///
    /// Source: `policy-evaluator`, `src/callback_handler/kubernetes/client.rs`.
    fn is_not_found(&self, request: &ResourceRequest<'_>) -> bool {
        let ResourceRequest { api_version, kind, name, .. } = request;
        let name = name.unwrap_or_default();
        self.0.contains(&format!("Cannot find {api_version}/{kind} named '{name}'"))
    }
}

/// The result of a lookup.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The custom resource.
    Found(Found),
    /// There is no such custom resource, or it has values that ToolHive does not know: there is nothing to enforce.
    NotFound,
    /// It could not be read. The same request may succeed later.
    Failed,
}

/// A custom resource that a lookup found.
#[derive(Debug)]
pub(crate) struct Found {
    /// What its spec says about scaling.
    pub(crate) scaling: Scaling,
    /// Its embedded auth server.
    pub(crate) auth_server: Option<AuthServer>,
    /// `metadata.generation`.
    pub(crate) generation: Option<i64>,
    /// `status.toolConfigHash`, only with [`Fields::ScalingAndRollout`].
    pub(crate) tool_config_hash: Option<String>,
    /// `status.externalAuthConfigHash`, only with [`Fields::ScalingAndRollout`].
    pub(crate) external_auth_config_hash: Option<String>,
}

/// Which fields of a custom resource a lookup fetches besides its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    /// Those that [`Scaling`] is read from.
    Scaling,
    /// Those and the ones that tell what an operator before v0.10.1 would roll out.
    ScalingAndRollout,
}

impl Fields {
    /// The paths for this kind, in the order of the alphabet, which recorded sessions of kwctl expect.
    fn masks(self, kind: ServerKind) -> &'static [&'static str] {
        match (self, kind) {
            (_, ServerKind::VirtualMcpServer) => &FIELDS_AND_AUTH_SERVER,
            (Self::Scaling, _) => &FIELDS,
            (Self::ScalingAndRollout, _) => &FIELDS_AND_ROLLOUT,
        }
    }
}

const FIELDS_AND_ROLLOUT: [&str; 7] = [
    AUTH_SERVER_REF,
    BACKEND_REPLICAS,
    REPLICAS,
    SESSION_STORAGE_PROVIDER,
    TRANSPORT,
    "status.externalAuthConfigHash",
    "status.toolConfigHash",
];

/// Of the kind with an auth server in its spec, whose operator resets no counts. The issuer tells that there is one.
const FIELDS_AND_AUTH_SERVER: [&str; 8] = [
    "spec.authServerConfig.hmacSecretRefs",
    "spec.authServerConfig.issuer",
    "spec.authServerConfig.signingKeySecretRefs",
    "spec.authServerConfig.storage.type",
    BACKEND_REPLICAS,
    REPLICAS,
    SESSION_STORAGE_PROVIDER,
    TRANSPORT,
];

/// Looks the custom resource up at the API version that its owner reference names, or else at ToolHive's newest. If that
/// does not find it, one other version is tried.
///
/// An owner that is known by its name alone is tried at one version if it is not found, and a failed lookup of it counts
/// as not found: the name may as well belong to something else.
pub(crate) fn find(owner: &Owner<'_>, fields: Fields, request: &Request<'_>, get: &ReadResources<'_>) -> Lookup {
    let read = Read {
        kind: owner.kind.name(),
        name: &owner.name,
        field_masks: fields.masks(owner.kind),
        is_by_name_only: owner.is_by_name_only,
    };
    match read.object(owner.api_version.as_deref(), request, get) {
        Ok(object) => found(owner.kind, &object),
        Err(lookup) => lookup,
    }
}

/// Returns whether there is a custom resource of this kind and name. A failed lookup counts as not found.
pub(crate) fn exists(kind: &str, name: &str, request: &Request<'_>, get: &ReadResources<'_>) -> bool {
    Read { kind, name, field_masks: &[REPLICAS], is_by_name_only: true }.object(None, request, get).is_ok()
}

/// All HorizontalPodAutoscalers in the namespace, or `None` if they cannot be read. `name` is that of the
/// object of the request.
///
/// policy-server answers a list from a watch, and waits without end for the first answer to a watch that it is not allowed to
/// make. Therefore the right is tried before, with a request for one object.
///
/// Source: `policy-evaluator`, `src/callback_handler/kubernetes/reflector.rs`.
pub(crate) fn autoscalers(name: &str, request: &Request<'_>, get: &ReadResources<'_>) -> Option<Vec<Object>> {
    let namespace = request.namespace();
    let one = ResourceRequest {
        api_version: "autoscaling/v2",
        kind: AutoscalerKind::HorizontalPodAutoscaler.name(),
        name: Some(name),
        namespace,
        field_masks: &["spec.maxReplicas", "spec.minReplicas", "spec.scaleTargetRef"],
        disable_cache: true,
    };
    match get(&one) {
        Err(error) if !error.is_not_found(&one) => None,
        _ => {
            let list = get(&ResourceRequest { name: None, ..one }).ok()?;
            // What is no list has no items.
            let list: Field<ObjectList> = serde_json::from_str(&list).unwrap_or_default();
            let items = list.value().and_then(|list| list.items.value()).unwrap_or_default();
            Some(items.into_iter().filter_map(Field::value).collect())
        }
    }
}

/// A custom resource that is to be read.
struct Read<'a> {
    kind: &'a str,
    name: &'a str,
    field_masks: &'a [&'a str],
    is_by_name_only: bool,
}

impl Read<'_> {
    /// The JSON text of the custom resource at this API version, or else at ToolHive's.
    fn object(
        &self,
        api_version: Option<&str>,
        request: &Request<'_>,
        get: &ReadResources<'_>,
    ) -> Result<String, Lookup> {
        let namespace = request.namespace();
        let others = API_VERSIONS.into_iter().filter(|version| Some(*version) != api_version);
        let mut outcome = if self.is_by_name_only { Lookup::NotFound } else { Lookup::Failed };
        for api_version in api_version.into_iter().chain(others).take(2) {
            let request = ResourceRequest {
                api_version,
                kind: self.kind,
                name: Some(self.name),
                namespace,
                field_masks: self.field_masks,
                disable_cache: true,
            };
            match get(&request) {
                Ok(object) => return Ok(object),
                Err(error) if error.is_not_found(&request) => {
                    outcome = Lookup::NotFound;
                    if self.is_by_name_only {
                        break;
                    }
                }
                Err(_) => {}
            }
        }
        Err(outcome)
    }
}

/// An object that is no custom resource at all is a failure of the lookup. One with values that ToolHive's CRD does not
/// allow is not: it would be the same at the next try.
fn found(kind: ServerKind, object: &str) -> Lookup {
    let Ok(Field::Value(object)) = serde_json::from_str::<Field<Object>>(object) else {
        return Lookup::Failed;
    };
    let Field::Value(spec) = object.spec else {
        return Lookup::Failed;
    };
    let Ok(scaling) = server_spec::scaling(kind, &spec) else {
        return Lookup::NotFound;
    };
    let status = object.status.value().unwrap_or_default();
    Lookup::Found(Found {
        scaling,
        auth_server: server_spec::auth_server(kind, &spec),
        generation: object.metadata.value().and_then(|metadata| metadata.generation.value()),
        tool_config_hash: status.tool_config_hash.value(),
        external_auth_config_hash: status.external_auth_config_hash.value(),
    })
}
