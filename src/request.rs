//! What the policy reads of an admission request and of the objects in it: views of the few members that decide.

use mcp_scaling_rules::{Field, Malformed, labels};

use crate::error::RequestError;
use crate::json::{JsonText, read, view};

/// What the host passes to `validate`.
#[derive(Debug, Default)]
pub(crate) struct Payload<'a> {
    pub(crate) request: Field<Request<'a>>,
    pub(crate) settings: JsonText<'a>,
}

view!(Payload {
    "request" => Value(request),
    "settings" => Text(settings),
});

/// `AdmissionRequest` of `admission.k8s.io/v1`.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) kind: Field<GroupKind<'a>>,
    pub(crate) resource: Field<GroupResource<'a>>,
    pub(crate) sub_resource: JsonText<'a>,
    pub(crate) name: JsonText<'a>,
    pub(crate) namespace: JsonText<'a>,
    pub(crate) operation: JsonText<'a>,
    pub(crate) user_info: Field<UserInfo<'a>>,
    pub(crate) object: Field<Object<'a>>,
    pub(crate) old_object: Field<Object<'a>>,
    /// The payload that the request was read from.
    payload: &'a str,
}

view!(Request {
    "kind" => Value(kind),
    "resource" => Value(resource),
    "subResource" => Text(sub_resource),
    "name" => Text(name),
    "namespace" => Text(namespace),
    "operation" => Text(operation),
    "userInfo" => Value(user_info),
    "object" => Value(object),
    "oldObject" => Value(old_object),
});

#[derive(Debug, Default)]
pub(crate) struct GroupKind<'a> {
    pub(crate) group: JsonText<'a>,
    pub(crate) kind: JsonText<'a>,
}

view!(GroupKind {
    "group" => Text(group),
    "kind" => Text(kind),
});

#[derive(Debug, Default)]
pub(crate) struct GroupResource<'a> {
    pub(crate) group: JsonText<'a>,
    pub(crate) resource: JsonText<'a>,
}

view!(GroupResource {
    "group" => Text(group),
    "resource" => Text(resource),
});

#[derive(Debug, Default)]
pub(crate) struct UserInfo<'a> {
    pub(crate) username: JsonText<'a>,
    pub(crate) extra: Field<UserExtra<'a>>,
}

view!(UserInfo {
    "username" => Text(username),
    "extra" => Value(extra),
});

/// What the API server adds about a service account whose token is bound to a pod.
#[derive(Debug, Default)]
pub(crate) struct UserExtra<'a> {
    pub(crate) pod_uid: Field<Vec<JsonText<'a>>>,
}

view!(UserExtra {
    "authentication.kubernetes.io/pod-uid" => Value(pod_uid),
});

/// An object of any kind that the policy validates. Each kind has only some of these members.
#[derive(Debug, Default)]
pub(crate) struct Object<'a> {
    pub(crate) metadata: Field<Metadata<'a>>,
    pub(crate) spec: Field<Spec<'a>>,
    /// Of Scales and custom resources.
    pub(crate) status: Field<Status<'a>>,
}

view!(Object {
    "metadata" => Value(metadata),
    "spec" => Value(spec),
    "status" => Value(status),
});

/// A list of objects, as a lookup gives it.
#[derive(Debug, Default)]
pub(crate) struct ObjectList<'a> {
    pub(crate) items: Field<Vec<JsonText<'a>>>,
}

view!(ObjectList {
    "items" => Value(items),
});

#[derive(Debug, Default)]
pub(crate) struct Metadata<'a> {
    /// Of objects in a list; that of the request's object is in the request.
    pub(crate) name: JsonText<'a>,
    pub(crate) generation: JsonText<'a>,
    pub(crate) deletion_timestamp: JsonText<'a>,
    pub(crate) annotations: Field<Annotations<'a>>,
    pub(crate) labels: Field<Labels<'a>>,
    pub(crate) owner_references: Field<Vec<JsonText<'a>>>,
}

