//! What the spec of a custom resource says about scaling and about its auth server. The spec is that of a request or of a lookup.

use mcp_scaling_rules::auth_server::{AuthServer, RawAuthServer, Unshared};
use mcp_scaling_rules::{Field, InvalidField, RawSpec, Scaling, ServerKind};
use serde_json::{Map, Value};

use crate::request::Spec;

/// What a spec says about scaling.
///
/// # Errors
/// [`InvalidField`] with the field that ToolHive's CRD does not allow.
pub(crate) fn scaling(kind: ServerKind, spec: &Spec) -> Result<Scaling, InvalidField> {
    Scaling::read(
        kind,
        RawSpec {
            transport: &spec.transport,
            replicas: spec.replicas,
            backend_replicas: spec.backend_replicas,
            session_storage: &spec.session_storage,
        },
    )
}

/// The embedded auth server of a custom resource. A `VirtualMCPServer` has it in its spec. The other kinds refer to an
/// `MCPExternalAuthConfig`, which the policy does not read.
pub(crate) fn auth_server(kind: ServerKind, spec: &Spec) -> Option<AuthServer> {
    if kind != ServerKind::VirtualMcpServer {
        return spec.auth_server_ref.get().map(|_| AuthServer::Referenced);
    }
    let config = spec.auth_server_config.get()?;
    let storage = member(config, "storage").and_then(Value::as_object);
    let storage_type = match storage {
        Field::Value(storage) => member(storage, "type").and_then(Value::as_str),
        Field::Absent => Field::Absent,
        Field::Malformed => Field::Malformed,
    };
    let entries = |name| member(config, name).and_then(|refs| refs.as_array().map(Vec::len));
    let (signing_keys, hmac_secrets) = (entries("signingKeySecretRefs"), entries("hmacSecretRefs"));
    Some(AuthServer::InSpec(Unshared::read(RawAuthServer { storage_type, signing_keys, hmac_secrets })))
}

/// A member of an object that was not validated.
fn member<'m>(object: &'m Map<String, Value>, name: &str) -> Field<&'m Value> {
    object.get(name).filter(|value| !value.is_null()).map_or(Field::Absent, Field::Value)
}
