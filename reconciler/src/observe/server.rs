//! The slim type that an `MCPServer` is read into. It has only the fields that scaling depends on, since a cluster may have
//! many servers.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use mcp_scaling_rules::scaling::SessionStorageSpec;
use mcp_scaling_rules::{
    Condition, ConditionReason, ConditionStatus, ConditionType, Field, InvalidField, RawSpec, Scaling, ServerKind,
};
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::observe::server_key::ServerKey;
use crate::observe::uid::Uid;

/// An `MCPServer`. Malformed fields do not fail its deserialization: a spec that ToolHive's CRD does not allow becomes an
/// error of this one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// `<namespace>/<name>`: one text takes less space than two.
    full_name: Box<str>,
    /// `metadata.generation`.
    pub(crate) generation: Option<i64>,
    /// The identity of the object.
    pub(crate) uid: Uid,
    /// Says whether `metadata.deletionTimestamp` is set.
    pub(crate) is_being_deleted: bool,
    /// The fields of the spec about scaling, or its first invalid field.
    pub scaling: Result<Scaling, InvalidField>,
    /// The entries of `status.conditions` that are about scaling.
    pub conditions: Box<[StatusCondition]>,
}

/// An entry of `status.conditions` that is about scaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCondition {
    /// `type`.
    pub type_: ConditionType,
    /// `status`, `None` for a value that we never write.
    pub status: Option<ConditionStatus>,
    /// `reason`, `None` for a value that we never write.
    pub reason: Option<ConditionReason>,
    /// `observedGeneration`: the generation of the spec that the writer saw.
    pub observed_generation: Option<i64>,
}

impl StatusCondition {
    /// Returns whether this is the desired condition for a spec of this generation. Message and transition time do not count, and a
    /// writer may leave out the observed generation.
    pub(crate) fn matches(&self, desired: &Condition, generation: Option<i64>) -> bool {
        self.type_ == desired.type_
            && self.status == Some(desired.status)
            && self.reason == Some(desired.reason)
            && self.observed_generation.is_none_or(|observed| Some(observed) == generation)
    }
}

impl Server {
    /// `metadata.namespace`.
    pub(crate) fn namespace(&self) -> &str {
        self.full_name.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// `metadata.name`.
    pub(crate) fn name(&self) -> &str {
        self.full_name.split_once('/').map_or("", |(_, name)| name)
    }

    /// The key of what is kept of it.
    pub(crate) fn key(&self) -> ServerKey {
        ServerKey::of(self.namespace(), self.name())
    }

    /// The first condition of a type, which is the one that clients find in a list that has the type twice.
    pub(crate) fn condition(&self, type_: ConditionType) -> Option<&StatusCondition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Returns whether the status has the desired condition. Any writer may have written it.
    pub(crate) fn has_condition(&self, desired: &Condition) -> bool {
        self.condition(desired.type_).is_some_and(|condition| condition.matches(desired, self.generation))
    }
}

/// An `MCPServer` as a list or a watch has it.
#[derive(Clone, Debug)]
pub(crate) struct ServerObject {
    /// Of the metadata: the resource version, from which a watch is resumed. It is not kept: the whole type has 300 bytes.
    meta: ObjectMeta,
    pub(crate) server: Server,
}

impl Resource for ServerObject {
    /// Names the API version, which is the one that the API server prefers.
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

/// An `MCPServer` that was just read, with the fields that a write to it needs.
#[derive(Debug)]
pub struct FreshServer {
    /// The fields that scaling depends on.
    pub server: Server,
    /// `metadata.uid`.
    pub(crate) uid: String,
    /// `metadata.resourceVersion`, which guards the write.
    pub(crate) resource_version: String,
    /// All of `status.conditions`.
    pub conditions: Vec<ListedCondition>,
}

/// Any entry of `status.conditions`.
#[derive(Debug)]
pub struct ListedCondition {
    /// The entry as the API server sent it.
    pub raw: Box<RawValue>,
    /// Its fields, if it is about scaling.
    pub known: Option<StatusCondition>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    generation: Option<i64>,
    resource_version: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    transport: Field<String>,
    replicas: Field<i64>,
    backend_replicas: Field<i64>,
    session_storage: Field<SessionStorageSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConditionFields {
    #[serde(default, rename = "type")]
    type_: Field<String>,
    #[serde(default)]
    status: Field<String>,
    #[serde(default)]
    reason: Field<String>,
    #[serde(default)]
    observed_generation: Field<i64>,
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ServerObject::deserialize(deserializer).map(|object| object.server)
    }
}

impl<'de> Deserialize<'de> for ServerObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(default)]
            metadata: Metadata,
            #[serde(default)]
            spec: Field<Spec>,
            #[serde(default)]
            status: Field<Status>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Status {
            conditions: Field<Vec<Field<ConditionFields>>>,
        }

