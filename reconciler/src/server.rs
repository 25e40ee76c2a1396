//! What is read of an `MCPServer`.
//!
//! One malformed object must not hide the others, so reading never fails: a field that no CRD of ToolHive's lets through
//! becomes a fault of that one server. Only what decides is kept, since a cluster may have many.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use mcp_scaling_rules::conditions::{LIVE_REPLICAS_WARNING, SESSION_STORAGE_WARNING, STDIO_REPLICA_CAPPED, reasons};
use mcp_scaling_rules::server::MCP_SERVER;
use mcp_scaling_rules::{Scaling, SessionStorage, Transport};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// An `MCPServer`, as far as scaling goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Of the metadata: name, namespace, generation, resource version.
    pub meta: ObjectMeta,
    /// Whether `metadata.deletionTimestamp` is set.
    pub is_being_deleted: bool,
    /// What the spec declares, or what is wrong with it.
    pub spec: Result<Spec, Box<str>>,
    /// Those of `status.conditions` that speak of scaling.
    pub conditions: Box<[StatusCondition]>,
}

/// What the spec declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    transport: Transport,
    replicas: Option<u32>,
    backend_replicas: Option<u32>,
    session_storage: Option<SessionStorage>,
}

/// A condition as it stands in a status. Of its values only those are told apart that the rules know; any other is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCondition {
    /// `type`.
    pub type_: &'static str,
    /// `status`.
    pub status: &'static str,
    /// `reason`.
    pub reason: &'static str,
    /// The generation of the spec that was judged.
    pub observed_generation: Option<i64>,
}

/// The types of condition that are kept, and the values of theirs that are told apart.
const TYPES: [&str; 3] = [STDIO_REPLICA_CAPPED, SESSION_STORAGE_WARNING, LIVE_REPLICAS_WARNING];
const STATUSES: [&str; 2] = ["True", "False"];
const REASONS: [&str; 8] = [
    reasons::STDIO_TRANSPORT_CAP_AT_1,
    reasons::STDIO_REPLICA_CAP_NOT_ACTIVE,
    reasons::SESSION_STORAGE_MISSING_FOR_REPLICAS,
    reasons::SESSION_STORAGE_CONFIGURED,
    reasons::SESSION_STORAGE_WARNING_NOT_APPLICABLE,
    reasons::LIVE_REPLICAS_ABOVE_STDIO_CAP,
    reasons::LIVE_REPLICAS_WITHOUT_SESSION_STORAGE,
    reasons::LIVE_REPLICAS_FIT,
];

impl Server {
    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// What decides how the server may scale. `default_storage` is what one without `spec.sessionStorage` uses.
    ///
    /// # Errors
    /// What is wrong with the spec; it names the field.
    pub fn scaling(&self, default_storage: SessionStorage) -> Result<Scaling, &str> {
        let Spec { transport, replicas, backend_replicas, session_storage } =
            *self.spec.as_ref().map_err(Box::as_ref)?;
        Ok(Scaling {
            transport,
            replicas,
            backend_replicas,
            session_storage: session_storage.unwrap_or(default_storage),
        })
    }

    /// The first condition of a type; readers of an atomic list look no further.
    pub fn condition(&self, type_: &str) -> Option<&StatusCondition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

impl Resource for Server {
    /// At which version: the one that the API server prefers.
    type DynamicType = Arc<ApiResource>;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(resource: &Self::DynamicType) -> Cow<'_, str> {
        Cow::Borrowed(&resource.kind)
    }
    fn group(resource: &Self::DynamicType) -> Cow<'_, str> {
        Cow::Borrowed(&resource.group)
    }
    fn version(resource: &Self::DynamicType) -> Cow<'_, str> {
        Cow::Borrowed(&resource.version)
    }
    fn plural(resource: &Self::DynamicType) -> Cow<'_, str> {
        Cow::Borrowed(&resource.plural)
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// What is expected, or anything else.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Lenient<T> {
    Good(T),
    Bad(IgnoredAny),
}