view!(Metadata {
    "name" => Text(name),
    "generation" => Text(generation),
    "deletionTimestamp" => Text(deletion_timestamp),
    "annotations" => Value(annotations),
    "labels" => Value(labels),
    "ownerReferences" => Value(owner_references),
});

/// The annotations that the policy sets itself, and ToolHive's on pod templates.
#[derive(Debug, Default)]
pub(crate) struct Annotations<'a> {
    /// On custom resources.
    pub(crate) requested_replicas: JsonText<'a>,
    /// On Deployments.
    pub(crate) rolled_out: JsonText<'a>,
    /// On StatefulSets.
    pub(crate) applied_generation: JsonText<'a>,
    /// On pod templates.
    pub(crate) mcpserver_generation: JsonText<'a>,
}

view!(Annotations {
    labels::REQUESTED_REPLICAS => Text(requested_replicas),
    labels::ROLLED_OUT => Text(rolled_out),
    labels::APPLIED_GENERATION => Text(applied_generation),
    labels::MCPSERVER_GENERATION => Text(mcpserver_generation),
});

/// The labels that ToolHive sets on the workloads that it makes.
#[derive(Debug, Default)]
pub(crate) struct Labels<'a> {
    pub(crate) app_name: JsonText<'a>,
    pub(crate) toolhive: JsonText<'a>,
    pub(crate) toolhive_name: JsonText<'a>,
    /// On StatefulSets only.
    pub(crate) toolhive_transport: JsonText<'a>,
}

view!(Labels {
    labels::APP_NAME => Text(app_name),
    labels::TOOLHIVE => Text(toolhive),
    labels::TOOLHIVE_NAME => Text(toolhive_name),
    labels::TOOLHIVE_TRANSPORT => Text(toolhive_transport),
});

#[derive(Debug, Default)]
pub(crate) struct OwnerReference<'a> {
    pub(crate) api_version: JsonText<'a>,
    pub(crate) kind: JsonText<'a>,
    pub(crate) name: JsonText<'a>,
    pub(crate) controller: JsonText<'a>,
}

view!(OwnerReference {
    "apiVersion" => Text(api_version),
    "kind" => Text(kind),
    "name" => Text(name),
    "controller" => Text(controller),
});

#[derive(Debug, Default)]
pub(crate) struct Spec<'a> {
    /// Custom resources.
    pub(crate) transport: JsonText<'a>,
    /// Custom resources, workloads and Scales.
    pub(crate) replicas: JsonText<'a>,
    /// Custom resources.
    pub(crate) backend_replicas: JsonText<'a>,
    /// Custom resources.
    pub(crate) session_storage: Field<SessionStorageSpec<'a>>,
    /// `MCPServer`s.
    pub(crate) proxy_mode: JsonText<'a>,
    /// `VirtualMCPServer`s.
    pub(crate) auth_server_config: Field<AuthServerConfig<'a>>,
    /// Workloads.
    pub(crate) template: Field<PodTemplate<'a>>,
    /// HorizontalPodAutoscalers and ScaledObjects.
    pub(crate) scale_target_ref: Field<ScaleTargetRef<'a>>,
    /// HorizontalPodAutoscalers.
    pub(crate) max_replicas: JsonText<'a>,
    /// ScaledObjects.
    pub(crate) max_replica_count: JsonText<'a>,
}

view!(Spec {
    "transport" => Text(transport),
    "replicas" => Text(replicas),
    "backendReplicas" => Text(backend_replicas),
    "sessionStorage" => Value(session_storage),
    "proxyMode" => Text(proxy_mode),
    "authServerConfig" => Value(auth_server_config),
    "template" => Value(template),
    "scaleTargetRef" => Value(scale_target_ref),
    "maxReplicas" => Text(max_replicas),
    "maxReplicaCount" => Text(max_replica_count),
});

#[derive(Debug, Default)]
pub(crate) struct ScaleTargetRef<'a> {
    pub(crate) api_version: JsonText<'a>,
    pub(crate) kind: JsonText<'a>,
    pub(crate) name: JsonText<'a>,
}

