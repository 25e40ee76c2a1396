//! The states of one server and of everybody who writes to it, and the steps between them.
//!
//! Anybody may be slow: each cache holds an old object until its event arrives, and between any two calls of the reconciler
//! everything else may happen. Time is not counted: a delay is over or not, and it may end at any moment. What is left out:
//! - A cache that is behind sees the present state next, and not one of those between.
//! - The events of a Deployment arrive within the ten seconds that an operator has to give a count back.
//! - An operator before v0.10.1 that acts on an old server ([`Scenario::stale_operator`]): see the test about it.
//! - A person who scales a Deployment to 1 while an operator before v0.10.1 owes it another count is not told from the
//!   operator's reset.
//! - An upgrade of such an operator before it has written to a Deployment once since the policy is there.
//! - The time that proxies have to end on Kubernetes before v1.35. They end with an event of the Deployment, as on newer ones.
//! - A person who scales a backend to 0 while its annotation is there is not told from the reconciler, which then gives it the
//!   count in the annotation. The annotation is left for about a second after the backend was scaled up.
//! - Proxies that were scaled up and to 0 again between two events of the Deployment: nothing that the reconciler reads tells
//!   that they are ending.
//! - The reconciler's question whether the spec has changed, an event that it publishes and its wait for a turn take no time.
//!
//! Optimistic concurrency is exact without numbers: whoever holds an object that it will write holds one bit beside it, which
//! says whether the object is still the one that it read. A write from a stale object is refused and changes nothing.

use std::hash::BuildHasher;

use mcp_scaling_rules::{
    Condition as DesiredCondition, ConditionReason, ConditionStatus, ConditionType, SessionStorage, Transport, Workload,
};
use mcpserver_scaling_reconciler::decide::machine::{Call, Write as RealWrite};
use rustc_hash::FxBuildHasher;

use crate::answers::Answers;
use crate::decisions::{Answer, CachedWorkloads, Coupling, Write};
use crate::mutant::Mutant;
use crate::objects::{
    Condition, Conditions, Count, Deployment, OnlyAlpha, Server, Spec, StatefulSet, Template, User, capped,
};
use crate::reconciler::{Delay, Reconcilers};

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

/// The index of the server in [`Reconciler::has_events`] and [`Reconciler::is_current`], after those of the workloads.
const SERVER: usize = 2;

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The operator's and the proxy runner's behaviour.
    pub era: Era,
    /// Says whether the policy is installed, with its default settings.
    pub policy: bool,
    /// How many reconcilers run, at most two.
    pub reconcilers: usize,
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

/// A reconciler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reconciler {
    /// Says whether the server is in the queue.
    pub is_queued: bool,
    /// The number of its [mind](crate::reconciler::Mind).
    pub mind: u32,
    /// Says whether events are under way to the reconciler: of the Deployment, of the StatefulSet, and of the server. Several events
    /// of one object arrive together, which shows the reconciler fewer states between them; that they were there it knows.
    pub has_events: [bool; 3],
    /// Says whether the objects that it has read and will write are still the ones that it read, in the same order.
    pub is_current: [bool; 3],
    /// The server in its cache.
    pub server: Server,
    /// The workloads in its cache.
    pub cached: CachedWorkloads,
    /// The count of the Deployment that it has read to couple the backend. The machine has what a fault makes of it.
    pub proxies: Option<Count>,
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
    /// The reconcilers, in any order.
    pub reconcilers: [Option<Reconciler>; 2],
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
    /// The reconciler with this index does something.
    Reconciler(usize, Act),
}

/// What a reconciler does, and what time does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Its cache of the server is brought up to date.
    SeesServer,
    /// Its cache of a workload is brought up to date.
    Sees(Workload),
    /// It plans on its cache.
    Begins,
    /// It reads the server and plans.
    ReadsServer,
    /// It reads a Scale.
    ReadsScale(Workload),
    /// It reads the StatefulSet, and decides how to couple it to its proxies.
    ReadsBackend(Option<Coupling>),
    /// It sets a count.
    Scales(Workload, Count),
    /// It makes a write that couples the backend to its proxies.
    Couples(Coupling),
    /// It writes conditions.
    WritesConditions,
    /// Its write comes too late: the object has changed since it was read.
    Conflicts,
    /// It crashes and starts again.
    Crashes,
    /// Time passes: a delay is over.
    DelayEnds(Delay),
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
            ConditionsLost, Edit, OperatorStarts, OperatorStops, OperatorUpgrades, Reconciler, RunnerRestarts, Scale,
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
                    | Reconciler(_, Act::Crashes)
                    | RunnerRestarts
            )
    }

    /// Returns whether the reconciler writes.
    pub fn is_reconcilers_write(&self) -> bool {
        use Act::{Couples, Scales, WritesConditions};
        self.how != How::CallFails
            && matches!(self.step, Step::Reconciler(_, Scales(..) | Couples(_) | WritesConditions))
    }

    /// Returns whether time passes.
    pub fn is_time(&self) -> bool {
        matches!(self.step, Step::ProxiesEnd | Step::Reconciler(_, Act::DelayEnds(_)))
    }
}

