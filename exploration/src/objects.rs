//! The objects of one server, with the few fields that matter, and their JSON texts.

use fixtures::objects;
use mcp_scaling_rules::kind::API_VERSIONS;
use mcp_scaling_rules::{
    ConditionReason, ConditionStatus, ServerKind, SessionStorage, Transport, Workload, accounts, annotations,
};
use serde_json::{Value, json};

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
            Self::Person => json!({"username": fixtures::PERSON, "groups": ["system:authenticated"]}),
            Self::Autoscaler => service_account(fixtures::AUTOSCALER, "hpa"),
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

impl Server {
    /// The object as the API server gives it.
    pub fn to_json(self, api: OnlyAlpha) -> Value {
        let conditions: Vec<Value> = self.conditions.iter().copied().flatten().map(Condition::to_json).collect();
        let mut object = custom_resource(api, self.spec.to_json());
        object["metadata"]["generation"] = self.generation.into();
        object["metadata"]["resourceVersion"] = "1".into();
        object["status"] = json!({"conditions": conditions});
        object
    }
}

/// The `MCPServer` with this spec, as it was created.
fn custom_resource(api: OnlyAlpha, spec: Value) -> Value {
    let (_, version) = api.api_version().split_once('/').unwrap_or_default();
    let mut object = objects::custom_resource(ServerKind::McpServer, version, NAME, spec);
    object["metadata"]["namespace"] = NAMESPACE.into();
    object["metadata"]["uid"] = "36f675cc-81e7-4ef5-a8e2-5d940ed90475".into();
    object
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
        let mut object = objects::deployment(&custom_resource(api, json!({})), self.replicas.into());
        object["metadata"]["namespace"] = NAMESPACE.into();
        object["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
        if let Some(text) = rolled_out {
            object["metadata"]["annotations"][annotations::ROLLED_OUT] = text.into();
        }
        let Template { image, transport, backend_replicas, release } = self.template;
        let checksum = format!("{}-{backend_replicas:?}", transport.name());
        let template = &mut object["spec"]["template"];
        template["metadata"]["annotations"] = json!({"toolhive.stacklok.dev/runconfig-checksum": checksum});
        // The policy adds the hook and the grace period if they are missing; what is explored is the count.
        template["spec"]["terminationGracePeriodSeconds"] = 35.into();
        let container = &mut template["spec"]["containers"][0];
        container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 5}}});
        container["image"] = format!("proxyrunner:{release}").into();
        container["args"] = json!(["run", format!("search:{image}")]);
        if self.has_ending_pods {
            object["status"] = json!({"observedGeneration": 1, "terminatingReplicas": 1});
        }
        object
    }
}

impl StatefulSet {
    /// The object as the API server gives it.
    pub fn to_json(self) -> Value {
        let mut object = objects::statefulset(NAME, self.transport.name(), self.replicas.into());
        object["metadata"]["namespace"] = NAMESPACE.into();
        if let Some(count) = self.preserved {
            object["metadata"]["annotations"] = json!({(annotations::REPLICAS_BEFORE_ZERO): count.to_string()});
        }
        object["spec"]["template"]["spec"]["containers"][0]["image"] = format!("search:{}", self.image).into();
        object
    }
}

/// The Scale of a workload.
pub fn scale(workload: Workload, count: Count) -> Value {
    objects::scale(NAME, &objects::selector(workload, NAME), count.into())
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
