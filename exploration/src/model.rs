//! The states of one server and of everybody who writes to it, and the steps between them.
//!
//! Anybody may be slow: each cache holds an old object until its event arrives, and between any two calls of the reconciler
//! everything else may happen. Time is not counted: a delay is over or not, and it may end at any moment. What is left out:
//! - A cache that is behind sees the present state next, and not one of those between.
//! - The events of a Deployment arrive within the ten seconds that an operator has to give a count back, and an operator that
//!   gives it back later does not do so at the very moment when the reconciler does.
//! - An operator before v0.10.1 that acts on an old server ([`Scenario::stale_operator`]): see the test about it.
//! - A person who scales a Deployment to 1 while an operator before v0.10.1 owes it another count is not told from the
//!   operator's reset.
//! - An upgrade of such an operator before it has written to a Deployment once since the policy is there.
//! - The time that proxies have to end on Kubernetes before v1.35. They end with an event of the Deployment, as on newer ones.
//! - A person who scales a backend to 0 while its annotation is there is not told from the reconciler, which then gives it the
//!   count in the annotation. The annotation is left for about a second after the backend was scaled up.
//! - Proxies that were scaled up and to 0 again between two events of the Deployment: nothing that the reconciler reads tells
//!   that they are ending.
//!
//! Optimistic concurrency is exact without numbers: whoever holds an object that it will write holds one bit beside it, which
//! says whether the object is still the one that it read. A write from a stale object is refused and changes nothing.

use mcp_scaling_rules::{ConditionReason, ConditionStatus, SessionStorage, Transport, Workload};

use crate::answers::Answers;
use crate::decisions::{
    CachedWorkloads, Cause, Coupling, Desired, PendingReset, ReadWorkloads, WRITES_WITHOUT_DELAY, Write, Writes,
};
use crate::mutant::Mutant;
use crate::objects::{
    Condition, Conditions, Count, Deployment, OnlyAlpha, Server, Spec, StatefulSet, Template, User, capped,
};

/// What an operator does, and the proxy runner of the same release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// Before v0.10.1: the operator sets a Deployment with another count than 1 to 1 before it looks at anything else. The
    /// proxy runner always sets the StatefulSet to 1.
    Resets,
    /// From v0.10.1: the operator does so only with stdio, and leaves other counts. The proxy runner as before.
    CapsStdio,
    /// From v0.13: counts can be declared, and the operator writes two conditions. The proxy runner sets the declared count or
    /// none.
    Declares,
}

/// The index of the server in [`Reconciler::has_events`], after those of the workloads.
const SERVER: usize = 2;
/// The index of the conditions in [`Reconciler::writes`], after those of the workloads.
const CONDITIONS: usize = 2;
/// The index of the StatefulSet that is scaled to 0 with its proxies in [`Reconciler::writes`].
const TO_ZERO: usize = 3;

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The operator's and the proxy runner's behaviour.
    pub era: Era,
    /// Says whether the policy is installed, with its default settings.
    pub policy: bool,
    /// Says whether the reconciler runs.
    pub reconciler: bool,
    /// Says whether the reconciler couples the backend to its proxies: `--couple-zero`.
    pub couple_zero: bool,
    /// Says whether the operator acts on a server that it has not yet seen as it is now. Its writes of the Deployment succeed all the
    /// same: the resource version of the server does not guard them.
    pub stale_operator: bool,
    /// The count that an autoscaler insists on, whatever happens.
    pub autoscaler: Option<Count>,
    /// The storage of servers that do not name one: a setting of policy and reconciler.
    pub default_storage: SessionStorage,
    /// How many things people do.
    pub people: u8,
    /// How many faults happen: crashes, lost answers, failed lookups, an upgrade, an operator that stops.
    pub faults: u8,
    /// Which part of the server people work on.
    pub scope: Scope,
    /// The counts that occur.
    pub counts: &'static [Count],
    /// A fault in the decisions.
    pub mutant: Option<Mutant>,
}

/// Which part of the server people work on. The other part is there too, and stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The Deployment: `spec.replicas`, the Deployment's count, the image.
    Deployment,
    /// The StatefulSet: `spec.backendReplicas`, the StatefulSet's count, the image.
    StatefulSet,
    /// Both.
    Both,
    /// The StatefulSet, and whether there are proxies: people scale the Deployment to 0 and 1.
    StatefulSetAndProxies,
}

impl Scope {
    /// Returns whether people declare the count of a workload.
    fn has(self, workload: Workload) -> bool {
        match self {
            Self::Deployment => workload == Workload::Deployment,
            Self::StatefulSet | Self::StatefulSetAndProxies => workload == Workload::StatefulSet,
            Self::Both => true,
        }
    }

    /// The counts that people scale a workload to.
    fn counts_of(self, workload: Workload, counts: &'static [Count]) -> &'static [Count] {
        match (self, workload) {
            (Self::StatefulSetAndProxies, Workload::Deployment) => &[0, 1],
            _ if self.has(workload) => counts,
            _ => &[],
        }
    }
}

/// The operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// Says whether it runs.
    pub is_up: bool,
    /// Its release.
    pub release: u8,
    /// The server in its cache.
    pub spec: Spec,
    /// The generation of the server in its cache.
    pub generation: u8,
}

/// When the reconciler looks at the server again without an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// Never.
    None,
    /// When the stabilization window or the operator's time after a reset is over.
    Window,
    /// When a backoff is over.
    Backoff,
}

/// A reconcile that is under way: what was read, and what is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Work {
    /// The spec that was read.
    pub spec: Spec,
    /// The generation that was read.
    pub generation: u8,
    /// Says whether the server is still the one that was read.
    pub is_server_current: bool,
    /// Says whether the Deployment is still to be corrected.
    pub deployment: bool,
    /// Says whether the StatefulSet is still to be corrected.
    pub statefulset: bool,
    /// The write that couples the backend to its proxies, as far as it is prepared.
    pub coupling: Option<CouplingWork>,
    /// The conditions that are still to be written.
    pub conditions: Option<Desired>,
    /// The Scale that was read and is written next.
    pub scale: Option<ReadScale>,
    /// Says whether a call failed.
    pub has_failed: bool,
    /// Says whether a write backs off.
    pub is_delayed: bool,
}

/// How far a write is prepared that couples the backend to its proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CouplingWork {
    /// It is planned: this one, as far as the cache tells.
    Planned(Coupling),
    /// The Scale of the Deployment was read, with this count.
    ReadProxies(Count),
    /// The StatefulSet was read too, and this write is made next.
    Decided {
        /// The write.
        write: Coupling,
        /// Says whether the StatefulSet is still the one that was read.
        is_current: bool,
    },
}