        let Object { mut metadata, spec, status } = Object::deserialize(deserializer)?;
        let conditions = status.value().unwrap_or_default().conditions.value().unwrap_or_default();
        let known = conditions.into_iter().filter_map(|condition| condition.value().and_then(known_condition));
        let meta = ObjectMeta { resource_version: metadata.resource_version.take(), ..ObjectMeta::default() };
        Ok(Self { meta, server: Server::new(&metadata, spec, known.collect()) })
    }
}

impl<'de> Deserialize<'de> for FreshServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
            #[serde(default)]
            spec: Field<Spec>,
            status: Option<Status>,
        }
        #[derive(Deserialize)]
        struct Status {
            conditions: Option<Vec<Box<RawValue>>>,
        }

        let Object { metadata, spec, status } = Object::deserialize(deserializer)?;
        let list = status.and_then(|status| status.conditions).unwrap_or_default();
        let conditions: Vec<ListedCondition> = list.into_iter().map(ListedCondition::new).collect();
        let known = conditions.iter().filter_map(|condition| condition.known).collect();
        let server = Server::new(&metadata, spec, known);
        Ok(Self {
            uid: metadata.uid.ok_or_else(|| D::Error::missing_field("metadata.uid"))?,
            resource_version: metadata
                .resource_version
                .ok_or_else(|| D::Error::missing_field("metadata.resourceVersion"))?,
            server,
            conditions,
        })
    }
}

impl Server {
    fn new(metadata: &Metadata, spec: Field<Spec>, conditions: Box<[StatusCondition]>) -> Self {
        let text = |field| Option::as_deref(field).unwrap_or_default();
        Self {
            full_name: format!("{}/{}", text(&metadata.namespace), text(&metadata.name)).into(),
            generation: metadata.generation,
            uid: Uid::of(metadata.uid.as_deref()),
            is_being_deleted: metadata.deletion_timestamp.is_some(),
            scaling: read_scaling(spec),
            conditions,
        }
    }
}

impl ListedCondition {
    /// Reads an entry as the API server sent it.
    pub fn new(raw: Box<RawValue>) -> Self {
        let fields = serde_json::from_str::<ConditionFields>(raw.get()).ok();
        Self { known: fields.and_then(known_condition), raw }
    }
}

fn read_scaling(spec: Field<Spec>) -> Result<Scaling, InvalidField> {
    let spec = spec.optional().map_err(|_| InvalidField("spec"))?.unwrap_or_default();
    let raw = RawSpec {
        transport: &spec.transport,
        replicas: spec.replicas,
        backend_replicas: spec.backend_replicas,
        session_storage: &spec.session_storage,
    };
    Scaling::read(ServerKind::McpServer, raw)
}