impl<T> Lenient<T> {
    pub(crate) fn good(self) -> Option<T> {
        match self {
            Self::Good(value) => Some(value),
            Self::Bad(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct RawServer {
    #[serde(default)]
    metadata: RawMetadata,
    spec: Option<Lenient<RawSpec>>,
    status: Option<Lenient<RawStatus>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawMetadata {
    name: Option<String>,
    namespace: Option<String>,
    generation: Option<i64>,
    resource_version: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSpec {
    transport: Option<Lenient<String>>,
    replicas: Option<Lenient<i64>>,
    backend_replicas: Option<Lenient<i64>>,
    session_storage: Option<Lenient<RawSessionStorage>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSessionStorage {
    provider: Option<Lenient<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    conditions: Option<Lenient<Vec<Lenient<RawCondition>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCondition {
    #[serde(rename = "type")]
    type_: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    reason: String,
    observed_generation: Option<i64>,
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RawServer { metadata, spec, status } = RawServer::deserialize(deserializer)?;
        let meta = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            generation: metadata.generation,
            resource_version: metadata.resource_version,
            ..ObjectMeta::default()
        };
        let conditions = status.and_then(Lenient::good).and_then(|status| status.conditions).and_then(Lenient::good);
        let conditions = conditions.unwrap_or_default().into_iter().filter_map(Lenient::good).filter_map(known);
        let spec = match spec {
            None => Spec::read(RawSpec::default()),
            Some(Lenient::Good(spec)) => Spec::read(spec),
            Some(Lenient::Bad(_)) => Err("spec is not an object".into()),
        };
        Ok(Self {
            meta,
            is_being_deleted: metadata.deletion_timestamp.is_some(),
            spec,
            conditions: conditions.collect(),
        })
    }
}

impl Spec {
    fn read(raw: RawSpec) -> Result<Self, Box<str>> {
        let transport = read("spec.transport", raw.transport, |name| Transport::from_name(&name))?;
        let count = |replicas| u32::try_from(replicas).ok();
        let session_storage = read("spec.sessionStorage", raw.session_storage, Some)?;
        let provider = session_storage.and_then(|storage| storage.provider);
        Ok(Self {
            transport: transport.unwrap_or(MCP_SERVER.default_transport),
            replicas: read("spec.replicas", raw.replicas, count)?,
            backend_replicas: read("spec.backendReplicas", raw.backend_replicas, count)?,
            session_storage: read("spec.sessionStorage.provider", provider, |name| SessionStorage::from_name(&name))?,
        })
    }
}

fn read<T, U>(
    field: &str,
    value: Option<Lenient<T>>,
    convert: impl FnOnce(T) -> Option<U>,
) -> Result<Option<U>, Box<str>> {
    let Some(value) = value else { return Ok(None) };
    let converted = value.good().and_then(convert);
    converted.map(Some).ok_or_else(|| format!("{field} has a value that ToolHive does not know").into())
}

fn known(raw: RawCondition) -> Option<StatusCondition> {
    let one_of = |known: &[&'static str], value: &str| known.iter().copied().find(|known| *known == value);
    Some(StatusCondition {
        type_: one_of(&TYPES, &raw.type_)?,
        status: one_of(&STATUSES, &raw.status).unwrap_or_default(),
        reason: one_of(&REASONS, &raw.reason).unwrap_or_default(),
        observed_generation: raw.observed_generation,
    })
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::conditions::{STDIO_REPLICA_CAPPED, reasons};
    use mcp_scaling_rules::{SessionStorage, Transport};
    use serde_json::{Value, json};

    use super::Server;

    fn read(object: Value) -> Server {
        serde_json::from_value(object).expect("reading never fails")
    }

    fn with_spec(spec: Value) -> Server {
        read(json!({"metadata": {"namespace": "default", "name": "github", "generation": 3}, "spec": spec}))
    }

    #[test]
    fn absent_fields_are_what_the_crd_says() {
        let server = with_spec(json!({"image": "x"}));
        let scaling = server.scaling(SessionStorage::Memory).expect("is well formed");
        assert_eq!(scaling.transport, Transport::Stdio);
        assert_eq!((scaling.replicas, scaling.backend_replicas), (None, None));
        assert_eq!(scaling.session_storage, SessionStorage::Memory);
        assert_eq!(server.scaling(SessionStorage::Redis).map(|it| it.session_storage), Ok(SessionStorage::Redis));
        assert_eq!((server.namespace(), server.name(), server.meta.generation), ("default", "github", Some(3)));
        let nulls = json!({"transport": null, "replicas": null, "backendReplicas": null, "sessionStorage": null});
        assert_eq!(with_spec(nulls).spec, server.spec);
    }

    #[test]
    fn what_no_crd_lets_through_is_named() {
        for (spec, field) in [
            (json!("x"), "spec "),
            (json!({"transport": "STDIO"}), "spec.transport "),
            (json!({"transport": 7}), "spec.transport "),
            (json!({"replicas": -1}), "spec.replicas "),
            (json!({"replicas": "3"}), "spec.replicas "),
            (json!({"replicas": 5_000_000_000_u64}), "spec.replicas "),
            (json!({"backendReplicas": 1.5}), "spec.backendReplicas "),
            (json!({"sessionStorage": "redis"}), "spec.sessionStorage "),
            (json!({"sessionStorage": {"provider": "x"}}), "spec.sessionStorage.provider "),
        ] {
            let server = with_spec(spec.clone());
            let fault = server.scaling(SessionStorage::Memory).expect_err("is malformed");
            assert!(fault.starts_with(field), "{spec}: {fault}");
        }
    }

    #[test]
    fn of_the_conditions_those_that_speak_of_scaling_are_kept() {
        let server = read(
            json!({"metadata": {"name": "x", "deletionTimestamp": "2026-11-20T00:00:00Z"}, "status": {"conditions": [
                {"type": "Ready", "status": "True"},
                "not an object",
                {"type": "StdioReplicaCapped", "status": "True", "reason": "StdioTransportCapAt1", "observedGeneration": 2},
                {"type": "SessionStorageWarning", "status": "Maybe", "reason": "Because"},
            ]}}),
        );
        let told: Vec<_> = server.conditions.iter().map(|it| (it.type_, it.status, it.reason)).collect();
        assert_eq!(
            told,
            [(STDIO_REPLICA_CAPPED, "True", reasons::STDIO_TRANSPORT_CAP_AT_1), ("SessionStorageWarning", "", "")]
        );
        assert!(server.is_being_deleted);
        assert_eq!(server.condition(STDIO_REPLICA_CAPPED).and_then(|it| it.observed_generation), Some(2));
        for status in [json!(7), json!({"conditions": "x"}), json!({"conditions": null}), json!(null)] {
            let server = read(json!({"metadata": {"name": "x"}, "status": status}));
            assert!(server.conditions.is_empty() && server.spec.is_ok(), "{status}");
        }
    }
}
