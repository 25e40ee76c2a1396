//! What the policy reads of an admission request, and of the objects in it: views of the few members that decide.

use crate::view::{Field, Leaf, read, view};

/// What the host hands to `validate`.
#[derive(Debug, Default)]
pub(crate) struct Payload<'a> {
    pub(crate) request: Field<Request<'a>>,
    pub(crate) settings: Leaf<'a>,
}

view!(Payload {
    "request" => Read(request),
    "settings" => Text(settings),
});

/// `AdmissionRequest` of `admission.k8s.io/v1`.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) kind: Field<GroupKind<'a>>,
    pub(crate) sub_resource: Leaf<'a>,
    pub(crate) namespace: Leaf<'a>,
    pub(crate) operation: Leaf<'a>,
    pub(crate) user_info: Field<UserInfo<'a>>,
    pub(crate) object: Field<Object<'a>>,
    pub(crate) old_object: Field<Object<'a>>,
}

view!(Request {
    "kind" => Read(kind),
    "subResource" => Text(sub_resource),
    "namespace" => Text(namespace),
    "operation" => Text(operation),
    "userInfo" => Read(user_info),
    "object" => Read(object),
    "oldObject" => Read(old_object),
});

#[derive(Debug, Default)]
pub(crate) struct GroupKind<'a> {
    pub(crate) group: Leaf<'a>,
    pub(crate) kind: Leaf<'a>,
}

view!(GroupKind {
    "group" => Text(group),
    "kind" => Text(kind),
});

#[derive(Debug, Default)]
pub(crate) struct UserInfo<'a> {
    pub(crate) username: Leaf<'a>,
}

view!(UserInfo {
    "username" => Text(username),
});

/// An object of any kind that the policy judges. Each kind has only some of these members.
#[derive(Debug, Default)]
pub(crate) struct Object<'a> {
    pub(crate) metadata: Field<Metadata<'a>>,
    pub(crate) spec: Field<Spec<'a>>,
}

view!(Object {
    "metadata" => Read(metadata),
    "spec" => Read(spec),
});

#[derive(Debug, Default)]
pub(crate) struct Metadata<'a> {
    pub(crate) deletion_timestamp: Leaf<'a>,
    pub(crate) labels: Field<Labels<'a>>,
    pub(crate) owner_references: Field<Vec<Leaf<'a>>>,
}

view!(Metadata {
    "deletionTimestamp" => Text(deletion_timestamp),
    "labels" => Read(labels),
    "ownerReferences" => Read(owner_references),
});

/// The labels that ToolHive puts on the workloads it makes.
#[derive(Debug, Default)]
pub(crate) struct Labels<'a> {
    pub(crate) app_name: Leaf<'a>,
    pub(crate) toolhive: Leaf<'a>,
    pub(crate) toolhive_name: Leaf<'a>,
}

view!(Labels {
    "app.kubernetes.io/name" => Text(app_name),
    "toolhive" => Text(toolhive),
    "toolhive-name" => Text(toolhive_name),
});

#[derive(Debug, Default)]
pub(crate) struct OwnerReference<'a> {
    pub(crate) api_version: Leaf<'a>,
    pub(crate) kind: Leaf<'a>,
    pub(crate) name: Leaf<'a>,
    pub(crate) controller: Leaf<'a>,
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
    pub(crate) transport: Leaf<'a>,
    /// Custom resources and workloads.
    pub(crate) replicas: Leaf<'a>,
    /// Custom resources.
    pub(crate) backend_replicas: Leaf<'a>,
    /// Custom resources.
    pub(crate) session_storage: Field<SessionStorageSpec<'a>>,
    /// Workloads.
    pub(crate) template: Field<PodTemplate<'a>>,
}

view!(Spec {
    "transport" => Text(transport),
    "replicas" => Text(replicas),
    "backendReplicas" => Text(backend_replicas),
    "sessionStorage" => Read(session_storage),
    "template" => Read(template),
});

#[derive(Debug, Default)]
pub(crate) struct SessionStorageSpec<'a> {
    pub(crate) provider: Leaf<'a>,
}

view!(SessionStorageSpec {
    "provider" => Text(provider),
});

#[derive(Debug, Default)]
pub(crate) struct PodTemplate<'a> {
    pub(crate) spec: Field<PodSpec<'a>>,
}

view!(PodTemplate {
    "spec" => Read(spec),
});

#[derive(Debug, Default)]
pub(crate) struct PodSpec<'a> {
    pub(crate) termination_grace_period_seconds: Leaf<'a>,
}

view!(PodSpec {
    "terminationGracePeriodSeconds" => Text(termination_grace_period_seconds),
});

impl Request<'_> {
    /// Whether this is an UPDATE; the only other operation that is judged is CREATE.
    pub(crate) fn is_update(&self) -> bool {
        self.operation.json() == Some("\"UPDATE\"")
    }

    /// Whether the object is already on its way out, before or after the request.
    pub(crate) fn is_being_deleted(&self) -> bool {
        [&self.object, &self.old_object].into_iter().any(|object| {
            let metadata = object
                .as_ref()
                .value()
                .and_then(|object| object.metadata.as_ref().value());
            metadata.is_some_and(|metadata| metadata.deletion_timestamp.json().is_some())
        })
    }

    /// The spec of the object before the request, where there was one that can be read.
    pub(crate) fn old_spec(&self) -> Option<&Spec<'_>> {
        self.old_object.as_ref().value()?.spec.as_ref().value()
    }
}

#[derive(Default)]
struct PayloadText<'a> {
    request: Field<RequestText<'a>>,
}

view!(PayloadText {
    "request" => Read(request),
});

#[derive(Default)]
struct RequestText<'a> {
    object: Leaf<'a>,
}

view!(RequestText {
    "object" => Text(object),
});

/// The JSON text of `request.object`, for the few requests whose object is changed.
pub(crate) fn object_text(payload: &str) -> Option<&str> {
    let mut parsed = Field::<PayloadText<'_>>::default();
    read(payload, &mut parsed).ok()?;
    parsed.value()?.request.value()?.object.json()
}
