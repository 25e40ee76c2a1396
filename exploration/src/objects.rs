//! The objects of one server, with the few fields that matter, and their JSON texts.

use mcp_scaling_rules::kind::API_VERSIONS;
use mcp_scaling_rules::{ConditionReason, ConditionStatus, SessionStorage, Transport, Workload, accounts, annotations};
use serde_json::{Map, Value, json};

/// Namespace of all objects.
pub const NAMESPACE: &str = "default";
/// Name of the server and of its workloads.
pub const NAME: &str = "search";

/// A count of replicas, 0 to 3.
pub type Count = u8;

/// The spec of the `MCPServer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// `spec.transport`: stdio or streamable HTTP.
    pub transport: Transport,
    /// `spec.replicas`.
    pub replicas: Option<Count>,
    /// `spec.backendReplicas`.
    pub backend_replicas: Option<Count>,
    /// `spec.sessionStorage.provider`.
    pub storage: Option<SessionStorage>,
    /// The version of `spec.image`.
    pub image: u8,
}

/// A condition of the `MCPServer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// `status`.
    pub status: ConditionStatus,
    /// `reason`, which belongs to one type.
    pub reason: ConditionReason,
    /// `observedGeneration`.
    pub generation: u8,
}

/// The conditions about scaling, in the order of [`mcp_scaling_rules::ConditionType::ALL`].
pub type Conditions = [Option<Condition>; 3];

/// The `MCPServer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// The spec.
    pub spec: Spec,
    /// `metadata.generation`.
    pub generation: u8,
    /// The conditions about scaling.
    pub conditions: Conditions,
}

/// The pod template of the Deployment: what the proxy runner is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    /// The image of the server.
    pub image: u8,
    /// The transport.
    pub transport: Transport,
    /// The count that the proxy runner sets on the StatefulSet.
    pub backend_replicas: Option<Count>,
    /// The release of ToolHive that the proxy runner is of.
    pub release: u8,
}

/// The Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deployment {
    /// `spec.replicas`.
    pub replicas: Count,
    /// `spec.template`.
    pub template: Template,
    /// The policy's annotation, as an index into [`crate::decisions::Decisions::annotations`]; 0 if there is none.
    pub rolled_out: u8,
    /// Of a Deployment with 0 replicas, whether its pods are still ending. It is followed only if the backend is coupled to
    /// its proxies.
    pub has_ending_pods: bool,
}

/// The StatefulSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatefulSet {
    /// `spec.replicas`.
    pub replicas: Count,
    /// The image of the server.
    pub image: u8,
    /// The label with the transport.
    pub transport: Transport,
    /// Says whether the proxy runner's server-side apply owns the count: the count is removed when the runner no longer sends it.
    pub is_count_applied: bool,
    /// The reconciler's annotation: the count before it was scaled to 0 with its proxies.
    pub preserved: Option<Count>,
}

/// Who makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum User {
    /// A person with kubectl.
    Person,
    /// The controller of HorizontalPodAutoscalers.
    Autoscaler,
    /// ToolHive's operator, of a release.
    Operator(u8),
    /// The server's proxy runner.
    ProxyRunner,
    /// The reconciler.
    Reconciler,
}

impl User {
    fn info(self) -> Value {
        match self {
            Self::Person => json!({"username": "kubernetes-admin", "groups": ["system:authenticated"]}),
            Self::Autoscaler => service_account("system:serviceaccount:kube-system:horizontal-pod-autoscaler", "hpa"),
            Self::Operator(release) => service_account(accounts::OPERATOR, &format!("operator-{release}")),
            Self::ProxyRunner => {
                service_account(&format!("system:serviceaccount:{NAMESPACE}:{NAME}-proxy-runner"), "runner")
            }
            Self::Reconciler => {
                service_account("system:serviceaccount:kubewarden:mcpserver-scaling-reconciler", "reconciler")
            }
        }
    }
}

fn service_account(username: &str, pod: &str) -> Value {
    json!({
        "username": username,
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-uid": [pod]},
    })
}

/// Says whether the cluster serves only `v1alpha1`, as it does before ToolHive v0.23.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OnlyAlpha(pub bool);

impl OnlyAlpha {
    /// The API version of owner references.
    pub fn api_version(self) -> &'static str {
        API_VERSIONS[usize::from(self.0)]
    }
}

fn metadata(labels: Value, annotations: Map<String, Value>) -> Value {
    json!({
        "name": NAME, "namespace": NAMESPACE, "uid": "57124242-5051-41cc-917f-9acae01f5057",
        "labels": labels, "annotations": annotations,
    })
}

impl Server {
    /// The object as the API server gives it.
    pub fn to_json(self, api: OnlyAlpha) -> Value {
        let conditions: Vec<Value> = self.conditions.iter().copied().flatten().map(Condition::to_json).collect();
        json!({
            "apiVersion": api.api_version(),
            "kind": "MCPServer",
            "metadata": {
                "name": NAME, "namespace": NAMESPACE, "uid": "36f675cc-81e7-4ef5-a8e2-5d940ed90475",
                "generation": self.generation, "resourceVersion": "1",
            },
            "spec": self.spec.to_json(),
            "status": {"conditions": conditions},
        })
    }
}