/// A Scale that was read, and the count that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadScale {
    /// The workload.
    pub workload: Workload,
    /// The count to set.
    pub to: Count,
    /// Says whether the Scale is still the one that was read.
    pub is_current: bool,
}

/// The reconciler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reconciler {
    /// Says whether the server is in the queue.
    pub is_queued: bool,
    /// What else brings it into the queue.
    pub timer: Timer,
    /// Says whether events are under way to the reconciler: of the Deployment, of the StatefulSet, and of the server. Several events
    /// of one object arrive together, which shows the reconciler fewer states between them; that they were there it knows.
    pub has_events: [bool; 3],
    /// The workloads in its cache.
    pub cached: CachedWorkloads,
    /// The reconcile that is under way.
    pub work: Option<Work>,
    /// Its writes to the Deployment, the StatefulSet and the conditions, and those that scale the StatefulSet to 0.
    pub writes: [Writes; 4],
    /// The cause of its warning.
    pub cause: Cause,
    /// The reset that it waits for.
    pub pending: PendingReset,
}

/// Everything there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The server.
    pub server: Server,
    /// The Deployment.
    pub deployment: Option<Deployment>,
    /// The StatefulSet.
    pub statefulset: Option<StatefulSet>,
    /// The operator.
    pub operator: Operator,
    /// Says whether a proxy runner has started and has not yet applied the StatefulSet.
    pub is_runner_due: bool,
    /// The reconciler.
    pub reconciler: Option<Reconciler>,
    /// Which counts the Deployment may have by what its owners last chose, as bits. Nobody in the model reads it.
    pub deployment_choices: u8,
    /// The same of the StatefulSet.
    pub statefulset_choices: u8,
    /// What people may still do.
    pub people: u8,
    /// The faults that may still happen.
    pub faults: u8,
}

/// One step of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A person edits the spec.
    Edit(Edit),
    /// A person scales a workload.
    Scale(Workload, Count),
    /// The autoscaler sets the count of the Deployment.
    Autoscale(Count),
    /// The operator's cache is brought up to date.
    OperatorSees,
    /// The operator writes the conditions.
    OperatorConditions,
    /// The operator makes the Deployment.
    OperatorCreates,
    /// The operator sets the count to 1 and nothing else.
    OperatorResets,
    /// The operator writes the whole spec of the Deployment.
    OperatorUpdates,
    /// The operator stops for good, or until somebody starts it again.
    OperatorStops,
    /// The operator starts again.
    OperatorStarts,
    /// Another release of the operator takes over.
    OperatorUpgrades,
    /// The proxy runner applies the StatefulSet.
    RunnerApplies,
    /// A proxy runner starts again.
    RunnerRestarts,
    /// Time passes: the last pod of a Deployment with 0 replicas has ended.
    ProxiesEnd,
    /// Another writer removes the conditions.
    ConditionsLost,
    /// The reconciler's cache of the server is brought up to date.
    ReconcilerSeesServer,
    /// The reconciler's cache of a workload is brought up to date.
    ReconcilerSees(Workload),
    /// The reconciler reads the server and plans.
    ReconcilerPlans,
    /// The reconciler reads a Scale.
    ReconcilerReadsScale(Workload),
    /// The reconciler sets a count.
    ReconcilerScales(Workload, Count),
    /// The reconciler reads the Scale of the Deployment, to couple the backend to its proxies.
    ReconcilerReadsProxies,
    /// The reconciler reads the StatefulSet, and decides how to couple it to its proxies.
    ReconcilerReadsBackend,
    /// The reconciler makes a write that couples the backend to its proxies.
    ReconcilerCouples(Coupling),
    /// The reconciler writes conditions.
    ReconcilerConditions,
    /// The reconciler's write comes too late: the object has changed since it was read.
    ReconcilerConflict,
    /// The reconciler backs off from the conditions.
    ReconcilerConditionsWait,
    /// The reconcile ends.
    ReconcilerEnds,
    /// The reconciler crashes and starts again.
    ReconcilerCrashes,
    /// Time passes: a backoff is over.
    BackoffOver(Workload),
    /// Time passes: the backoff of the conditions is over.
    ConditionsBackoffOver,
    /// Time passes: the backoff from scaling the StatefulSet to 0 is over.
    ToZeroBackoffOver,
    /// Time passes: the stabilization window is over.
    WindowOver,
    /// Time passes: the operator had its time to give a count back.
    OperatorTimeOver,
}

/// How a step goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// As intended.
    Plain,
    /// The policy cannot look the server up.
    LookupFails,
    /// The write is carried out, and its answer is lost.
    AnswerLost,
    /// The call fails.
    CallFails,
}

/// A person's edit of the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edit {
    /// Of `spec.transport`.
    Transport(Transport),
    /// Of `spec.replicas` or `spec.backendReplicas`.
    Declared(Workload, Option<Count>),
    /// Of `spec.sessionStorage`.
    Storage(Option<SessionStorage>),
    /// Of `spec.image`.
    Image,
}

/// A step and the state that it leads to.
#[derive(Clone, Copy, Debug)]
pub struct Transition {
    /// The step.
    pub step: Step,
    /// How it goes.
    pub how: How,
    /// The state after it.
    pub to: State,
}

impl Transition {
    /// Returns whether this is something that need not happen: people, faults, and an operator that is started again.
    pub fn is_disturbance(&self) -> bool {
        use Step::{
            ConditionsLost, Edit, OperatorStarts, OperatorStops, OperatorUpgrades, ReconcilerCrashes, RunnerRestarts,
            Scale,
        };
        self.how != How::Plain
            || matches!(
                self.step,
                Edit(_)
                    | Scale(..)
                    | ConditionsLost
                    | OperatorStarts
                    | OperatorStops
                    | OperatorUpgrades
                    | ReconcilerCrashes
                    | RunnerRestarts
            )
    }

    /// Returns whether the reconciler writes.
    pub fn is_reconcilers_write(&self) -> bool {
        use Step::{ReconcilerConditions, ReconcilerCouples, ReconcilerScales};
        self.how != How::CallFails
            && matches!(self.step, ReconcilerScales(..) | ReconcilerCouples(_) | ReconcilerConditions)
    }

    /// Returns whether time passes.
    pub fn is_time(&self) -> bool {
        use Step::{BackoffOver, ConditionsBackoffOver, OperatorTimeOver, ProxiesEnd, ToZeroBackoffOver, WindowOver};
        matches!(
            self.step,
            BackoffOver(_) | ConditionsBackoffOver | OperatorTimeOver | ProxiesEnd | ToZeroBackoffOver | WindowOver
        )
    }
}

