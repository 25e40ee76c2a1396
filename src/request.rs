//! What the policy reads of an admission request and of the objects in it: the few members that decide.
//!
//! A field with a wrong type is [`Field::Malformed`] and not an error: the API server refuses the object for it, after
//! mutating webhooks, and names the field. If the policy failed there, it would deny requests for fields that are none of
//! its business.

use std::cell::OnceCell;

use mcp_scaling_rules::owner::RawOwnerReference;
use mcp_scaling_rules::scaling::SessionStorageSpec;
use mcp_scaling_rules::{Field, Malformed, Transport, labels};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What the host passes to `validate`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Payload<'a> {
    #[serde(borrow)]
    pub(crate) request: Field<Request<'a>>,
    #[serde(borrow)]
    pub(crate) settings: Option<&'a RawValue>,
}

/// `AdmissionRequest` of `admission.k8s.io/v1`.
///
/// kubewarden-policy-sdk has a type for it too, `KubernetesAdmissionRequest`. That one drops the name in `resource`, which
/// tells the workload of a Scale, and fails on maps that are `null`; what the SDK reads it with quotes the whole payload,
/// which may hold secrets, in the text of its error.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Request<'a> {
    pub(crate) kind: Field<GroupKind>,
    pub(crate) resource: Field<GroupResource>,
    pub(crate) sub_resource: Field<String>,
    pub(crate) name: Field<String>,
    namespace: Field<String>,
    pub(crate) operation: Field<String>,
    pub(crate) user_info: Field<UserInfo>,
    object: Field<Box<Object>>,
    old_object: Field<Box<Object>>,
    /// The payload that the request was read from.
    #[serde(skip)]
    payload: &'a str,
    /// The whole object and the one before the request, if they were asked for: parsing them is most of the work.
    #[serde(skip)]
    whole: OnceCell<Option<(Value, Value)>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GroupKind {
    pub(crate) group: Field<String>,
    pub(crate) kind: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GroupResource {
    pub(crate) group: Field<String>,
    pub(crate) resource: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UserInfo {
    pub(crate) username: Field<String>,
    pub(crate) extra: Field<Map<String, Value>>,
}

/// An object of any kind that the policy validates. Each kind has only some of these members.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Object {
    pub(crate) metadata: Field<Metadata>,
    pub(crate) spec: Field<Box<Spec>>,
    /// Of Scales and custom resources.
    pub(crate) status: Field<Status>,
}

/// A list of objects, as a lookup gives it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ObjectList {
    pub(crate) items: Field<Vec<Field<Object>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata {
    /// Absent if the object gets its name after admission.
    pub(crate) name: Field<String>,
    #[serde(deserialize_with = "integer")]
    pub(crate) generation: Field<i64>,
    pub(crate) deletion_timestamp: Field<IgnoredAny>,
    pub(crate) annotations: Field<Map<String, Value>>,
    pub(crate) labels: Field<Map<String, Value>>,
    pub(crate) owner_references: Field<Vec<Field<RawOwnerReference>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    /// Custom resources.
    pub(crate) transport: Field<String>,
    /// Custom resources, workloads and Scales.
    #[serde(deserialize_with = "integer")]
    pub(crate) replicas: Field<i64>,
    /// Custom resources.
    #[serde(deserialize_with = "integer")]
    pub(crate) backend_replicas: Field<i64>,
    /// Custom resources.
    pub(crate) session_storage: Field<SessionStorageSpec>,
    /// `MCPServer`s.
    pub(crate) proxy_mode: Field<String>,
    /// `MCPServer`s and `MCPRemoteProxy`s.
    pub(crate) auth_server_ref: Field<Map<String, Value>>,
    /// `VirtualMCPServer`s.
    pub(crate) auth_server_config: Field<Map<String, Value>>,
    /// Workloads.
    pub(crate) template: Field<PodTemplate>,
    /// HorizontalPodAutoscalers and ScaledObjects.
    pub(crate) scale_target_ref: Field<ScaleTargetRef>,
    /// HorizontalPodAutoscalers.
    #[serde(deserialize_with = "integer")]
    pub(crate) min_replicas: Field<i64>,
    /// HorizontalPodAutoscalers.
    #[serde(deserialize_with = "integer")]
    pub(crate) max_replicas: Field<i64>,
    /// ScaledObjects.
    #[serde(deserialize_with = "integer")]
    pub(crate) idle_replica_count: Field<i64>,
    /// ScaledObjects.
    #[serde(deserialize_with = "integer")]
    pub(crate) min_replica_count: Field<i64>,
    /// ScaledObjects.
    #[serde(deserialize_with = "integer")]
    pub(crate) max_replica_count: Field<i64>,
    /// ScaledObjects.
    pub(crate) triggers: Field<Vec<Value>>,
    /// ScaledObjects.
    pub(crate) fallback: Field<Fallback>,
}

/// What a ScaledObject does while its triggers fail.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Fallback {
    #[serde(deserialize_with = "integer")]
    pub(crate) replicas: Field<i64>,
    pub(crate) behavior: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ScaleTargetRef {
    pub(crate) api_version: Field<String>,
    pub(crate) kind: Field<String>,
    pub(crate) name: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    /// Scales.
    pub(crate) selector: Field<String>,
    /// Custom resources.
    pub(crate) tool_config_hash: Field<String>,
    /// Custom resources.
    pub(crate) external_auth_config_hash: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodTemplate {
    pub(crate) metadata: Field<TemplateMetadata>,
    pub(crate) spec: Field<PodSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TemplateMetadata {
    pub(crate) annotations: Field<Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSpec {
    #[serde(deserialize_with = "integer")]
    pub(crate) termination_grace_period_seconds: Field<i64>,
    pub(crate) containers: Field<Vec<Field<Container>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Container {
    pub(crate) name: Field<String>,
    pub(crate) lifecycle: Field<Lifecycle>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Lifecycle {
    pub(crate) pre_stop: Field<Map<String, Value>>,
}

/// Reads an integer. A number with a fraction or an exponent is malformed even if its value is whole, as it is for
/// Kubernetes' typed decoders. It is read from its text because serde_json fails for a number that is no `f64`.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Field<i64>, D::Error> {
    let text = <&RawValue>::deserialize(deserializer)?.get();
    Ok(if text == "null" { Field::Absent } else { text.parse().map_or(Field::Malformed, Field::Value) })
}

/// A label or an annotation.
pub(crate) fn text<'m>(map: &'m Field<Map<String, Value>>, name: &str) -> Option<&'m str> {
    map.get()?.get(name)?.as_str()
}

impl Object {
    /// An annotation.
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        text(&self.metadata.get()?.annotations, name)
    }

    /// A label.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        text(&self.metadata.get()?.labels, name)
    }

    /// The transport that the label of a StatefulSet names.
    pub(crate) fn transport_label(&self) -> Option<Transport> {
        Transport::from_name(self.label(labels::TOOLHIVE_TRANSPORT)?)
    }
}

/// The payload again, with whole objects: changing or comparing them needs all of their members. Keeping the text of each
/// object in the first pass would cost every request another pass over its objects, 17 instructions a byte.
#[derive(Deserialize)]
struct WholePayload<Old> {
    request: WholeRequest<Old>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WholeRequest<Old> {
    object: Value,
    old_object: Option<Old>,
}

impl<'a> Payload<'a> {
    /// Reads the payload. Fails for bad syntax, and for a name that stands twice in an object.
    pub(crate) fn read(payload: &'a str) -> serde_json::Result<Field<Self>> {
        let mut parsed: Field<Self> = serde_json::from_str(payload)?;
        if let Field::Value(Self { request: Field::Value(request), .. }) = &mut parsed {
            request.payload = payload;
        }
        Ok(parsed)
    }
}

impl Request<'_> {
    /// What is read of the object, or `None` if there is none or if it is malformed.
    pub(crate) fn object(&self) -> Option<&Object> {
        self.object.get().map(Box::as_ref)
    }

    /// What is read of the object before the request.
    pub(crate) fn old_object(&self) -> Option<&Object> {
        self.old_object.get().map(Box::as_ref)
    }

    /// The whole object, and the one before the request, which is `null` if there was none. `None` also if they are nested
    /// deeper than the host can read.
    pub(crate) fn whole_objects(&self) -> Option<(&Value, &Value)> {
        let parse = || {
            let request: WholeRequest<Value> = self.parse_whole()?;
            Some((request.object, request.old_object.unwrap_or_default()))
        };
        self.whole.get_or_init(parse).as_ref().map(|(object, old)| (object, old))
    }

    /// Takes the whole object, and the one before the request, which is `null` if it was not needed. `None` as in
    /// [`Self::whole_objects`].
    pub(crate) fn take_whole_objects(&mut self) -> Option<(Value, Value)> {
        match self.whole.take() {
            Some(objects) => objects,
            None => self.parse_whole::<IgnoredAny>().map(|request| (request.object, Value::Null)),
        }
    }

    fn parse_whole<Old: DeserializeOwned>(&self) -> Option<WholeRequest<Old>> {
        serde_json::from_str(self.payload).ok().map(|payload: WholePayload<Old>| payload.request)
    }

    /// The name of the object; empty if it gets one after admission.
    pub(crate) fn name(&self) -> &str {
        self.name.get().map_or("", String::as_str)
    }

    /// The namespace of the object.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.get().map_or("", String::as_str)
    }

    /// Returns whether this is an UPDATE; the only other operation that is validated is CREATE.
    pub(crate) fn is_update(&self) -> bool {
        self.operation.get().is_some_and(|operation| operation == "UPDATE")
    }

    /// Returns whether the object was already being deleted before the request. A deletion timestamp in the new object does
    /// not count: the client wrote it, and the API server ignores it.
    pub(crate) fn is_being_deleted(&self) -> bool {
        let metadata = self.old_object().and_then(|object| object.metadata.get());
        metadata.is_some_and(|metadata| metadata.deletion_timestamp != Field::Absent)
    }

    /// The spec of the object.
    ///
    /// # Errors
    /// [`Malformed`] if there is none: every object that is validated by its spec has one.
    pub(crate) fn spec(&self) -> Result<&Spec, Malformed> {
        self.object().and_then(|object| object.spec.get()).map(Box::as_ref).ok_or(Malformed)
    }

    /// The spec of the object before the request, if there was one that can be read.
    pub(crate) fn old_spec(&self) -> Option<&Spec> {
        self.old_object()?.spec.get().map(Box::as_ref)
    }
}
