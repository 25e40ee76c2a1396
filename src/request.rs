//! What the policy reads of an admission request, and of the objects in it: views of the few members that decide.

use crate::server::{self, Server};
use crate::view::{Field, Leaf, Malformed, Slot, View, read, view};

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
    pub(crate) resource: Field<GroupResource<'a>>,
    pub(crate) sub_resource: Leaf<'a>,
    pub(crate) name: Leaf<'a>,
    pub(crate) namespace: Leaf<'a>,
    pub(crate) operation: Leaf<'a>,
    pub(crate) user_info: Field<UserInfo<'a>>,
    pub(crate) object: Field<Object<'a>>,
    pub(crate) old_object: Field<OldObject<'a>>,
    object_place: ObjectPlace,
}

impl<'a> View<'a> for Request<'a> {
    fn member(&mut self, name: &str) -> Option<Slot<'_, 'a>> {
        self.object_place.pass(name);
        match name {
            "kind" => Some(Slot::Read(&mut self.kind)),
            "resource" => Some(Slot::Read(&mut self.resource)),
            "subResource" => Some(Slot::Text(&mut self.sub_resource)),
            "name" => Some(Slot::Text(&mut self.name)),
            "namespace" => Some(Slot::Text(&mut self.namespace)),
            "operation" => Some(Slot::Text(&mut self.operation)),
            "userInfo" => Some(Slot::Read(&mut self.user_info)),
            "object" => Some(Slot::Read(&mut self.object)),
            "oldObject" => Some(Slot::Read(&mut self.old_object)),
            _ => None,
        }
    }
}

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
pub(crate) struct GroupResource<'a> {
    pub(crate) group: Leaf<'a>,
    pub(crate) resource: Leaf<'a>,
}

view!(GroupResource {
    "group" => Text(group),
    "resource" => Text(resource),
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

/// The object as it was before the request. It is read to its end whoever it belonged to: it may have become ToolHive's
/// just now.
#[derive(Debug, Default)]
pub(crate) struct OldObject<'a> {
    pub(crate) metadata: Field<Metadata<'a>>,
    pub(crate) spec: Field<Spec<'a>>,
    /// Of a Scale.
    pub(crate) status: Field<ScaleStatus<'a>>,
}

view!(OldObject {
    "metadata" => Read(metadata),
    "spec" => Read(spec),
    "status" => Read(status),
});

impl Object<'_> {
    /// Whether what was read so far is a workload that is not ToolHive's. Nearly all that a cluster sends are, and names
    /// come sorted, so most of such a request can stay unread: its `spec`, and the old object behind it.
    fn proves_foreign_workload(&self) -> bool {
        let is_workload = matches!(self.kind.json(), Some("\"Deployment\"" | "\"StatefulSet\""));
        let metadata = self.metadata.as_ref().value();
        is_workload && metadata.is_some_and(|metadata| server::of_workload(metadata).is_none())
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
    /// On StatefulSets only.
    pub(crate) toolhive_transport: Leaf<'a>,
}

view!(Labels {
    "app.kubernetes.io/name" => Text(app_name),
    "toolhive" => Text(toolhive),
    "toolhive-name" => Text(toolhive_name),
    "toolhive-transport" => Text(toolhive_transport),
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
    /// Custom resources, workloads and Scales.
    pub(crate) replicas: Leaf<'a>,
    /// Custom resources.
    pub(crate) backend_replicas: Leaf<'a>,
    /// Custom resources.
    pub(crate) session_storage: Field<SessionStorageSpec<'a>>,
    /// Workloads.
    pub(crate) template: Field<PodTemplate<'a>>,
    /// HorizontalPodAutoscalers and ScaledObjects.
    pub(crate) scale_target_ref: Field<ScaleTargetRef<'a>>,
    /// HorizontalPodAutoscalers.
    pub(crate) max_replicas: Leaf<'a>,
    /// ScaledObjects.
    pub(crate) max_replica_count: Leaf<'a>,
}

view!(Spec {
    "transport" => Text(transport),
    "replicas" => Text(replicas),
    "backendReplicas" => Text(backend_replicas),
    "sessionStorage" => Read(session_storage),
    "template" => Read(template),
    "scaleTargetRef" => Read(scale_target_ref),
    "maxReplicas" => Text(max_replicas),
    "maxReplicaCount" => Text(max_replica_count),
});

#[derive(Debug, Default)]
pub(crate) struct ScaleTargetRef<'a> {
    pub(crate) api_version: Leaf<'a>,
    pub(crate) kind: Leaf<'a>,
    pub(crate) name: Leaf<'a>,
}

view!(ScaleTargetRef {
    "apiVersion" => Text(api_version),
    "kind" => Text(kind),
    "name" => Text(name),
});

#[derive(Debug, Default)]
pub(crate) struct ScaleStatus<'a> {
    pub(crate) selector: Leaf<'a>,
}