/// A scenario, and the answers in it.
pub struct Model {
    /// The scenario.
    pub scenario: Scenario,
    /// The answers of policy and reconciler in it.
    pub answers: Answers,
}

/// The set of counts with only this one.
fn only(count: Count) -> u8 {
    1 << count
}

impl Spec {
    /// The pod template that an operator makes of this spec.
    fn template(&self, release: u8) -> Template {
        Template { image: self.image, transport: self.transport, backend_replicas: self.backend_replicas, release }
    }

    /// The two conditions of ToolHive, as its operators from v0.13 on decide them.
    pub fn toolhive_conditions(&self, generation: u8) -> [Condition; 2] {
        let several = self.replicas.is_some_and(|count| count > 1);
        let (stdio, stdio_reason) = if several && self.transport == Transport::Stdio {
            (ConditionStatus::True, ConditionReason::StdioTransportCapAt1)
        } else {
            (ConditionStatus::False, ConditionReason::StdioReplicaCapNotActive)
        };
        let (storage, storage_reason) = if !several {
            (ConditionStatus::False, ConditionReason::SessionStorageWarningNotApplicable)
        } else if self.storage == Some(SessionStorage::Redis) {
            (ConditionStatus::False, ConditionReason::SessionStorageConfigured)
        } else {
            (ConditionStatus::True, ConditionReason::SessionStorageMissingForReplicas)
        };
        [
            Condition { status: stdio, reason: stdio_reason, generation },
            Condition { status: storage, reason: storage_reason, generation },
        ]
    }
}

impl State {
    /// The count of a workload, if there is one.
    pub fn count(&self, workload: Workload) -> Option<Count> {
        match workload {
            Workload::Deployment => self.deployment.map(|deployment| deployment.replicas),
            Workload::StatefulSet => self.statefulset.map(|statefulset| statefulset.replicas),
        }
    }

    /// The counts that the owners of a workload chose, as bits.
    pub fn choices(&self, workload: Workload) -> u8 {
        match workload {
            Workload::Deployment => self.deployment_choices,
            Workload::StatefulSet => self.statefulset_choices,
        }
    }

    /// The count of a workload, unless it is the reconciler's: a count of 0 that no owner chose is that of a backend which the
    /// reconciler has scaled to 0 with its proxies.
    fn chosen_count(&self, workload: Workload) -> Option<Count> {
        self.count(workload).filter(|count| *count > 0 || self.choices(workload) & only(0) != 0)
    }

    fn choices_mut(&mut self, workload: Workload) -> &mut u8 {
        match workload {
            Workload::Deployment => &mut self.deployment_choices,
            Workload::StatefulSet => &mut self.statefulset_choices,
        }
    }

    /// After a write of ToolHive's. A reset is carried out if the policy cannot look the server up (`onLookupFailure: allow`),
    /// and then the count is what it is.
    fn accept_unchecked(&mut self, workload: Workload, how: How) {
        if how == How::LookupFails
            && let Some(count) = self.chosen_count(workload)
        {
            *self.choices_mut(workload) |= only(count);
        }
    }

    /// After a write of the StatefulSet itself. A runner of an older template labels the backend with stdio, and the policy caps
    /// such a backend.
    fn accept_cap_by_label(&mut self) {
        let is_labelled = self.statefulset.is_some_and(|statefulset| statefulset.transport == Transport::Stdio);
        if is_labelled && self.statefulset_choices > 0b11 {
            self.statefulset_choices |= only(1);
        }
    }

    /// After a write to the server. A reconcile that is under way holds an old one then, and an event is under way.
    fn server_changed(&mut self) {
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.has_events[SERVER] = true;
            if let Some(work) = &mut reconciler.work {
                work.is_server_current = false;
            }
        }
    }

    fn scale_changed(&mut self, workload: Workload) {
        let Some(reconciler) = &mut self.reconciler else { return };
        reconciler.has_events[workload as usize] = true;
        let work = reconciler.work.as_mut();
        if let Some(scale) = work.and_then(|work| work.scale.as_mut()).filter(|scale| scale.workload == workload) {
            scale.is_current = false;
        }
        let coupling = reconciler.work.as_mut().and_then(|work| work.coupling.as_mut());
        if let Some(CouplingWork::Decided { is_current, .. }) = coupling.filter(|_| workload == Workload::StatefulSet) {
            *is_current = false;
        }
    }

    fn set_deployment(&mut self, new: Deployment) {
        if self.deployment == Some(new) {
            return;
        }
        // A pod with a new template, or one more pod, is a proxy runner that starts.
        let starts = self.deployment.is_none_or(|old| old.template != new.template || old.replicas < new.replicas);
        self.is_runner_due |= starts;
        self.deployment = Some(new);
        self.scale_changed(Workload::Deployment);
    }

    fn set_statefulset(&mut self, new: StatefulSet) {
        if self.statefulset != Some(new) {
            self.statefulset = Some(new);
            self.scale_changed(Workload::StatefulSet);
        }
    }

    fn set_conditions(&mut self, conditions: Conditions) {
        if self.server.conditions != conditions {
            self.server.conditions = conditions;
            self.server_changed();
        }
    }
}

impl Model {
    /// The model of a scenario.
    pub fn new(scenario: Scenario) -> Self {
        // ToolHive serves v1beta1 since v0.23. Before v0.13 there are no counts to declare.
        let api = OnlyAlpha(scenario.era != Era::Declares);
        let Scenario { default_storage, couple_zero, mutant, .. } = scenario;
        Self { scenario, answers: Answers::new(api, default_storage, couple_zero, mutant) }
    }

    fn can_declare(&self) -> bool {
        self.scenario.era == Era::Declares
    }

    fn declared_counts(&self, workload: Workload) -> Vec<Option<Count>> {
        let mut counts = vec![None];
        if self.can_declare() && self.scenario.scope.has(workload) {
            counts.extend(self.scenario.counts.iter().map(|count| Some(*count)));
        }
        counts
    }

    fn storages(&self) -> Vec<Option<SessionStorage>> {
        let mut storages = vec![None];
        if self.can_declare() {
            // The other one is what an absent storage means.
            storages.push(Some(match self.scenario.default_storage {
                SessionStorage::Memory => SessionStorage::Redis,
                SessionStorage::Redis => SessionStorage::Memory,
            }));
        }
        storages
    }