impl Spec {
    /// `spec`.
    pub fn to_json(self) -> Value {
        let mut spec = json!({"image": format!("search:{}", self.image), "transport": self.transport.name()});
        if let Some(count) = self.replicas {
            spec["replicas"] = count.into();
        }
        if let Some(count) = self.backend_replicas {
            spec["backendReplicas"] = count.into();
        }
        if let Some(storage) = self.storage {
            spec["sessionStorage"] = json!({"provider": storage.name(), "address": "redis:6379"});
        }
        spec
    }

    /// The count that is declared for a workload.
    pub fn declared(&self, workload: Workload) -> Option<Count> {
        match workload {
            Workload::Deployment => self.replicas,
            Workload::StatefulSet => self.backend_replicas,
        }
    }
}

impl Condition {
    fn to_json(self) -> Value {
        json!({
            "type": self.reason.condition().type_.name(), "status": self.status.name(), "reason": self.reason.name(),
            "message": "", "observedGeneration": self.generation, "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    }
}

impl Deployment {
    /// The object as the API server gives it. `rolled_out` is the text of the annotation.
    pub fn to_json(self, api: OnlyAlpha, rolled_out: Option<&str>) -> Value {
        let mut annotations = Map::new();
        annotations.insert("deployment.kubernetes.io/revision".to_owned(), "1".into());
        if let Some(text) = rolled_out {
            annotations.insert(annotations::ROLLED_OUT.to_owned(), text.into());
        }
        let labels = json!({
            "app": "mcpserver", "app.kubernetes.io/name": "mcpserver", "app.kubernetes.io/instance": NAME,
            "toolhive": "true", "toolhive-name": NAME,
        });
        let mut metadata = metadata(labels.clone(), annotations);
        metadata["ownerReferences"] = json!([{
            "apiVersion": api.api_version(), "kind": "MCPServer", "name": NAME,
            "uid": "36f675cc-81e7-4ef5-a8e2-5d940ed90475", "controller": true, "blockOwnerDeletion": true,
        }]);
        let Template { image, transport, backend_replicas, release } = self.template;
        let checksum = format!("{}-{backend_replicas:?}", transport.name());
        let mut object = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {
                        "labels": labels, "annotations": {"toolhive.stacklok.dev/runconfig-checksum": checksum},
                    },
                    "spec": {
                        "containers": [{
                            "name": "toolhive", "image": format!("proxyrunner:{release}"),
                            "args": ["run", format!("search:{image}")],
                            // The policy adds it where it is missing; what is explored is the count.
                            "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
                        }],
                        "terminationGracePeriodSeconds": 35,
                    },
                },
            },
        });
        if self.has_ending_pods {
            object["status"] = json!({"observedGeneration": 1, "terminatingReplicas": 1});
        }
        object
    }
}

impl StatefulSet {
    /// The object as the API server gives it.
    pub fn to_json(self) -> Value {
        let labels = json!({
            "app": NAME, "toolhive": "true", "toolhive-basename": NAME, "toolhive-name": NAME, "toolhive-port": "8080",
            "toolhive-transport": self.transport.name(),
        });
        let preserved =
            self.preserved.map(|count| (annotations::REPLICAS_BEFORE_ZERO.to_owned(), count.to_string().into()));
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": metadata(labels.clone(), preserved.into_iter().collect()),
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": NAME}},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "mcp", "image": format!("search:{}", self.image)}]},
                },
            },
        })
    }
}

/// The Scale of a workload. The API server leaves a count of 0 out.
pub fn scale(workload: Workload, count: Count) -> Value {
    let selector = match workload {
        Workload::Deployment => format!(
            "app=mcpserver,app.kubernetes.io/instance={NAME},app.kubernetes.io/name=mcpserver,toolhive=true,toolhive-name={NAME}"
        ),
        Workload::StatefulSet => format!("app={NAME}"),
    };
    let mut scale = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "uid": "907a70c3-1012-4037-b64c-e4228c38fb29"},
        "spec": {},
        "status": {"replicas": 1, "selector": selector},
    });
    if count > 0 {
        scale["spec"]["replicas"] = count.into();
    }
    scale
}

/// An admission request, as the policy server passes it to the policy.
pub fn admission_request(
    kind: (&str, &str, &str),
    resource: (&str, &str, &str),
    sub_resource: Option<&str>,
    user: User,
    object: Value,
    old: Option<Value>,
) -> Value {
    let mut request = json!({
        "uid": "7f26144b-9828-4fcd-99a5-4a7bb1fee08f",
        "kind": {"group": kind.0, "version": kind.1, "kind": kind.2},
        "resource": {"group": resource.0, "version": resource.1, "resource": resource.2},
        "requestKind": {"group": kind.0, "version": kind.1, "kind": kind.2},
        "requestResource": {"group": resource.0, "version": resource.1, "resource": resource.2},
        "name": NAME,
        "namespace": NAMESPACE,
        "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
        "userInfo": user.info(),
        "object": object,
        "oldObject": old,
        "dryRun": false,
    });
    if let Some(sub_resource) = sub_resource {
        request["subResource"] = sub_resource.into();
        request["requestSubResource"] = sub_resource.into();
    }
    request
}

/// The count that a declared count comes to, as ToolHive's operators and runners decide it.
pub fn capped(transport: Transport, count: Count) -> Count {
    if transport == Transport::Stdio { count.min(1) } else { count }
}