fn known_condition(fields: ConditionFields) -> Option<StatusCondition> {
    Some(StatusCondition {
        type_: ConditionType::from_name(fields.type_.get()?)?,
        status: fields.status.value().and_then(|name| ConditionStatus::from_name(&name)),
        reason: fields.reason.value().and_then(|name| ConditionReason::from_name(&name)),
        observed_generation: fields.observed_generation.value(),
    })
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::{ConditionReason, ConditionStatus, ConditionType, InvalidField, SessionStorage, Transport};
    use serde_json::{Value, json};

    use super::{FreshServer, Server};

    fn read(object: Value) -> Server {
        serde_json::from_value(object).expect("a malformed field does not fail the object")
    }

    fn with_spec(spec: Value) -> Server {
        read(json!({"metadata": {"namespace": "default", "name": "github", "generation": 3}, "spec": spec}))
    }

    #[test]
    fn reads_absent_fields_as_the_crd_defaults_them() {
        let server = with_spec(json!({"image": "x"}));
        let scaling = server.scaling.expect("is valid");
        assert_eq!(scaling.transport, Transport::Stdio);
        assert_eq!((scaling.replicas, scaling.backend_replicas), (None, None));
        assert_eq!(scaling.session_storage, None);
        assert_eq!((server.namespace(), server.name(), server.generation), ("default", "github", Some(3)));
        let nulls = json!({"transport": null, "replicas": null, "backendReplicas": null, "sessionStorage": null});
        assert_eq!(with_spec(nulls).scaling, server.scaling);
    }

    #[test]
    fn reads_the_fields_of_the_spec() {
        let spec =
            json!({"transport": "sse", "replicas": 2, "backendReplicas": 3, "sessionStorage": {"provider": "redis"}});
        let scaling = with_spec(spec).scaling.expect("is valid");
        assert_eq!((scaling.transport, scaling.replicas, scaling.backend_replicas), (Transport::Sse, Some(2), Some(3)));
        assert_eq!(scaling.session_storage, Some(SessionStorage::Redis));
    }

    #[test]
    fn names_the_field_that_the_crd_does_not_allow() {
        for (spec, field) in [
            (json!("x"), "spec"),
            (json!({"transport": "STDIO"}), "spec.transport"),
            (json!({"transport": 7}), "spec.transport"),
            (json!({"replicas": -1}), "spec.replicas"),
            (json!({"replicas": "3"}), "spec.replicas"),
            (json!({"replicas": 3_000_000_000_u64}), "spec.replicas"),
            (json!({"replicas": u64::MAX}), "spec.replicas"),
            (json!({"backendReplicas": 3_000_000_000_u64}), "spec.backendReplicas"),
            (json!({"backendReplicas": 1.5}), "spec.backendReplicas"),
            (json!({"sessionStorage": "redis"}), "spec.sessionStorage.provider"),
            (json!({"sessionStorage": {"provider": "x"}}), "spec.sessionStorage.provider"),
        ] {
            assert_eq!(with_spec(spec.clone()).scaling, Err(InvalidField(field)), "{spec}");
        }
    }

    #[test]
    fn keeps_only_the_conditions_about_scaling() {
        let server = read(
            json!({"metadata": {"name": "x", "deletionTimestamp": "2026-11-20T00:00:00Z"}, "status": {"conditions": [
                {"type": "Ready", "status": "True"},
                "not an object",
                {"status": "True"},
                {"type": 7, "status": "True"},
                {"type": "StdioReplicaCapped", "status": "True", "reason": "StdioTransportCapAt1", "observedGeneration": 2},
                {"type": "SessionStorageWarning", "status": "Maybe", "reason": "Because"},
                {"type": "WorkloadReplicasWarning", "status": 7},
            ]}}),
        );
        let kept: Vec<_> = server.conditions.iter().map(|it| (it.type_, it.status, it.reason)).collect();
        assert_eq!(
            kept,
            [
                (
                    ConditionType::StdioReplicaCapped,
                    Some(ConditionStatus::True),
                    Some(ConditionReason::StdioTransportCapAt1)
                ),
                (ConditionType::SessionStorageWarning, None, None),
                (ConditionType::WorkloadReplicasWarning, None, None),
            ]
        );
        assert!(server.is_being_deleted);
        let capped = server.condition(ConditionType::StdioReplicaCapped);
        assert_eq!(capped.and_then(|condition| condition.observed_generation), Some(2));
        for status in [json!(7), json!({"conditions": "x"}), json!({"conditions": null}), json!(null)] {
            let server = read(json!({"metadata": {"name": "x"}, "status": status}));
            assert!(server.conditions.is_empty() && server.scaling.is_ok(), "{status}");
        }
    }

    #[test]
    fn reads_a_fresh_object_like_a_cached_one() {
        let conditions = json!([{"type": "Ready"}, 7, {"type": "StdioReplicaCapped", "status": "True"}]);
        let object = json!({
            "metadata": {"namespace": "default", "name": "github", "uid": "u", "resourceVersion": "5", "generation": 2},
            "spec": {"replicas": 3}, "status": {"conditions": conditions, "phase": "Running"},
        });
        let fresh: FreshServer = serde_json::from_str(&object.to_string()).expect("is read");
        assert_eq!(fresh.server, read(object));
        assert_eq!((fresh.uid.as_str(), fresh.resource_version.as_str()), ("u", "5"));
        assert_eq!(fresh.conditions.len(), 3, "all of them");
    }

    #[test]
    fn rejects_a_fresh_object_that_cannot_be_guarded() {
        for metadata in [json!({"uid": "u"}), json!({"resourceVersion": "5"})] {
            let text = json!({"metadata": metadata}).to_string();
            assert!(serde_json::from_str::<FreshServer>(&text).is_err(), "{text}");
        }
    }
}