    /// All states in which it begins: every spec, with every count of the workloads, and without workloads.
    /// Without the reconciler nobody corrects what was wrong before the policy was installed, so that every count is right.
    pub fn initial_states(&mut self) -> Vec<State> {
        let mut states = Vec::new();
        let counts = |scenario: &Scenario, workload| match scenario.scope.counts_of(workload, scenario.counts) {
            [] => vec![1],
            counts => counts.to_vec(),
        };
        // The reconciler has left the annotation with the highest count before.
        let preserved_counts = match self.scenario.counts.iter().max() {
            Some(most) if self.scenario.couple_zero => vec![None, Some(*most)],
            _ => vec![None],
        };
        for transport in [Transport::Stdio, Transport::StreamableHttp] {
            for replicas in self.declared_counts(Workload::Deployment) {
                for backend_replicas in self.declared_counts(Workload::StatefulSet) {
                    for storage in self.storages() {
                        for deployment in counts(&self.scenario, Workload::Deployment) {
                            for statefulset in counts(&self.scenario, Workload::StatefulSet) {
                                let spec = Spec { transport, replicas, backend_replicas, storage, image: 0 };
                                for preserved in &preserved_counts {
                                    states
                                        .extend(self.initial_state(spec, Some((deployment, statefulset, *preserved))));
                                }
                            }
                        }
                        let spec = Spec { transport, replicas, backend_replicas, storage, image: 0 };
                        states.extend(self.initial_state(spec, None));
                    }
                }
            }
        }
        states
    }

    /// `counts` are those of the Deployment and of the StatefulSet, and the one in the annotation.
    fn initial_state(&mut self, spec: Spec, counts: Option<(Count, Count, Option<Count>)>) -> Option<State> {
        let server = Server { spec, generation: 1, conditions: [None; 3] };
        let template = spec.template(0);
        let new_deployment = |replicas| Deployment { replicas, template, rolled_out: 0, has_ending_pods: false };
        let deployment = counts.map(|(replicas, ..)| new_deployment(replicas));
        let statefulset = counts.map(|(_, replicas, preserved)| StatefulSet {
            replicas,
            image: spec.image,
            transport: spec.transport,
            is_count_applied: spec.backend_replicas.is_some(),
            preserved,
        });
        // A backend at 0 with the annotation was scaled to 0 by the reconciler.
        let backend = counts.map(|(_, replicas, preserved)| preserved.filter(|_| replicas == 0).unwrap_or(replicas));
        let choices = |workload: Workload, count: Option<Count>| {
            let count = count.unwrap_or(1);
            let mut choices = only(count) | only(capped(spec.transport, count));
            if let Some(declared) = spec.declared(workload) {
                choices |= only(declared) | only(capped(spec.transport, declared));
            }
            choices
        };
        let mut state = State {
            server,
            deployment,
            statefulset,
            operator: Operator { is_up: true, release: 0, spec, generation: 1 },
            is_runner_due: false,
            reconciler: None,
            deployment_choices: choices(Workload::Deployment, counts.map(|(deployment, ..)| deployment)),
            statefulset_choices: choices(Workload::StatefulSet, backend),
            people: self.scenario.people,
            faults: self.scenario.faults,
        };
        if self.scenario.reconciler {
            state.reconciler = Some(self.started(&state));
            return Some(state);
        }
        let is_right = |workload: Workload| {
            state.count(workload).is_none_or(|count| {
                count == 0 || count == capped(spec.transport, spec.declared(workload).unwrap_or(count))
            })
        };
        Workload::ALL.into_iter().all(is_right).then_some(state)
    }

    /// The reconciler when it has started.
    fn started(&mut self, state: &State) -> Reconciler {
        Reconciler {
            is_queued: true,
            timer: Timer::None,
            has_events: [false; 3],
            cached: self.answers.real.cached(state.deployment, state.statefulset),
            work: None,
            writes: [Writes::default(); 4],
            cause: Cause::Unknown,
            pending: PendingReset::None,
        }
    }

    /// Carries out a write, after the policy's answer. Returns whether it was accepted.
    fn write(&mut self, state: &mut State, user: User, write: Write, how: How) -> bool {
        let answer = if self.scenario.policy {
            self.answers.admit(user, write, &state.server, how == How::LookupFails)
        } else {
            Some(write)
        };
        match answer {
            None => return false,
            Some(Write::Deployment { new, .. }) => self.set_deployment(state, new),
            Some(Write::StatefulSet { new, .. }) => state.set_statefulset(new),
            Some(Write::Scale { workload: Workload::Deployment, to, .. }) => {
                if let Some(deployment) = state.deployment {
                    self.set_deployment(state, Deployment { replicas: to, ..deployment });
                }
            }
            Some(Write::Scale { workload: Workload::StatefulSet, to, .. }) => {
                if let Some(statefulset) = state.statefulset {
                    let is_count_applied = statefulset.is_count_applied && to == statefulset.replicas;
                    state.set_statefulset(StatefulSet { replicas: to, is_count_applied, ..statefulset });
                }
            }
            Some(Write::Server { new, .. }) => {
                if state.server.spec != new {
                    state.server.spec = new;
                    state.server.generation += 1;
                    state.server_changed();
                }
            }
        }
        true
    }

    fn set_deployment(&self, state: &mut State, new: Deployment) {
        let had_pods = state.deployment.is_some_and(|old| old.replicas > 0 || old.has_ending_pods);
        let has_ending_pods = self.scenario.couple_zero && new.replicas == 0 && had_pods;
        state.set_deployment(Deployment { has_ending_pods, ..new });
    }

    /// All steps that are possible in a state. A step that changes nothing is left out.
    pub fn transitions(&mut self, state: &State) -> Vec<Transition> {
        let mut steps = Vec::new();
        self.people(state, &mut steps);
        self.autoscaler(state, &mut steps);
        self.operator(state, &mut steps);
        self.proxy_runner(state, &mut steps);
        if let Some(deployment) = state.deployment.filter(|deployment| deployment.has_ending_pods) {
            let mut to = *state;
            to.set_deployment(Deployment { has_ending_pods: false, ..deployment });
            steps.push(Transition { step: Step::ProxiesEnd, how: How::Plain, to });
        }
        self.reconciler(state, &mut steps);
        steps.retain(|transition| transition.to != *state);
        steps
    }

