//! What is read of an `MCPServer`.

use anyhow::{Context, Result, anyhow};
use mcp_scaling_rules::server::MCP_SERVER;
use mcp_scaling_rules::{Scaling, SessionStorage, Transport};
use serde::Deserialize;

/// An `MCPServer`, as far as scaling goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// What the spec declares.
    pub scaling: Scaling,
    /// `status.conditions`.
    pub conditions: Vec<StatusCondition>,
}

/// A condition as it stands in a status, less its message and times.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StatusCondition {
    /// `type`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// The generation of the spec that was judged.
    pub observed_generation: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    namespace: String,
    name: String,
    generation: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    transport: Option<String>,
    replicas: Option<i32>,
    backend_replicas: Option<i32>,
    session_storage: Option<SessionStorageSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SessionStorageSpec {
    provider: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<StatusCondition>,
}

impl Server {
    /// Reads a server from its JSON. `default_storage` is what one without `spec.sessionStorage` uses.
    ///
    /// # Errors
    /// Where a field has a value that no CRD of ToolHive's lets through; the error names it.
    pub fn from_json(object: serde_json::Value, default_storage: SessionStorage) -> Result<Self> {
        let Object { metadata, spec, status } = serde_json::from_value(object)?;
        let transport = match spec.transport.as_deref() {
            None => MCP_SERVER.default_transport,
            Some(name) => Transport::from_name(name).ok_or_else(|| anyhow!("spec.transport is {name:?}"))?,
        };
        let session_storage = match spec.session_storage.and_then(|storage| storage.provider).as_deref() {
            None => default_storage,
            Some(name) => {
                SessionStorage::from_name(name).ok_or_else(|| anyhow!("spec.sessionStorage.provider is {name:?}"))?
            }
        };
        let scaling = Scaling {
            transport,
            replicas: count(spec.replicas).context("spec.replicas is negative")?,
            backend_replicas: count(spec.backend_replicas).context("spec.backendReplicas is negative")?,
            session_storage,
        };
        let Metadata { namespace, name, generation } = metadata;
        Ok(Self { namespace, name, generation, scaling, conditions: status.conditions })
    }
}

fn count(replicas: Option<i32>) -> Result<Option<u32>> {
    Ok(replicas.map(u32::try_from).transpose()?)
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::{SessionStorage, Transport};
    use serde_json::{Value, json};

    use super::Server;

    fn read(spec: Value) -> Result<Server, String> {
        let object = json!({
            "metadata": {"namespace": "default", "name": "github", "generation": 3},
            "spec": spec,
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-20T00:00:00Z"}]}
        });
        Server::from_json(object, SessionStorage::Memory).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn absent_fields_are_what_the_crd_says() {
        let server = read(json!({"image": "x"})).expect("is a server");
        assert_eq!(server.scaling.transport, Transport::Stdio);
        assert_eq!((server.scaling.replicas, server.scaling.backend_replicas), (None, None));
        assert_eq!(server.scaling.session_storage, SessionStorage::Memory);
        assert_eq!((server.generation, server.conditions.len()), (Some(3), 1));
    }

    #[test]
    fn what_no_crd_lets_through_is_named() {
        for (spec, field) in [
            (json!({"transport": "STDIO"}), "spec.transport"),
            (json!({"replicas": -1}), "spec.replicas"),
            (json!({"backendReplicas": -1}), "spec.backendReplicas"),
            (json!({"sessionStorage": {"provider": "x"}}), "spec.sessionStorage.provider"),
        ] {
            let error = read(spec.clone()).expect_err("is malformed");
            assert!(error.contains(field), "{spec}: {error}");
        }
        assert!(read(json!({"replicas": "3"})).is_err());
        assert!(Server::from_json(json!({"spec": {}}), SessionStorage::Memory).is_err(), "no metadata");
    }
}
