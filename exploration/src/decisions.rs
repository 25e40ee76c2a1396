//! The real decisions of the policy, its `validate`, and what the reconciler reads and writes of the objects.

use mcp_scaling_rules::kind::GROUP;
use mcp_scaling_rules::{
    Condition as DesiredCondition, ConditionReason, ServerKind, SessionStorage, Workload, annotations,
};
use mcpserver_scaling_policy::{HostError, ResourceRequest, validate};
use mcpserver_scaling_reconciler::act::status::with_conditions;
use mcpserver_scaling_reconciler::decide::events::Transition;
use mcpserver_scaling_reconciler::observe::server::{FreshServer, ListedCondition};
use mcpserver_scaling_reconciler::observe::workload::{PodsLeft, WorkloadObject};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use crate::objects::{
    Condition, Conditions, Count, Deployment, OnlyAlpha, Server, Spec, StatefulSet, User, admission_request, scale,
};

/// A write that goes through admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// CREATE or UPDATE of the Deployment.
    Deployment {
        /// The object before.
        old: Option<Deployment>,
        /// The object that is requested.
        new: Deployment,
    },
    /// CREATE or UPDATE of the StatefulSet.
    StatefulSet {
        /// The object before.
        old: Option<StatefulSet>,
        /// The object that is requested.
        new: StatefulSet,
    },
    /// UPDATE of the Scale of a workload.
    Scale {
        /// The workload.
        workload: Workload,
        /// The count before.
        from: Count,
        /// The count that is requested.
        to: Count,
    },
    /// UPDATE of the `MCPServer`.
    Server {
        /// The spec before.
        old: Spec,
        /// The spec that is requested.
        new: Spec,
    },
}

/// What the reconciler knows of the workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CachedWorkloads {
    /// The count of the Deployment.
    pub deployment: Option<Count>,
    /// The count of the StatefulSet.
    pub statefulset: Option<Count>,
    /// The count of the Deployment before a reset that the policy let through.
    pub before_reset: Option<Count>,
    /// Says whether pods of a Deployment with 0 replicas are still ending.
    pub has_ending_proxies: bool,
    /// The count in the annotation of the StatefulSet.
    pub preserved: Option<Count>,
}

/// A write that couples the backend to its proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coupling {
    /// Preserve this count of the StatefulSet in its annotation.
    PreserveCount(Count),
    /// Scale the StatefulSet to 0.
    ScaleToZero,
    /// Scale the StatefulSet from 0 to this count.
    ScaleUp(Count),
    /// Remove the annotation.
    ForgetCount,
}

/// The model's answer to a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The cached server, or the one that was read.
    Server(Server),
    /// The Scale of a workload.
    Scale {
        /// The workload.
        workload: Workload,
        /// Its count, `None` if there is no such workload.
        count: Option<Count>,
        /// Says whether it has the version that the watch has told of.
        is_seen: bool,
    },
    /// The StatefulSet.
    StatefulSet(Option<StatefulSet>),
    /// The count is written, and this one is stored.
    Stored(Count),
    /// The annotation is written.
    Preserved,
    /// The conditions are written.
    Conditions(Vec<Transition>),
    /// Nothing is written.
    NotWritten,
    /// The call failed.
    Failed,
}

/// The reasons of the conditions that the reconciler writes, in the order of [`ConditionType::ALL`].
pub type Desired = [Option<ConditionReason>; 3];

/// The real decisions.
pub struct Decisions {
    api: OnlyAlpha,
    default_storage: SessionStorage,
    /// The texts of the policy's annotation that occurred. The first stands for none.
    pub annotations: Vec<String>,
    deployments: FxHashMap<(u8, bool), (Option<Count>, bool)>,
    preserved: FxHashMap<Option<Count>, Option<Count>>,
    written: FxHashMap<(Server, Desired), (Conditions, Vec<Transition>)>,
}

