//! The real decisions: the policy's `validate`, and the pure functions of the reconciler.

use std::sync::LazyLock;
use std::time::Duration;

use mcp_scaling_rules::kind::GROUP;
use mcp_scaling_rules::{
    Condition as DesiredCondition, ConditionReason, ConditionType, ServerKind, SessionStorage, Workload, annotations,
};
use mcpserver_scaling_policy::{HostError, ResourceRequest, validate};
use mcpserver_scaling_reconciler::backoff::{Backoff, Target, WriteKind};
use mcpserver_scaling_reconciler::coupling::Step;
use mcpserver_scaling_reconciler::deadlines::{Deadline, OPERATOR_TIMEOUT};
use mcpserver_scaling_reconciler::options::Counts;
use mcpserver_scaling_reconciler::plan::{self, PlanInputs};
use mcpserver_scaling_reconciler::server::{FreshServer, ListedCondition, Server as SlimServer};
use mcpserver_scaling_reconciler::stabilization::{StabilizationWindow, WINDOW};
use mcpserver_scaling_reconciler::status::with_conditions;
use mcpserver_scaling_reconciler::workload::{PodsLeft, WorkloadObject};
use mcpserver_scaling_reconciler::workload_replicas::WorkloadReplicas;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use tokio::time::Instant;

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

/// What the reconciler has read to decide about the next write that couples the backend to its proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadWorkloads {
    /// The count of the Deployment.
    pub proxies: Count,
    /// The count of the StatefulSet.
    pub backend: Count,
    /// The count in the annotation of the StatefulSet.
    pub preserved: Option<Count>,
}

/// The reasons of the conditions that the reconciler writes, in the order of [`ConditionType::ALL`].
pub type Desired = [Option<ConditionReason>; 3];

/// A plan of the reconciler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The count to set the Deployment to.
    pub deployment: Option<Count>,
    /// The count to set the StatefulSet to.
    pub statefulset: Option<Count>,
    /// The write that couples the backend to its proxies.
    pub coupling: Option<Coupling>,
    /// The conditions to write.
    pub conditions: Option<Desired>,
}

impl Plan {
    /// Returns whether nothing has to be written.
    pub fn is_empty(&self) -> bool {
        self.deployment.is_none() && self.statefulset.is_none() && self.coupling.is_none() && self.conditions.is_none()
    }
}

/// What the reconciler remembers of its writes to one target. The delay is either not over or over; nothing else of the time
/// matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Writes {
    /// The number of writes in a row. A delay begins with the third.
    pub count: u8,
    /// The generation of the server at the last write.
    pub generation: u8,
    /// Says whether the delay after the last write is over.
    pub is_delay_over: bool,
}

/// What the reconciler remembers of the cause of its warning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing.
    #[default]
    Unknown,
    /// It is there.
    Present,
    /// It is gone, and the stabilization window is open.
    Gone,
    /// It is gone, and the stabilization window is over.
    WindowOver,
}

/// What the reconciler remembers of a reset that the policy let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PendingReset {
    /// There is none.
    #[default]
    None,
    /// The operator has time to give the count back.
    Waiting,
    /// The operator's time is over.
    Overdue,
}

/// The number of writes from which on the reconciler waits.
pub const WRITES_WITHOUT_DELAY: u8 = 3;