view!(ScaleTargetRef {
    "apiVersion" => Text(api_version),
    "kind" => Text(kind),
    "name" => Text(name),
});

#[derive(Debug, Default)]
pub(crate) struct Status<'a> {
    /// Scales.
    pub(crate) selector: JsonText<'a>,
    /// Custom resources.
    pub(crate) tool_config_hash: JsonText<'a>,
    /// Custom resources.
    pub(crate) external_auth_config_hash: JsonText<'a>,
}

view!(Status {
    "selector" => Text(selector),
    "toolConfigHash" => Text(tool_config_hash),
    "externalAuthConfigHash" => Text(external_auth_config_hash),
});

#[derive(Debug, Default)]
pub(crate) struct SessionStorageSpec<'a> {
    pub(crate) provider: JsonText<'a>,
}

view!(SessionStorageSpec {
    "provider" => Text(provider),
});

#[derive(Debug, Default)]
pub(crate) struct AuthServerConfig<'a> {
    pub(crate) storage: Field<AuthServerStorage<'a>>,
}

view!(AuthServerConfig {
    "storage" => Value(storage),
});

#[derive(Debug, Default)]
pub(crate) struct AuthServerStorage<'a> {
    pub(crate) storage_type: JsonText<'a>,
}

view!(AuthServerStorage {
    "type" => Text(storage_type),
});

#[derive(Debug, Default)]
pub(crate) struct PodTemplate<'a> {
    pub(crate) metadata: Field<TemplateMetadata<'a>>,
    pub(crate) spec: Field<PodSpec<'a>>,
}

view!(PodTemplate {
    "metadata" => Value(metadata),
    "spec" => Value(spec),
});

#[derive(Debug, Default)]
pub(crate) struct TemplateMetadata<'a> {
    pub(crate) annotations: Field<Annotations<'a>>,
}

view!(TemplateMetadata {
    "annotations" => Value(annotations),
});

#[derive(Debug, Default)]
pub(crate) struct PodSpec<'a> {
    pub(crate) termination_grace_period_seconds: JsonText<'a>,
    pub(crate) containers: Field<Vec<JsonText<'a>>>,
}

view!(PodSpec {
    "containers" => Value(containers),
    "terminationGracePeriodSeconds" => Text(termination_grace_period_seconds),
});

#[derive(Debug, Default)]
pub(crate) struct Container<'a> {
    pub(crate) name: JsonText<'a>,
    pub(crate) lifecycle: Field<Lifecycle<'a>>,
}

view!(Container {
    "name" => Text(name),
    "lifecycle" => Value(lifecycle),
});

#[derive(Debug, Default)]
pub(crate) struct Lifecycle<'a> {
    pub(crate) pre_stop: JsonText<'a>,
}

view!(Lifecycle {
    "preStop" => Text(pre_stop),
});

impl<'a> Payload<'a> {
    /// Reads the payload, as much of it as matters.
    ///
    /// # Errors
    /// Where the payload is not JSON or no object.
    pub(crate) fn read(payload: &'a str) -> Result<Self, RequestError> {
        let mut parsed = Field::<Self>::default();
        read(payload, &mut parsed).map_err(|error| RequestError::NotJson(error.to_string()))?;
        let mut parsed = parsed.value().ok_or(RequestError::NotAnObject("the payload"))?;
        if let Field::Value(request) = &mut parsed.request {
            request.payload = payload;
        }
        Ok(parsed)
    }
}

impl<'a> Object<'a> {
    /// The annotations that the policy sets itself.
    pub(crate) fn annotations(&self) -> Option<&Annotations<'a>> {
        self.metadata.as_ref().value()?.annotations.as_ref().value()
    }
}

impl<'a> Request<'a> {
    /// Whether this is an UPDATE; the only other operation that is validated is CREATE.
    pub(crate) fn is_update(&self) -> bool {
        self.operation.json() == Some("\"UPDATE\"")
    }