    fn people(&mut self, state: &State, steps: &mut Vec<Transition>) {
        if state.people == 0 {
            return;
        }
        let spec = state.server.spec;
        let mut edits = Vec::new();
        for transport in [Transport::Stdio, Transport::StreamableHttp] {
            if transport != spec.transport {
                edits.push((Edit::Transport(transport), Spec { transport, ..spec }));
            }
        }
        for replicas in self.declared_counts(Workload::Deployment) {
            if self.scenario.scope.has(Workload::Deployment) && replicas != spec.replicas {
                edits.push((Edit::Declared(Workload::Deployment, replicas), Spec { replicas, ..spec }));
            }
        }
        for backend_replicas in self.declared_counts(Workload::StatefulSet) {
            if self.scenario.scope.has(Workload::StatefulSet) && backend_replicas != spec.backend_replicas {
                let edit = Edit::Declared(Workload::StatefulSet, backend_replicas);
                edits.push((edit, Spec { backend_replicas, ..spec }));
            }
        }
        for storage in self.storages() {
            if storage != spec.storage {
                edits.push((Edit::Storage(storage), Spec { storage, ..spec }));
            }
        }
        if spec.image == 0 {
            edits.push((Edit::Image, Spec { image: 1, ..spec }));
        }
        for (edit, new) in edits {
            let mut to = State { people: state.people - 1, ..*state };
            if self.write(&mut to, User::Person, Write::Server { old: spec, new }, How::Plain) {
                for workload in Workload::ALL {
                    let chosen = state.chosen_count(workload).map_or(0, only);
                    let counts = [spec, new].into_iter().filter_map(|spec| {
                        let declared = spec.declared(workload)?;
                        Some(only(declared) | only(capped(spec.transport, declared)))
                    });
                    let declared = counts.fold(0, |all, counts| all | counts);
                    let choices = to.choices_mut(workload);
                    if declared > 0 {
                        *choices |= declared | chosen;
                    }
                    if new.transport == Transport::Stdio && *choices > 0b11 {
                        *choices |= only(1);
                    }
                }
            }
            steps.push(Transition { step: Step::Edit(edit), how: How::Plain, to });
        }
        for workload in Workload::ALL {
            let Some(from) = state.count(workload) else { continue };
            let counts = self.scenario.scope.counts_of(workload, self.scenario.counts);
            // A person who asks for the count that is there asks for nothing.
            for count in counts.iter().copied().filter(|count| *count != from) {
                let to = State { people: state.people - 1, ..*state };
                let step = Step::Scale(workload, count);
                self.scale(to, User::Person, workload, from, count, step, steps);
            }
        }
    }

    /// A person or an autoscaler scales a workload.
    #[allow(clippy::too_many_arguments, reason = "one call for two callers")]
    fn scale(
        &mut self,
        from_state: State,
        user: User,
        workload: Workload,
        from: Count,
        count: Count,
        step: Step,
        steps: &mut Vec<Transition>,
    ) {
        let ways: &[How] =
            if self.scenario.policy && from_state.faults > 0 { &[How::Plain, How::LookupFails] } else { &[How::Plain] };
        for how in ways.iter().copied() {
            let mut to = from_state;
            to.faults -= u8::from(how != How::Plain);
            let is_written = self.write(&mut to, user, Write::Scale { workload, from, to: count }, how);
            // Who asks for the count that is there, or is capped to it, asks for nothing. It may be there for a moment only, in
            // the middle of a reset.
            let spec = to.server.spec;
            let wanted = capped(spec.transport, count);
            let stored = to.count(workload);
            // A backend at 0 gets the count back that its annotation keeps, whoever scaled it to 0.
            let preserved = to.statefulset.and_then(|statefulset| statefulset.preserved);
            let restored = preserved.filter(|_| workload == Workload::StatefulSet && count == 0);
            let choices = to.choices_mut(workload);
            if is_written && wanted == from && stored == Some(from) {
                *choices |= only(from);
            } else if is_written {
                *choices = if spec.declared(workload).is_some() { *choices } else { 0 } | only(wanted);
                *choices |= restored.map_or(0, |count| only(capped(spec.transport, count)) | only(count));
                // Nobody caps it if there is no policy, or if the policy does not know the transport.
                let is_uncapped = !self.scenario.policy || how == How::LookupFails;
                if is_uncapped && stored == Some(count) {
                    *choices |= only(count);
                }
                let cached = self.answers.real.cached(to.deployment, None);
                if let Some(before_reset) =
                    cached.before_reset.filter(|_| workload == Workload::Deployment && wanted == 1)
                {
                    to.deployment_choices |= only(capped(spec.transport, before_reset));
                }
            }
            steps.push(Transition { step, how, to });
        }
    }

    fn autoscaler(&mut self, state: &State, steps: &mut Vec<Transition>) {
        let Some(count) = self.scenario.autoscaler else { return };
        // A HorizontalPodAutoscaler leaves a workload that was scaled to zero.
        let Some(from) = state.count(Workload::Deployment).filter(|from| *from != count && *from > 0) else { return };
        self.scale(*state, User::Autoscaler, Workload::Deployment, from, count, Step::Autoscale(count), steps);
    }

    fn operator(&mut self, state: &State, steps: &mut Vec<Transition>) {
        let Operator { is_up, release, spec, generation } = state.operator;
        let fresh = Operator { is_up: true, release, spec: state.server.spec, generation: state.server.generation };
        let mut push = |step, to| steps.push(Transition { step, how: How::Plain, to });
        if !is_up {
            push(Step::OperatorStarts, State { operator: fresh, ..*state });
            return;
        }
        if generation != state.server.generation {
            push(Step::OperatorSees, State { operator: fresh, ..*state });
        }
        if state.faults > 0 {
            let faults = state.faults - 1;
            let operator = Operator { is_up: false, ..fresh };
            push(Step::OperatorStops, State { operator, faults, ..*state });
            // The policy learns what an operator before v0.10.1 has rolled out from the operator's writes, and these go on for
            // ever. An upgrade before the first one is left out.
            let is_recorded = state.deployment.is_none_or(|deployment| deployment.rolled_out != 0);
            if release == 0 && (is_recorded || self.scenario.era != Era::Resets) {
                push(Step::OperatorUpgrades, State { operator: Operator { release: 1, ..fresh }, faults, ..*state });
            }
        }
        if generation != state.server.generation && !self.scenario.stale_operator {
            return;
        }
        // The write has the resource version of the cache, so that it succeeds only if the cache is current.
        if self.scenario.era == Era::Declares && generation == state.server.generation {
            let mut to = *state;
            let [stdio, storage] = spec.toolhive_conditions(generation).map(Some);
            to.set_conditions([stdio, storage, state.server.conditions[2]]);
            push(Step::OperatorConditions, to);
        }
        let template = Template {
            backend_replicas: spec.backend_replicas.filter(|_| self.can_declare()),
            ..spec.template(release)
        };
        let declared = spec.replicas.map(|count| capped(spec.transport, count));
        let Some(old) = state.deployment else {
            let replicas = declared.filter(|_| self.can_declare()).unwrap_or(1);
            let new = Deployment { replicas, template, rolled_out: 0, has_ending_pods: false };
            self.operator_writes(state, Step::OperatorCreates, None, new, steps);
            return;
        };
        let resets = match self.scenario.era {
            Era::Resets => old.replicas != 1,
            Era::CapsStdio | Era::Declares => spec.transport == Transport::Stdio && old.replicas > 1,
        };
        if resets {
            self.operator_writes(state, Step::OperatorResets, Some(old), Deployment { replicas: 1, ..old }, steps);
            return;
        }
        let replicas = match self.scenario.era {
            // Such an operator writes the whole spec again and again, since it never finds the annotations as it wants them.
            Era::Resets => 1,
            Era::CapsStdio => old.replicas,
            Era::Declares => declared.unwrap_or(old.replicas),
        };
        let new = Deployment { replicas, template, ..old };
        if new != old || self.scenario.era == Era::Resets {
            self.operator_writes(state, Step::OperatorUpdates, Some(old), new, steps);
        }
    }