impl Decisions {
    /// The decisions in a cluster.
    pub fn new(api: OnlyAlpha, default_storage: SessionStorage) -> Self {
        Self {
            api,
            default_storage,
            annotations: vec![String::new()],
            deployments: FxHashMap::default(),
            preserved: FxHashMap::default(),
            written: FxHashMap::default(),
        }
    }

    /// Asks the real policy. `change` may change the request on its way.
    pub(crate) fn ask_policy(
        &mut self,
        user: User,
        write: Write,
        server: &Server,
        lookup_fails: bool,
        change: &dyn Fn(Value) -> Value,
    ) -> Option<Write> {
        let request = change(json!({
            "request": self.request(user, &write),
            "settings": {"defaultSessionStorage": self.default_storage.name()},
        }));
        let object = request["request"]["object"].clone();
        let get = |request: &ResourceRequest<'_>| {
            if lookup_fails {
                return Err(HostError("the API server does not answer".to_owned()));
            }
            if self.api.0 && request.api_version != self.api.api_version() {
                return Err(HostError(format!("{} is not served", request.api_version)));
            }
            Ok(server.to_json(self.api).to_string())
        };
        let response = validate(request.to_string().as_bytes(), &get).expect("the policy answers");
        if response.refusal.is_some() {
            return None;
        }
        match response.mutated_object {
            None => Some(write),
            Some(mutated) => Some(self.changed(write, object, mutated)),
        }
    }

    fn request(&self, user: User, write: &Write) -> Value {
        let version = self.api.api_version().rsplit('/').next().unwrap_or_default();
        match *write {
            Write::Deployment { old, new } => {
                let json = |deployment: Deployment| deployment.to_json(self.api, self.annotation(deployment));
                let kind = ("apps", "v1", "Deployment");
                admission_request(kind, ("apps", "v1", "deployments"), None, user, json(new), old.map(json))
            }
            Write::StatefulSet { old, new } => {
                let json = |statefulset: StatefulSet| statefulset.to_json();
                let kind = ("apps", "v1", "StatefulSet");
                admission_request(kind, ("apps", "v1", "statefulsets"), None, user, json(new), old.map(json))
            }
            Write::Scale { workload, from, to } => {
                let kind = ("autoscaling", "v1", "Scale");
                let resource = ("apps", "v1", workload.resource());
                admission_request(kind, resource, Some("scale"), user, scale(workload, to), Some(scale(workload, from)))
            }
            Write::Server { old, new } => {
                let json = |spec| Server { spec, generation: 1, conditions: [None; 3] }.to_json(self.api);
                let kind = (GROUP, version, ServerKind::McpServer.name());
                let resource = (GROUP, version, ServerKind::McpServer.resource());
                admission_request(kind, resource, None, user, json(new), Some(json(old)))
            }
        }
    }

    /// The write after the policy has changed its object.
    fn changed(&mut self, write: Write, object: Value, mut mutated: Value) -> Write {
        let count = |mutated: &Value| {
            let count = mutated["spec"].get("replicas").map_or(0, |count| count.as_u64().expect("is a count"));
            Count::try_from(count).expect("is a low count")
        };
        let changed = match write {
            Write::Deployment { old, new } => {
                let annotation = &mutated["metadata"]["annotations"][annotations::ROLLED_OUT];
                let rolled_out = self.intern(annotation.as_str().unwrap_or_default().to_owned());
                Write::Deployment { old, new: Deployment { replicas: count(&mutated), rolled_out, ..new } }
            }
            Write::StatefulSet { old, new } => {
                let replicas = count(&mutated);
                let is_count_applied = new.is_count_applied && replicas == new.replicas;
                Write::StatefulSet { old, new: StatefulSet { replicas, is_count_applied, ..new } }
            }
            Write::Scale { workload, from, .. } => Write::Scale { workload, from, to: count(&mutated) },
            Write::Server { .. } => panic!("with the default settings the policy changes no MCPServer"),
        };
        let mut object = object;
        for object in [&mut object, &mut mutated] {
            object["spec"]["replicas"] = Value::Null;
            if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
                annotations.remove(annotations::ROLLED_OUT);
            }
        }
        assert_eq!(object, mutated, "the policy changes only the count and its own annotation");
        changed
    }

    fn annotation(&self, deployment: Deployment) -> Option<&str> {
        let text = &self.annotations[usize::from(deployment.rolled_out)];
        (!text.is_empty()).then_some(text)
    }

    pub(crate) fn intern(&mut self, text: String) -> u8 {
        let index = self.annotations.iter().position(|known| *known == text).unwrap_or_else(|| {
            self.annotations.push(text);
            self.annotations.len() - 1
        });
        u8::try_from(index).expect("there are few annotations")
    }

    /// What the reconciler reads of the workloads.
    pub fn cached(&mut self, deployment: Option<Deployment>, statefulset: Option<StatefulSet>) -> CachedWorkloads {
        let (before_reset, has_ending_proxies) =
            deployment.map_or((None, false), |deployment| self.read_deployment(deployment));
        CachedWorkloads {
            deployment: deployment.map(|deployment| deployment.replicas),
            statefulset: statefulset.map(|statefulset| statefulset.replicas),
            before_reset,
            has_ending_proxies,
            preserved: statefulset.and_then(|statefulset| self.read_preserved(statefulset)),
        }
    }

    /// The count before a reset, and whether pods are ending.
    fn read_deployment(&mut self, deployment: Deployment) -> (Option<Count>, bool) {
        let key = (deployment.rolled_out, deployment.has_ending_pods);
        if let Some(known) = self.deployments.get(&key) {
            return *known;
        }
        let object = deployment.to_json(self.api, self.annotation(deployment));
        let object: WorkloadObject = serde_json::from_value(object).expect("is a workload");
        assert_eq!(object.replicas, Some(deployment.replicas.into()), "the reconciler reads the count");
        let read = (low(object.replicas_before_reset), object.pods_left != PodsLeft::None);
        self.deployments.insert(key, read);
        read
    }

    /// The count in the annotation.
    fn read_preserved(&mut self, statefulset: StatefulSet) -> Option<Count> {
        if let Some(known) = self.preserved.get(&statefulset.preserved) {
            return *known;
        }
        let object: WorkloadObject = serde_json::from_value(statefulset.to_json()).expect("is a workload");
        let preserved = low(object.replicas_before_zero);
        self.preserved.insert(statefulset.preserved, preserved);
        preserved
    }

    /// The conditions of a server after the reconciler has written the desired ones, and those whose status changed.
    ///
    /// # Panics
    /// If the list has a condition that the model does not know.
    pub fn write_conditions(&mut self, server: &Server, desired: Desired) -> (Conditions, Vec<Transition>) {
        if let Some(known) = self.written.get(&(*server, desired)) {
            return known.clone();
        }
        let fresh: FreshServer = serde_json::from_value(server.to_json(self.api)).expect("is an MCPServer");
        let conditions: Vec<DesiredCondition> = desired.into_iter().flatten().map(ConditionReason::condition).collect();
        let generation = Some(i64::from(server.generation));
        let (list, transitions) =
            with_conditions(&fresh.conditions, &conditions, generation, "2026-01-02T00:00:00Z").expect("is JSON");
        let mut written = [None; 3];
        for raw in list {
            let entry = ListedCondition::new(raw).known.expect("is about scaling");
            let generation = entry.observed_generation.and_then(|generation| u8::try_from(generation).ok());
            written[entry.type_ as usize] = Some(Condition {
                status: entry.status.expect("has a status"),
                reason: entry.reason.expect("has a reason"),
                generation: generation.expect("has a generation"),
            });
        }
        self.written.insert((*server, desired), (written, transitions.clone()));
        (written, transitions)
    }
}

fn low(count: Option<u32>) -> Option<Count> {
    count.map(|count| Count::try_from(count).expect("is a low count"))
}