    /// Whether the object was already being deleted before the request. A deletion timestamp in the new object does not
    /// count: the client wrote it, and the API server ignores it.
    pub(crate) fn is_being_deleted(&self) -> bool {
        let metadata = self.old_object.as_ref().value().and_then(|object| object.metadata.as_ref().value());
        metadata.is_some_and(|metadata| metadata.deletion_timestamp.json().is_some())
    }

    /// The spec of the object.
    ///
    /// # Errors
    /// [`Malformed`] where there is none: every object that is validated by its spec has one.
    pub(crate) fn spec(&self) -> Result<&Spec<'a>, Malformed> {
        let object = self.object.as_ref().optional()?.ok_or(Malformed)?;
        object.spec.as_ref().optional()?.ok_or(Malformed)
    }

    /// The spec of the object before the request, where there was one that can be read.
    pub(crate) fn old_spec(&self) -> Option<&Spec<'a>> {
        self.old_object.as_ref().value()?.spec.as_ref().value()
    }
}

/// The payload again, with parts kept as text.
#[derive(Default)]
struct PayloadText<'a> {
    request: Field<RequestText<'a>>,
}

view!(PayloadText {
    "request" => Value(request),
});

#[derive(Default)]
struct RequestText<'a> {
    object: JsonText<'a>,
    old_object: JsonText<'a>,
}

view!(RequestText {
    "object" => Text(object),
    "oldObject" => Text(old_object),
});

/// Members of an object and of a spec, as text.
#[derive(Default)]
struct ObjectText<'a> {
    spec: JsonText<'a>,
    template: JsonText<'a>,
}

view!(ObjectText {
    "spec" => Text(spec),
    "template" => Text(template),
});

fn members_text(json: &str) -> Option<ObjectText<'_>> {
    let mut parsed = Field::<ObjectText<'_>>::default();
    read(json, &mut parsed).ok()?;
    parsed.value()
}

fn request_text(payload: &str) -> Option<RequestText<'_>> {
    let mut parsed = Field::<PayloadText<'_>>::default();
    read(payload, &mut parsed).ok()?;
    parsed.value()?.request.value()
}

/// The JSON text of the request's object. Only a request that is changed needs it, so that it is read in a pass of its own.
pub(crate) fn object_text(payload: &str) -> Option<&str> {
    request_text(payload)?.object.json()
}

impl<'a> Request<'a> {
    /// The JSON texts of the new and of the old object's spec. Few requests need them, so that they are read in a pass of
    /// their own.
    pub(crate) fn spec_texts(&self) -> Option<(&'a str, &'a str)> {
        let request = request_text(self.payload)?;
        let spec = |object: JsonText<'a>| members_text(object.json()?)?.spec.json();
        Some((spec(request.object)?, spec(request.old_object)?))
    }

    /// The JSON texts of the new and of the old pod template of a workload.
    pub(crate) fn template_texts(&self) -> Option<(&'a str, &'a str)> {
        let (new, old) = self.spec_texts()?;
        Some((members_text(new)?.template.json()?, members_text(old)?.template.json()?))
    }
}

#[cfg(test)]
mod tests {
    use super::object_text;

    #[test]
    fn finds_the_text_of_the_object_wherever_it_stands() {
        for (members, text) in [
            (r#""object":{"a":1},"z":2"#, Some(r#"{"a":1}"#)),
            (r#" "a" : 1 , "object" : {"a":[1, {}]} , "z" : 2 "#, Some(r#"{"a":[1, {}]}"#)),
            (r#""a":1,"object":{"a":1}"#, Some(r#"{"a":1}"#)),
            (r#""\u006fbject":{"a":1},"z":2"#, Some(r#"{"a":1}"#)),
            (r#""object":{"a":1},"z":3,"object":{"b":2}"#, Some(r#"{"b":2}"#)),
            (r#""z":3"#, None),
        ] {
            let payload = format!(r#"{{"request":{{{members}}},"settings":{{}}}}"#);
            assert_eq!(object_text(&payload), text, "{members}");
        }
    }
}