    fn operator_writes(
        &mut self,
        state: &State,
        step: Step,
        old: Option<Deployment>,
        new: Deployment,
        steps: &mut Vec<Transition>,
    ) {
        let user = User::Operator(state.operator.release);
        for how in self.ways(state) {
            let mut to = State { faults: state.faults - u8::from(how != How::Plain), ..*state };
            self.write(&mut to, user, Write::Deployment { old, new }, how);
            to.accept_unchecked(Workload::Deployment, how);
            // The count that is owed since an earlier reset comes back then.
            let owed = self.answers.real.cached(to.deployment, None).before_reset;
            if let Some(count) = owed.filter(|_| how == How::LookupFails) {
                to.deployment_choices |= only(count);
            }
            steps.push(Transition { step, how, to });
        }
    }

    fn ways(&self, state: &State) -> Vec<How> {
        if self.scenario.policy && state.faults > 0 { vec![How::Plain, How::LookupFails] } else { vec![How::Plain] }
    }

    fn proxy_runner(&mut self, state: &State, steps: &mut Vec<Transition>) {
        let Some(deployment) = state.deployment.filter(|deployment| deployment.replicas > 0) else { return };
        if !state.is_runner_due {
            if state.faults > 0 {
                let to = State { is_runner_due: true, faults: state.faults - 1, ..*state };
                steps.push(Transition { step: Step::RunnerRestarts, how: How::Plain, to });
            }
            return;
        }
        let Template { image, transport, backend_replicas, .. } = deployment.template;
        let old = state.statefulset;
        let applied = match self.scenario.era {
            Era::Resets | Era::CapsStdio => Some(1),
            Era::Declares => backend_replicas,
        };
        // Server-side apply: a count that the runner no longer sends is removed, and the API server's default is 1.
        let replicas = applied.unwrap_or_else(|| old.filter(|old| !old.is_count_applied).map_or(1, |old| old.replicas));
        let preserved = old.and_then(|old| old.preserved);
        let new = StatefulSet { replicas, image, transport, is_count_applied: applied.is_some(), preserved };
        for how in self.ways(state) {
            let faults = state.faults - u8::from(how != How::Plain);
            let mut to = State { is_runner_due: false, faults, ..*state };
            self.write(&mut to, User::ProxyRunner, Write::StatefulSet { old, new }, how);
            to.accept_unchecked(Workload::StatefulSet, how);
            to.accept_cap_by_label();
            steps.push(Transition { step: Step::RunnerApplies, how, to });
        }
    }

    fn reconciler(&mut self, state: &State, steps: &mut Vec<Transition>) {
        let Some(reconciler) = state.reconciler else { return };
        let mut push = |step, reconciler| {
            steps.push(Transition { step, how: How::Plain, to: State { reconciler: Some(reconciler), ..*state } });
        };
        let seen = |index: usize| {
            let mut has_events = reconciler.has_events;
            has_events[index] = false;
            Reconciler { has_events, is_queued: true, ..reconciler }
        };
        if reconciler.has_events[SERVER] {
            push(Step::ReconcilerSeesServer, seen(SERVER));
        }
        let cached = self.answers.real.cached(state.deployment, state.statefulset);
        let CachedWorkloads { deployment, statefulset, before_reset, has_ending_proxies, preserved } = cached;
        let of_deployment = CachedWorkloads { deployment, before_reset, has_ending_proxies, ..reconciler.cached };
        let of_statefulset = CachedWorkloads { statefulset, preserved, ..reconciler.cached };
        for (workload, cached) in [(Workload::Deployment, of_deployment), (Workload::StatefulSet, of_statefulset)] {
            if reconciler.has_events[workload as usize] {
                push(Step::ReconcilerSees(workload), Reconciler { cached, ..seen(workload as usize) });
            }
        }
        // What time does.
        let backoffs = [
            Step::BackoffOver(Workload::Deployment),
            Step::BackoffOver(Workload::StatefulSet),
            Step::ConditionsBackoffOver,
            Step::ToZeroBackoffOver,
        ];
        for (index, step) in backoffs.into_iter().enumerate() {
            let writes = reconciler.writes[index];
            if writes.count == WRITES_WITHOUT_DELAY && !writes.is_delay_over {
                let mut after = reconciler.woken_by(Timer::Backoff);
                after.writes[index].is_delay_over = true;
                push(step, after);
            }
        }
        if reconciler.cause == Cause::Gone {
            let after = Reconciler { cause: Cause::WindowOver, ..reconciler.woken_by(Timer::Window) };
            push(Step::WindowOver, after);
        }
        // In the ten seconds that the operator has, the events arrive.
        let has_event = reconciler.has_events[Workload::Deployment as usize];
        if reconciler.pending == PendingReset::Waiting && !has_event {
            let after = Reconciler { pending: PendingReset::Overdue, ..reconciler.woken_by(Timer::Window) };
            push(Step::OperatorTimeOver, after);
        }
        match reconciler.work {
            None if reconciler.is_queued => self.begin_reconcile(state, reconciler, steps),
            None => {}
            Some(work) => self.continue_reconcile(state, reconciler, work, steps),
        }
        if state.faults > 0 {
            let to = State { reconciler: Some(self.started(state)), faults: state.faults - 1, ..*state };
            steps.push(Transition { step: Step::ReconcilerCrashes, how: How::Plain, to });
            // In one step with the fault, so that there are fewer states.
            let mut to = State { faults: state.faults - 1, ..*state };
            to.set_conditions([None; 3]);
            steps.push(Transition { step: Step::ConditionsLost, how: How::Plain, to });
        }
    }