/// The real decisions.
pub struct Decisions {
    api: OnlyAlpha,
    default_storage: SessionStorage,
    couple_zero: bool,
    /// The texts of the policy's annotation that occurred. The first stands for none.
    pub annotations: Vec<String>,
    deployments: FxHashMap<(u8, bool), (Option<Count>, bool)>,
    preserved: FxHashMap<Option<Count>, Option<Count>>,
    written: FxHashMap<(Server, Desired), Conditions>,
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Decisions {
    /// The decisions in a cluster. `couple_zero` is the reconciler's option.
    pub fn new(api: OnlyAlpha, default_storage: SessionStorage, couple_zero: bool) -> Self {
        Self {
            api,
            default_storage,
            couple_zero,
            annotations: vec![String::new()],
            deployments: FxHashMap::default(),
            preserved: FxHashMap::default(),
            written: FxHashMap::default(),
        }
    }

    pub(crate) fn default_storage(&self) -> SessionStorage {
        self.default_storage
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
        if !response.accepted {
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

    fn slim(&self, server: &Server) -> SlimServer {
        serde_json::from_value(server.to_json(self.api)).expect("is an MCPServer")
    }

    fn inputs(&self, slim: &SlimServer, cached: CachedWorkloads) -> PlanInputs {
        let scaling = slim.scaling.expect("the spec is valid");
        PlanInputs {
            set_to: WorkloadReplicas {
                deployment: cached.deployment.map(u32::from),
                statefulset: cached.statefulset.map(u32::from),
                deployment_before_reset: cached.before_reset.map(u32::from),
                proxies_left: if cached.has_ending_proxies { PodsLeft::Some } else { PodsLeft::None },
                statefulset_before_zero: cached.preserved.map(u32::from),
                ..WorkloadReplicas::default()
            },
            storage: Some(scaling.session_storage_or(self.default_storage)),
            counts: Counts::All,
            couple_zero: self.couple_zero,
        }
    }

    /// The reconciler's plan for a server. `keep` says that the stabilization window is open.
    pub(crate) fn plan(&self, server: &Server, cached: CachedWorkloads, keep: bool) -> Plan {
        let slim = self.slim(server);
        let scaling = slim.scaling.expect("the spec is valid");
        let plan = plan::plan(&slim, &scaling, self.inputs(&slim, cached), keep);
        let reason =
            |type_| plan.conditions.iter().find(|condition| condition.type_ == type_).map(|found| found.reason);
        Plan {
            deployment: low(plan.deployment),
            statefulset: low(plan.statefulset),
            coupling: plan.coupling.map(Coupling::of),
            conditions: (!plan.conditions.is_empty()).then(|| ConditionType::ALL.map(reason)),
        }
    }

    /// Returns whether the reconciler finds a cause for its own warning.
    pub(crate) fn has_cause(&self, spec: Spec, cached: CachedWorkloads) -> bool {
        let slim = self.slim(&Server { spec, generation: 1, conditions: [None; 3] });
        let scaling = slim.scaling.expect("the spec is valid");
        plan::current_warning(&scaling, self.inputs(&slim, cached)).is_some()
    }

    /// The count that the reconciler sets a workload to, which has the count in `cached`.
    pub(crate) fn correction(&self, workload: Workload, spec: Spec, cached: CachedWorkloads) -> Option<Count> {
        let slim = self.slim(&Server { spec, generation: 1, conditions: [None; 3] });
        let scaling = slim.scaling.expect("the spec is valid");
        let corrected = plan::correction(workload, &scaling, self.inputs(&slim, cached));
        low(corrected.map(|corrected| corrected.count))
    }

    /// The write that couples the backend to its proxies, decided from what the reconciler has `read`. The rest is as in its
    /// cache, which has `cached`.
    pub(crate) fn coupling(&self, spec: Spec, cached: CachedWorkloads, read: ReadWorkloads) -> Option<Coupling> {
        let slim = self.slim(&Server { spec, generation: 1, conditions: [None; 3] });
        let scaling = slim.scaling.expect("the spec is valid");
        let inputs = self.inputs(&slim, cached);
        let inputs = inputs.with_workloads(read.proxies.into(), read.backend.into(), read.preserved.map(u32::from));
        plan::coupling_step(&scaling, inputs).map(Coupling::of)
    }

    /// The conditions of a server after the reconciler has written the desired ones.
    ///
    /// # Panics
    /// If the list has a condition that the model does not know.
    pub fn write_conditions(&mut self, server: &Server, desired: Desired) -> Conditions {
        if let Some(known) = self.written.get(&(*server, desired)) {
            return *known;
        }
        let fresh: FreshServer = serde_json::from_value(server.to_json(self.api)).expect("is an MCPServer");
        let conditions: Vec<DesiredCondition> = desired.into_iter().flatten().map(ConditionReason::condition).collect();
        let generation = Some(i64::from(server.generation));
        let (list, _) =
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
        self.written.insert((*server, desired), written);
        written
    }

    /// Returns whether a write to a target is made now, and not after a delay.
    pub(crate) fn is_due(&self, writes: Writes, generation: u8) -> bool {
        let (backoff, now) = backoff(writes);
        backoff.delay(Target::Conditions, Some(generation.into()), now) == Duration::ZERO
    }

    /// The writes to a target after one more.
    pub fn record_write(&self, writes: Writes, generation: u8) -> Writes {
        let (mut backoff, now) = backoff(writes);
        let count = match backoff.record_write(Target::Conditions, Some(generation.into()), now) {
            WriteKind::First => 1,
            WriteKind::BackoffBegins => WRITES_WITHOUT_DELAY,
            WriteKind::Repeated => (writes.count + 1).min(WRITES_WITHOUT_DELAY),
        };
        Writes { count, generation, is_delay_over: false }
    }

    /// Observes the cause of the warning, and returns whether the warning is to be kept.
    pub fn observe_cause(&self, cause: Cause, has_cause: bool, is_warning_set: bool) -> (Cause, bool) {
        let mut windows = StabilizationWindow::default();
        let now = match cause {
            Cause::Unknown => *START,
            Cause::Present => {
                windows.observe(true, true, *START);
                *START
            }
            Cause::Gone | Cause::WindowOver => {
                windows.observe(true, true, *START);
                windows.observe(false, true, *START);
                if cause == Cause::Gone { *START } else { *START + WINDOW }
            }
        };
        let keep = windows.observe(has_cause, is_warning_set, now);
        let is_open = windows.remaining(now) > Duration::ZERO;
        let next = match cause {
            _ if has_cause => Cause::Present,
            _ if is_open => Cause::Gone,
            Cause::Unknown => Cause::Unknown,
            _ => Cause::WindowOver,
        };
        (next, keep)
    }

    /// Observes whether a reset is pending, and returns whether the operator's time is over.
    pub fn observe_reset(&self, pending: PendingReset, is_pending: bool) -> (PendingReset, bool) {
        let mut resets = Deadline::default();
        let now = match pending {
            PendingReset::None => *START,
            PendingReset::Waiting | PendingReset::Overdue => {
                resets.observe(Some(OPERATOR_TIMEOUT), *START);
                if pending == PendingReset::Waiting { *START } else { *START + OPERATOR_TIMEOUT }
            }
        };
        resets.observe(is_pending.then_some(OPERATOR_TIMEOUT), now);
        let is_overdue = resets.is_over(now);
        let next = match (is_pending, is_overdue) {
            (false, _) => PendingReset::None,
            (true, false) => PendingReset::Waiting,
            (true, true) => PendingReset::Overdue,
        };
        (next, is_overdue)
    }
}

impl Coupling {
    fn of(step: Step) -> Self {
        let count = |count| Count::try_from(count).expect("is a low count");
        match step {
            Step::PreserveCount(preserved) => Self::PreserveCount(count(preserved)),
            Step::ScaleToZero => Self::ScaleToZero,
            Step::ScaleUp(to) => Self::ScaleUp(count(to)),
            Step::ForgetCount => Self::ForgetCount,
        }
    }
}

fn low(count: Option<u32>) -> Option<Count> {
    count.map(|count| Count::try_from(count).expect("is a low count"))
}

/// A backoff with these writes, and the time that it is now.
fn backoff(writes: Writes) -> (Backoff, Instant) {
    let mut backoff = Backoff::default();
    let generation = Some(i64::from(writes.generation));
    for _ in 0..writes.count {
        backoff.record_write(Target::Conditions, generation, *START);
    }
    let delay = backoff.delay(Target::Conditions, generation, *START);
    let now = if writes.is_delay_over { *START + delay } else { *START };
    (backoff, now)
}
