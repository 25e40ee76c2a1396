//! What the policy reads of an admission request, and of the objects in it: views of the few members that decide.

use crate::view::{Field, Leaf, Slot, View, read, view};
use crate::workload;

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
    kind: Leaf<'a>,
    pub(crate) metadata: Field<Metadata<'a>>,
    pub(crate) spec: Field<Spec<'a>>,
    /// Whether this turned out to be a workload that is not ToolHive's, and was read no further.
    is_foreign_workload: bool,
}

impl<'a> View<'a> for Object<'a> {
    fn member(&mut self, name: &str) -> Option<Slot<'_, 'a>> {
        match name {
            "kind" => Some(Slot::Text(&mut self.kind)),
            "metadata" => Some(Slot::Read(&mut self.metadata)),
            "spec" if self.proves_foreign_workload() => {
                self.is_foreign_workload = true;
                Some(Slot::Stop)
            }
            "spec" => Some(Slot::Read(&mut self.spec)),
            _ => None,
        }
    }
}

impl Object<'_> {
    /// Whether what was read so far is a workload that is not ToolHive's. Nearly all that a cluster sends are, and names
    /// come sorted, so most of such a request can stay unread: its `spec`, and the old object behind it.
    fn proves_foreign_workload(&self) -> bool {
        let is_workload = self.kind.json() == Some("\"Deployment\"");
        let metadata = self.metadata.as_ref().value();
        is_workload && metadata.is_some_and(|metadata| workload::server(metadata).is_none())
    }
}

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

impl<'a> Payload<'a> {
    /// Reads the payload, as much of it as matters.
    ///
    /// # Errors
    /// A sentence that names the fault, and quotes nothing of the payload.
    pub(crate) fn read(payload: &'a str) -> Result<Self, String> {
        let mut parsed = Field::<Self>::default();
        let outcome = read(payload, &mut parsed);
        let is_read = outcome.is_ok() || parsed.as_ref().value().is_some_and(Self::is_about_foreign_workload);
        match outcome {
            Err(error) if !is_read => Err(format!("the payload is not JSON: {error}")),
            _ => parsed.value().ok_or_else(|| "the payload is not an object".to_owned()),
        }
    }

    /// Whether there is nothing to judge: the object is a workload that is not ToolHive's.
    pub(crate) fn is_about_foreign_workload(&self) -> bool {
        let object = self.request.as_ref().value().and_then(|request| request.object.as_ref().value());
        object.is_some_and(|object| object.is_foreign_workload)
    }
}

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

impl<'a> View<'a> for RequestText<'a> {
    fn member(&mut self, name: &str) -> Option<Slot<'_, 'a>> {
        match name {
            "object" => Some(Slot::Text(&mut self.object)),
            _ if self.object.raw().is_some() => Some(Slot::Stop),
            _ => None,
        }
    }
}

/// The JSON text of `request.object`, for the few requests whose object is changed.
pub(crate) fn object_text(payload: &str) -> Option<&str> {
    let mut parsed = Field::<PayloadText<'_>>::default();
    // The payload was read before, so this ends early or not at all.
    let _ = read(payload, &mut parsed);
    parsed.value()?.request.value()?.object.json()
}