    /// The workloads for a plan: a reset counts only once the operator's time is over.
    fn inputs(&self, reconciler: &mut Reconciler) -> CachedWorkloads {
        let is_pending = reconciler.cached.before_reset.is_some();
        let (pending, is_overdue) = self.answers.real.observe_reset(reconciler.pending, is_pending);
        reconciler.pending = pending;
        CachedWorkloads { before_reset: reconciler.cached.before_reset.filter(|_| is_overdue), ..reconciler.cached }
    }

    fn begin_reconcile(&mut self, state: &State, mut reconciler: Reconciler, steps: &mut Vec<Transition>) {
        reconciler.is_queued = false;
        reconciler.timer = Timer::None;
        let server = state.server;
        let cached = self.inputs(&mut reconciler);
        let has_cause = self.answers.has_cause(server.spec, cached);
        let is_warning_set = server.conditions[2].is_some_and(|condition| condition.status == ConditionStatus::True);
        let (cause, keep) = self.answers.real.observe_cause(reconciler.cause, has_cause, is_warning_set);
        reconciler.cause = cause;
        let plan = self.answers.plan(&server, cached, keep);
        if plan.is_empty() {
            reconciler.timer = reconciler.next_timer();
        } else {
            reconciler.work = Some(Work {
                spec: server.spec,
                generation: server.generation,
                is_server_current: true,
                deployment: plan.deployment.is_some(),
                statefulset: plan.statefulset.is_some(),
                coupling: plan.coupling.map(CouplingWork::Planned),
                conditions: plan.conditions,
                scale: None,
                has_failed: false,
                is_delayed: false,
            });
        }
        let to = State { reconciler: Some(reconciler), ..*state };
        steps.push(Transition { step: Step::ReconcilerPlans, how: How::Plain, to });
    }

    fn continue_reconcile(&mut self, state: &State, reconciler: Reconciler, work: Work, steps: &mut Vec<Transition>) {
        if let Some(coupling) = work.coupling {
            self.reconciler_couples(state, reconciler, work, coupling, steps);
        } else if let Some(scale) = work.scale {
            self.reconciler_scales(state, reconciler, work, scale, steps);
        } else if work.deployment {
            self.reconciler_reads_scale(state, reconciler, work, Workload::Deployment, steps);
        } else if work.statefulset {
            self.reconciler_reads_scale(state, reconciler, work, Workload::StatefulSet, steps);
        } else if let Some(desired) = work.conditions {
            self.reconciler_writes_conditions(state, reconciler, work, desired, steps);
        } else {
            let mut reconciler = Reconciler { work: None, ..reconciler };
            if work.has_failed {
                reconciler.is_queued = true;
            } else if work.is_delayed {
                let waits = |writes: &Writes| writes.count == WRITES_WITHOUT_DELAY && !writes.is_delay_over;
                if reconciler.writes.iter().any(waits) {
                    reconciler.timer = Timer::Backoff;
                } else {
                    reconciler.is_queued = true;
                }
            } else {
                reconciler.timer = reconciler.next_timer();
            }
            let to = State { reconciler: Some(reconciler), ..*state };
            steps.push(Transition { step: Step::ReconcilerEnds, how: How::Plain, to });
        }
    }

    fn reconciler_couples(
        &mut self,
        state: &State,
        mut reconciler: Reconciler,
        mut work: Work,
        coupling: CouplingWork,
        steps: &mut Vec<Transition>,
    ) {
        let step = match coupling {
            CouplingWork::Planned(write) => {
                let target = match write {
                    Coupling::ScaleToZero => Some(TO_ZERO),
                    Coupling::ScaleUp(_) => Some(Workload::StatefulSet as usize),
                    Coupling::PreserveCount(_) | Coupling::ForgetCount => None,
                };
                if target.is_some_and(|target| !self.answers.is_due(reconciler.writes[target], work.generation)) {
                    work.coupling = None;
                    work.is_delayed = true;
                } else {
                    work.coupling = state.count(Workload::Deployment).map(CouplingWork::ReadProxies);
                }
                Step::ReconcilerReadsProxies
            }
            CouplingWork::ReadProxies(proxies) => {
                // As with a Scale, it reads the server once more afterwards.
                let is_spec_current = work.generation == state.server.generation
                    || self.scenario.mutant == Some(Mutant::CouplesByAnOldSpec);
                let backend = state.statefulset.filter(|_| is_spec_current);
                let cached = reconciler.cached;
                work.coupling = backend.and_then(|StatefulSet { replicas, preserved, .. }| {
                    let read = ReadWorkloads { proxies, backend: replicas, preserved };
                    let write = self.answers.coupling(work.spec, cached, read)?;
                    Some(CouplingWork::Decided { write, is_current: true })
                });
                Step::ReconcilerReadsBackend
            }
            CouplingWork::Decided { write, is_current } => {
                return self.reconciler_writes_coupling(state, reconciler, work, write, is_current, steps);
            }
        };
        reconciler.work = Some(work);
        let to = State { reconciler: Some(reconciler), ..*state };
        steps.push(Transition { step, how: How::Plain, to });
    }

    fn reconciler_writes_coupling(
        &mut self,
        state: &State,
        reconciler: Reconciler,
        work: Work,
        coupling: Coupling,
        is_current: bool,
        steps: &mut Vec<Transition>,
    ) {
        let is_current = is_current || self.scenario.mutant == Some(Mutant::CouplesUnguarded);
        let workload = Workload::StatefulSet;
        for how in self.ways_of_the_reconcilers_write(state) {
            if !is_current && how != How::Plain {
                continue;
            }
            let mut to = State { faults: state.faults - u8::from(how != How::Plain), ..*state };
            let old = state.statefulset.filter(|_| is_current && how != How::CallFails);
            let write = old.map(|old| {
                let annotated =
                    |preserved| Write::StatefulSet { old: Some(old), new: StatefulSet { preserved, ..old } };
                let scaled = |to| Write::Scale { workload, from: old.replicas, to };
                match coupling {
                    Coupling::PreserveCount(count) => annotated(Some(count)),
                    Coupling::ForgetCount => annotated(None),
                    Coupling::ScaleToZero => scaled(0),
                    Coupling::ScaleUp(count) => scaled(count),
                }
            });
            let is_written = write.is_some_and(|write| self.write(&mut to, User::Reconciler, write, how));
            if is_written && matches!(coupling, Coupling::PreserveCount(_) | Coupling::ForgetCount) {
                to.accept_cap_by_label();
            }
            let mut reconciler = to.reconciler.unwrap_or(reconciler);
            let mut work = Work { coupling: None, ..work };
            if is_written && matches!(how, How::Plain | How::LookupFails) {
                let writes = &mut reconciler.writes[TO_ZERO];
                match coupling {
                    Coupling::ScaleToZero => *writes = self.answers.real.record_write(*writes, work.generation),
                    Coupling::ScaleUp(_) => *writes = Writes::default(),
                    Coupling::PreserveCount(_) | Coupling::ForgetCount => {}
                }
                // The count is preserved by a write of its own, which a crash may prevent.
                if let (Some(Mutant::CountPreservedAfterScaling), Coupling::ScaleToZero, Some(old)) =
                    (self.scenario.mutant, coupling, old)
                {
                    let write = Coupling::PreserveCount(old.replicas);
                    work.coupling = Some(CouplingWork::Decided { write, is_current: true });
                }
            } else {
                work.has_failed = true;
            }
            reconciler.work = Some(work);
            to.reconciler = Some(reconciler);
            let step = if is_current { Step::ReconcilerCouples(coupling) } else { Step::ReconcilerConflict };
            let how = if is_current && !is_written { How::CallFails } else { how };
            steps.push(Transition { step, how, to });
        }
    }