/// A scenario, and the answers in it.
pub struct Model {
    /// The scenario.
    pub scenario: Scenario,
    /// The answers of the policy in it.
    pub answers: Answers,
    /// What the reconcilers make of answers in it.
    pub reconcilers: Reconcilers,
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
    /// The same with another state of one reconciler.
    fn with(mut self, index: usize, reconciler: Reconciler) -> Self {
        self.reconcilers[index] = Some(reconciler);
        self
    }

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

    /// After a write to an object. A reconcile that is under way holds an old one then, and an event is under way.
    fn changed(&mut self, object: usize) {
        for reconciler in self.reconcilers.iter_mut().flatten() {
            reconciler.has_events[object] = true;
            reconciler.is_current[object] = false;
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
        self.changed(Workload::Deployment as usize);
    }

    fn set_statefulset(&mut self, new: StatefulSet) {
        if self.statefulset != Some(new) {
            self.statefulset = Some(new);
            self.changed(Workload::StatefulSet as usize);
        }
    }

    fn set_conditions(&mut self, conditions: Conditions) {
        if self.server.conditions != conditions {
            self.server.conditions = conditions;
            self.changed(SERVER);
        }
    }
}

impl Model {
    /// The model of a scenario.
    pub fn new(scenario: Scenario) -> Self {
        // ToolHive serves v1beta1 since v0.23. Before v0.13 there are no counts to declare.
        let api = OnlyAlpha(scenario.era != Era::Declares);
        let Scenario { default_storage, couple_zero, mutant, .. } = scenario;
        Self {
            scenario,
            answers: Answers::new(api, default_storage, mutant),
            reconcilers: Reconcilers::new(api, default_storage, couple_zero, mutant),
        }
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
            reconcilers: [None; 2],
            deployment_choices: choices(Workload::Deployment, counts.map(|(deployment, ..)| deployment)),
            statefulset_choices: choices(Workload::StatefulSet, backend),
            people: self.scenario.people,
            faults: self.scenario.faults,
        };
        if self.scenario.reconcilers > 0 {
            let started = self.started(&state);
            state.reconcilers = [Some(started), Some(started).filter(|_| self.scenario.reconcilers > 1)];
            return Some(state);
        }
        let is_right = |workload: Workload| {
            state.count(workload).is_none_or(|count| {
                count == 0 || count == capped(spec.transport, spec.declared(workload).unwrap_or(count))
            })
        };
        Workload::ALL.into_iter().all(is_right).then_some(state)
    }