view!(ScaleStatus {
    "selector" => Text(selector),
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

impl<'a> Request<'a> {
    /// Whether this is an UPDATE; the only other operation that is judged is CREATE.
    pub(crate) fn is_update(&self) -> bool {
        self.operation.json() == Some("\"UPDATE\"")
    }

    /// Whether the object is already on its way out, before or after the request.
    pub(crate) fn is_being_deleted(&self) -> bool {
        let now = self.object.as_ref().value().and_then(|object| object.metadata.as_ref().value());
        let before = self.old_object.as_ref().value().and_then(|object| object.metadata.as_ref().value());
        [now, before].into_iter().flatten().any(|metadata| metadata.deletion_timestamp.json().is_some())
    }

    /// The spec of the object.
    ///
    /// # Errors
    /// [`Malformed`] where there is none: no object that is judged by it can do without.
    pub(crate) fn spec(&self) -> Result<&Spec<'a>, Malformed> {
        let object = self.object.as_ref().optional()?.ok_or(Malformed)?;
        object.spec.as_ref().optional()?.ok_or(Malformed)
    }

    /// The server of ToolHive's that the object, a workload, runs for.
    pub(crate) fn server_of_workload(&self) -> Option<Server<'a>> {
        server::of_workload(self.object.as_ref().value()?.metadata.as_ref().value()?)
    }

    /// The spec of the object before the request, where there was one that can be read.
    pub(crate) fn old_spec(&self) -> Option<&Spec<'a>> {
        self.old_object.as_ref().value()?.spec.as_ref().value()
    }
}

/// Where the text of `object` stands: behind its own name and before that of the next member. Taken from the addresses of
/// the names, which lie in the payload, unless they had to be unescaped.
#[derive(Debug, Default)]
struct ObjectPlace {
    behind: usize,
    before: Option<usize>,
}

impl ObjectPlace {
    /// Takes note of a member that is about to be read.
    fn pass(&mut self, name: &str) {
        let at = name.as_ptr().addr();
        if name == "object" {
            *self = Self { behind: at + name.len(), before: None };
        } else if self.behind != 0 && self.before.is_none() {
            self.before = Some(at);
        }
    }

    /// The text between the two names, less the punctuation around it.
    fn text<'a>(&self, payload: &'a str) -> Option<&'a str> {
        let start = payload.as_ptr().addr();
        let text = payload.get(self.behind.checked_sub(start)?..self.before?.checked_sub(start)?)?;
        let text = text.strip_prefix('"')?.trim_ascii_start().strip_prefix(':')?.trim_ascii_start();
        Some(text.strip_suffix('"')?.trim_ascii_end().strip_suffix(',')?.trim_ascii_end())
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

impl Request<'_> {
    /// The JSON text of the object. `payload` is what the request was read from.
    pub(crate) fn object_text<'p>(&self, payload: &'p str) -> Option<&'p str> {
        self.object_place.text(payload).or_else(|| reread_object_text(payload))
    }
}

/// The text where its place was not noted: the object is the last member, or a name was escaped.
fn reread_object_text(payload: &str) -> Option<&str> {
    let mut parsed = Field::<PayloadText<'_>>::default();
    read(payload, &mut parsed).ok()?;
    parsed.value()?.request.value()?.object.json()
}

#[cfg(test)]
mod tests {
    use super::Payload;

    #[test]
    fn the_text_of_the_object_is_found_wherever_it_stands() {
        for (members, text) in [
            (r#""object":{"a":1},"z":2"#, Some(r#"{"a":1}"#)),
            (r#" "a" : 1 , "object" : {"a":[1, {}]} , "z" : 2 "#, Some(r#"{"a":[1, {}]}"#)),
            (r#""a":1,"object":{"a":1}"#, Some(r#"{"a":1}"#)),
            (r#""object":{"a":1},"\u007a":2"#, Some(r#"{"a":1}"#)),
            (r#""\u006fbject":{"a":1},"z":2"#, Some(r#"{"a":1}"#)),
            (r#""object":{"a":1},"object":{"b":2},"z":3"#, Some(r#"{"b":2}"#)),
            (r#""object":{"a":1},"z":3,"object":{"b":2}"#, Some(r#"{"b":2}"#)),
            (r#""z":3"#, None),
        ] {
            let payload = format!(r#"{{"request":{{{members}}},"settings":{{}}}}"#);
            let parsed = Payload::read(&payload).expect(members);
            let request = parsed.request.value().expect(members);
            assert_eq!(request.object_text(&payload), text, "{members}");
        }
    }
}