    fn reconciler_reads_scale(
        &mut self,
        state: &State,
        mut reconciler: Reconciler,
        mut work: Work,
        workload: Workload,
        steps: &mut Vec<Transition>,
    ) {
        match workload {
            Workload::Deployment => work.deployment = false,
            Workload::StatefulSet => work.statefulset = false,
        }
        if self.answers.is_due(reconciler.writes[workload as usize], work.generation) {
            let mut cached = self.inputs(&mut reconciler);
            if reconciler.has_events[Workload::Deployment as usize] {
                cached.before_reset = None;
            }
            let read = state.count(workload);
            match workload {
                Workload::Deployment => cached.deployment = read,
                Workload::StatefulSet => cached.statefulset = read,
            }
            // After the Scale it reads the server once more, and stops if the spec has changed. That both are one step here
            // allows more: the spec may change between them.
            let is_spec_current = work.generation == state.server.generation
                || self.scenario.mutant == Some(Mutant::DoesNotReadTheSpecAgain);
            let read = read.filter(|_| is_spec_current);
            let to = read.and_then(|_| self.answers.correction(workload, work.spec, cached));
            work.scale = to.map(|to| ReadScale { workload, to, is_current: true });
        } else {
            work.is_delayed = true;
        }
        reconciler.work = Some(work);
        let to = State { reconciler: Some(reconciler), ..*state };
        steps.push(Transition { step: Step::ReconcilerReadsScale(workload), how: How::Plain, to });
    }

    fn reconciler_scales(
        &mut self,
        state: &State,
        reconciler: Reconciler,
        work: Work,
        scale: ReadScale,
        steps: &mut Vec<Transition>,
    ) {
        let step = Step::ReconcilerScales(scale.workload, scale.to);
        for how in self.ways_of_the_reconcilers_write(state) {
            let mut to = State { faults: state.faults - u8::from(how != How::Plain), ..*state };
            let is_current = scale.is_current || self.scenario.mutant == Some(Mutant::WritesScalesUnguarded);
            let from = state.count(scale.workload).filter(|_| is_current && how != How::CallFails);
            let write = from.map(|from| Write::Scale { workload: scale.workload, from, to: scale.to });
            let is_written = write.is_some_and(|write| self.write(&mut to, User::Reconciler, write, how));
            let mut reconciler = to.reconciler.unwrap_or(reconciler);
            let mut work = Work { scale: None, ..work };
            if is_written && matches!(how, How::Plain | How::LookupFails) {
                let writes = &mut reconciler.writes[scale.workload as usize];
                *writes = self.answers.real.record_write(*writes, work.generation);
            } else {
                work.has_failed = true;
            }
            let how = if is_written { how } else { How::CallFails };
            reconciler.work = Some(work);
            to.reconciler = Some(reconciler);
            let is_conflict = !is_current;
            let step = if is_conflict { Step::ReconcilerConflict } else { step };
            let how = if is_conflict { How::Plain } else { how };
            steps.push(Transition { step, how, to });
        }
    }

    fn reconciler_writes_conditions(
        &mut self,
        state: &State,
        reconciler: Reconciler,
        work: Work,
        desired: Desired,
        steps: &mut Vec<Transition>,
    ) {
        let writes = reconciler.writes[CONDITIONS];
        if !self.answers.is_due(writes, work.generation) {
            let work = Work { conditions: None, is_delayed: true, ..work };
            let to = State { reconciler: Some(Reconciler { work: Some(work), ..reconciler }), ..*state };
            steps.push(Transition { step: Step::ReconcilerConditionsWait, how: How::Plain, to });
            return;
        }
        if !work.is_server_current {
            let work = Work { conditions: None, has_failed: true, ..work };
            let to = State { reconciler: Some(Reconciler { work: Some(work), ..reconciler }), ..*state };
            steps.push(Transition { step: Step::ReconcilerConflict, how: How::Plain, to });
            return;
        }
        for how in self.ways_of_the_reconcilers_write(state) {
            if how == How::LookupFails {
                continue;
            }
            let mut to = State { faults: state.faults - u8::from(how != How::Plain), ..*state };
            if how != How::CallFails {
                to.set_conditions(self.answers.real.write_conditions(&state.server, desired));
            }
            let mut reconciler = to.reconciler.unwrap_or(reconciler);
            let mut work = Work { conditions: None, ..work };
            if how == How::Plain {
                reconciler.writes[CONDITIONS] = self.answers.real.record_write(writes, work.generation);
            } else {
                work.has_failed = true;
            }
            reconciler.work = Some(work);
            to.reconciler = Some(reconciler);
            steps.push(Transition { step: Step::ReconcilerConditions, how, to });
        }
    }

    fn ways_of_the_reconcilers_write(&self, state: &State) -> Vec<How> {
        let mut ways = self.ways(state);
        if state.faults > 0 {
            ways.extend([How::AnswerLost, How::CallFails]);
        }
        ways
    }
}

impl Reconciler {
    fn woken_by(self, timer: Timer) -> Self {
        if self.timer == timer { Self { is_queued: true, timer: Timer::None, ..self } } else { self }
    }

    fn next_timer(&self) -> Timer {
        if self.cause == Cause::Gone || self.pending == PendingReset::Waiting { Timer::Window } else { Timer::None }
    }
}