    /// A reconciler when it has started.
    fn started(&mut self, state: &State) -> Reconciler {
        Reconciler {
            is_queued: true,
            mind: 0,
            has_events: [false; 3],
            is_current: [true; 3],
            server: state.server,
            cached: self.answers.real.cached(state.deployment, state.statefulset),
            proxies: None,
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
                    state.changed(SERVER);
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
        for index in 0..self.scenario.reconcilers {
            self.reconciler(state, index, &mut steps);
        }
        if self.scenario.reconcilers > 0 && state.faults > 0 {
            // In one step with the fault, so that there are fewer states.
            let mut to = State { faults: state.faults - 1, ..*state };
            to.set_conditions([None; 3]);
            steps.push(Transition { step: Step::ConditionsLost, how: How::Plain, to });
        }
        for transition in &mut steps {
            self.forget_what_does_not_matter(&mut transition.to);
        }
        steps.retain(|transition| transition.to != *state);
        steps
    }

    /// It does not matter whether an object has changed that no reconcile will write, nor which reconciler is which.
    fn forget_what_does_not_matter(&self, state: &mut State) {
        for reconciler in state.reconcilers.iter_mut().flatten() {
            let call = self.reconcilers.call(reconciler.mind);
            let guarded = self.reconcilers.guarded(reconciler.mind);
            for workload in Workload::ALL {
                reconciler.is_current[workload as usize] |= guarded != Some(workload);
            }
            reconciler.is_current[SERVER] |= matches!(call, None | Some(Call::ReadServer));
        }
        let hash = |reconciler: &Option<Reconciler>| FxBuildHasher.hash_one(reconciler);
        if let [one, Some(_)] = &state.reconcilers
            && hash(one) > hash(&state.reconcilers[1])
        {
            state.reconcilers.swap(0, 1);
        }
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

    fn reconciler(&mut self, state: &State, index: usize, steps: &mut Vec<Transition>) {
        let Some(reconciler) = state.reconcilers[index] else { return };
        let mut push = |act, reconciler| {
            let to = state.with(index, reconciler);
            steps.push(Transition { step: Step::Reconciler(index, act), how: How::Plain, to });
        };
        let seen = |object: usize| {
            let mut has_events = reconciler.has_events;
            has_events[object] = false;
            Reconciler { has_events, is_queued: true, ..reconciler }
        };
        if reconciler.has_events[SERVER] {
            push(Act::SeesServer, Reconciler { server: state.server, ..seen(SERVER) });
        }
        let cached = self.answers.real.cached(state.deployment, state.statefulset);
        let CachedWorkloads { deployment, statefulset, before_reset, has_ending_proxies, preserved } = cached;
        let of_deployment = CachedWorkloads { deployment, before_reset, has_ending_proxies, ..reconciler.cached };
        let of_statefulset = CachedWorkloads { statefulset, preserved, ..reconciler.cached };
        for (workload, cached) in [(Workload::Deployment, of_deployment), (Workload::StatefulSet, of_statefulset)] {
            if reconciler.has_events[workload as usize] {
                push(Act::Sees(workload), Reconciler { cached, ..seen(workload as usize) });
            }
        }
        // In the ten seconds that the operator has, the events arrive.
        let has_event = reconciler.has_events[Workload::Deployment as usize];
        for delay in self.reconcilers.delays(reconciler.mind).to_vec() {
            if delay != Delay::PendingReset || !has_event {
                let (mind, is_woken) = self.reconcilers.after(reconciler.mind, delay);
                push(
                    Act::DelayEnds(delay),
                    Reconciler { mind, is_queued: reconciler.is_queued || is_woken, ..reconciler },
                );
            }
        }
        match self.reconcilers.call(reconciler.mind).cloned() {
            None if reconciler.is_queued => {
                let queued = Reconciler { is_queued: false, ..reconciler };
                let begun = self.answered(state, queued, Answer::Server(reconciler.server));
                steps.push(Transition {
                    step: Step::Reconciler(index, Act::Begins),
                    how: How::Plain,
                    to: state.with(index, begun),
                });
            }
            None => {}
            Some(Call::Write(write)) => self.reconciler_writes(state, index, &write, steps),
            Some(call) => {
                let (act, read) = self.reconciler_reads(state, reconciler, &call);
                steps.push(Transition {
                    step: Step::Reconciler(index, act),
                    how: How::Plain,
                    to: state.with(index, read),
                });
            }
        }
        if state.faults > 0 {
            let to = State { faults: state.faults - 1, ..state.with(index, self.started(state)) };
            steps.push(Transition { step: Step::Reconciler(index, Act::Crashes), how: How::Plain, to });
        }
    }

    /// A reconciler after the answer to its call.
    fn answered(&mut self, state: &State, reconciler: Reconciler, answer: Answer) -> Reconciler {
        let (mind, is_queued) = self.reconcilers.next(reconciler.mind, answer, reconciler.cached, &state.server);
        Reconciler { mind, is_queued: reconciler.is_queued || is_queued, ..reconciler }
    }

    fn reconciler_reads(&mut self, state: &State, mut reconciler: Reconciler, call: &Call) -> (Act, Reconciler) {
        let (act, answer) = match call {
            Call::ReadScale(workload) => {
                reconciler.is_current[*workload as usize] = true;
                let (workload, count) = (*workload, state.count(*workload));
                let is_seen = !reconciler.has_events[workload as usize];
                (Act::ReadsScale(workload), Answer::Scale { workload, count, is_seen })
            }
            Call::ReadStatefulSet => {
                reconciler.is_current[Workload::StatefulSet as usize] = true;
                (Act::ReadsBackend(None), Answer::StatefulSet(state.statefulset))
            }
            _ => {
                reconciler.is_current[SERVER] = true;
                (Act::ReadsServer, Answer::Server(state.server))
            }
        };
        let mut read = self.answered(state, reconciler, answer);
        let next = self.reconcilers.call(read.mind);
        let is_coupling = next == Some(&Call::ReadStatefulSet);
        read.proxies = state.count(Workload::Deployment).filter(|_| is_coupling);
        match (act, next) {
            (Act::ReadsBackend(_), Some(Call::Write(write))) => (Act::ReadsBackend(coupling(write)), read),
            (act, _) => (act, read),
        }
    }

    fn reconciler_writes(&mut self, state: &State, index: usize, write: &RealWrite, steps: &mut Vec<Transition>) {
        let Some(reconciler) = state.reconcilers[index] else { return };
        let act = match (write, coupling(write)) {
            (_, Some(coupling)) => Act::Couples(coupling),
            (RealWrite::Scale { change, .. }, None) => Act::Scales(change.workload, low(change.to)),
            (_, None) => Act::WritesConditions,
        };
        let is_current = match (write, self.reconcilers.guarded(reconciler.mind)) {
            (RealWrite::Conditions(_), _) => reconciler.is_current[SERVER],
            (_, Some(workload)) => reconciler.is_current[workload as usize],
            (_, None) => true,
        };
        if !is_current {
            let to = if self.scenario.mutant == Some(Mutant::RefusedWritesRepeated) {
                Reconciler { is_current: [true; 3], ..reconciler }
            } else {
                self.answered(state, reconciler, Answer::Failed)
            };
            let step = Step::Reconciler(index, Act::Conflicts);
            steps.push(Transition { step, how: How::Plain, to: state.with(index, to) });
            return;
        }
        let mut ways = self.ways(state);
        if state.faults > 0 {
            ways.extend([How::AnswerLost, How::CallFails]);
        }
        for how in ways {
            let mut to = State { faults: state.faults - u8::from(how != How::Plain), ..*state };
            let written = if how == How::CallFails { None } else { self.written(&mut to, write, how) };
            let is_written = written.is_some();
            let answer = written.filter(|_| how != How::AnswerLost).unwrap_or(Answer::Failed);
            let after = to.reconcilers[index].unwrap_or(reconciler);
            let to = to.with(index, self.answered(&to, after, answer));
            let how = if is_written { how } else { How::CallFails };
            steps.push(Transition { step: Step::Reconciler(index, act), how, to });
        }
    }

    /// Carries out a write of the reconciler. Returns the answer, `None` if it was refused.
    fn written(&mut self, state: &mut State, write: &RealWrite, how: How) -> Option<Answer> {
        let user = User::Reconciler;
        match write {
            RealWrite::Scale { change, .. } => {
                let (workload, to) = (change.workload, low(change.to));
                let from = state.count(workload)?;
                let is_written = self.write(state, user, Write::Scale { workload, from, to }, how);
                state.count(workload).filter(|_| is_written).map(Answer::Stored)
            }
            RealWrite::PreservedCount { count, .. } => {
                let old = state.statefulset?;
                let new = StatefulSet { preserved: count.map(low), ..old };
                let is_written = self.write(state, user, Write::StatefulSet { old: Some(old), new }, how);
                if is_written {
                    state.accept_cap_by_label();
                }
                is_written.then_some(Answer::Preserved)
            }
            RealWrite::Conditions(desired) => {
                let reason =
                    |type_| desired.iter().find(|it: &&DesiredCondition| it.type_ == type_).map(|found| found.reason);
                let desired = ConditionType::ALL.map(reason);
                let desired = match self.scenario.mutant {
                    Some(mutant) => mutant.desired(&mut self.answers.real, &state.server, desired),
                    None => Some(desired),
                };
                let Some(desired) = desired else { return Some(Answer::NotWritten) };
                let (conditions, transitions) = self.answers.real.write_conditions(&state.server, desired);
                state.set_conditions(conditions);
                Some(Answer::Conditions(transitions))
            }
        }
    }
}

/// The write that couples the backend to its proxies, if it is one.
fn coupling(write: &RealWrite) -> Option<Coupling> {
    match write {
        RealWrite::Scale { change, coupling: Some(_), .. } if change.to > 0 => Some(Coupling::ScaleUp(low(change.to))),
        RealWrite::Scale { coupling, .. } => coupling.map(|_| Coupling::ScaleToZero),
        RealWrite::PreservedCount { count: Some(count), .. } => Some(Coupling::PreserveCount(low(*count))),
        RealWrite::PreservedCount { count: None, .. } => Some(Coupling::ForgetCount),
        RealWrite::Conditions(_) => None,
    }
}

fn low(count: u32) -> Count {
    Count::try_from(count).expect("is a low count")
}
