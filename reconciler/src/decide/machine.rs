//! One reconcile of one server as a value: which call is made next, by the answers to those before. It plans on the cached
//! object, plans again on the object as it is now, writes, and reports.
//!
//! Pure: the driver makes the calls and passes the time. The model check of the crate `exploration` holds the same value in its
//! states and answers the calls itself, so that the order of reads, writes and delays stands here only.

use std::mem;
use std::time::Duration;

use mcp_scaling_rules::sessions::lacks_redis_password;
use mcp_scaling_rules::{
    Condition, ConditionStatus, ConditionType, InvalidField, Replicas, Scaling, ServerKind, Workload,
};
use tokio::time::Instant;

use crate::decide::backoff::{Target, WriteKind};
use crate::decide::coupling::Step;
use crate::decide::deadlines::OPERATOR_TIMEOUT;
use crate::decide::events::{self, EventContent, Report, ScaleChange, Transition};
use crate::decide::memory::ServerMemory;
use crate::decide::plan::{Plan, PlanInputs, correction, coupling_step, current_warning, plan};
use crate::observe::autoscaler::conflicts;
use crate::observe::observed::Observed;
use crate::observe::server::Server;
use crate::observe::uid::Uid;
use crate::observe::workload::{PodsLeft, WorkloadObject};
use crate::observe::workload_replicas::WorkloadReplicas;
use crate::options::Options;

/// How long to wait at least before a write that was changed on its way is tried again.
const RETRY_OF_CHANGED_WRITE: Duration = Duration::from_secs(1);

/// What a reconcile has the driver do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Ask how long a write that can wait is put off.
    AskForTurn,
    /// Read the server. The conditions are written to the object that this reads.
    ReadServer,
    /// Read the Scale of a workload.
    ReadScale(Workload),
    /// Read the StatefulSet.
    ReadStatefulSet,
    /// Read the server once more, to see whether its spec is still the same.
    ReadSpec,
    /// Make a write.
    Write(Write),
    /// Tell people of something.
    Report(Report),
}

/// A write. It fails with a conflict if its object has changed since it was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// Of the Scale of a workload.
    Scale {
        /// The counts, and the version of the Scale that was read.
        change: ScaleChange,
        /// The step that couples the backend to its proxies, if it is one.
        coupling: Option<Step>,
        /// What it is reported as.
        event: EventContent,
    },
    /// Of the annotation of the StatefulSet with the count before 0.
    PreservedCount {
        /// The count, `None` to remove the annotation.
        count: Option<u32>,
        /// The version of the StatefulSet that was read.
        resource_version: Option<String>,
    },
    /// Of the conditions of the server.
    Conditions(Vec<Condition>),
}

/// The answer to a call.
#[derive(Debug)]
pub enum Answer<'a> {
    /// How long the write is put off, zero if it is made now.
    Turn(Duration),
    /// The server: at the beginning the cached one, then the one that was read; `None` if it is gone.
    Server(Option<&'a Server>),
    /// The Scale, `None` if the workload is gone.
    Scale(Option<CurrentScale>),
    /// The StatefulSet, `None` if there is none.
    StatefulSet(Option<&'a WorkloadObject>),
    /// The spec that the server has now, `None` if the server is gone.
    Spec(Option<SpecVersion>),
    /// The count is written, and the API server stored this one.
    Stored(i32),
    /// The annotation is written.
    Preserved,
    /// The conditions are written, which changed the status of these.
    Conditions(Vec<Transition>),
    /// It is a dry run: nothing is written.
    NotWritten,
    /// People are told.
    Reported,
    /// The call failed.
    Failed,
}

/// A workload's Scale as it was just read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentScale {
    /// The replicas that the workload has.
    pub replicas: u32,
    /// `metadata.resourceVersion` of the Scale, which is that of the workload.
    pub resource_version: Option<String>,
}

/// The spec of a server at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpecVersion {
    uid: Uid,
    generation: Option<i64>,
}

impl SpecVersion {
    /// The present one of a server.
    pub fn of(server: &Server) -> Self {
        Self { uid: server.uid, generation: server.generation }
    }
}

/// How a reconcile goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// With this call.
    Call(Call),
    /// It has ended.
    Done(Done),
}

/// How a reconcile has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The server is to be reconciled when it changes.
    AwaitChange,
    /// The server is to be reconciled after this time, or when it changes.
    Requeue(Duration),
    /// The spec is invalid.
    Invalid(InvalidField),
    /// A call failed. The other writes were still made.
    Failed,
}

/// What the decisions of a reconcile depend on beside the answers.
#[derive(Debug)]
pub struct Context<'a> {
    /// The settings.
    pub options: &'a Options,
    /// What the watches tell now.
    pub observed: &'a Observed,
    /// What is remembered of the server.
    pub memory: &'a mut ServerMemory,
    /// The time.
    pub now: Instant,
}

/// One reconcile of one server. The default has not begun: it is given the cached server first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reconcile {
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum State {
    /// It has not begun, or it has ended.
    #[default]
    Idle,
    AsksForTurn,
    ReadsServer,
    Works(Box<Work>, Doing),
}

/// What is left to do of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Work {
    spec: SpecVersion,
    scaling: Scaling,
    /// To be reported before the writes, the last one first.
    news: Vec<Report>,
    coupling: Option<Step>,
    /// The workloads whose counts are corrected, the last one first.
    counts: Vec<Workload>,
    conditions: Vec<Condition>,
    /// To be reported after the writes, the first one first.
    events: Vec<Report>,
    /// The shortest delay of the writes that back off or are tried again.
    delay: Option<Duration>,
    has_failed: bool,
}

/// The call that is under way for a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Doing {
    Report(Report),
    ReadsScale(Workload),
    ReadsProxies,
    ReadsBackend { proxies: u32 },
    ReadsSpec(Write),
    Writes(Write),
}

impl Reconcile {
    /// Goes on with the answer to the last call.
    pub fn next(&mut self, answer: Answer<'_>, mut context: Context<'_>) -> Next {
        let next = match (mem::take(&mut self.state), answer) {
            (State::Idle, Answer::Server(Some(cached))) => begin(cached, &mut context),
            (State::AsksForTurn, Answer::Turn(Duration::ZERO)) => Ok(State::ReadsServer),
            (State::AsksForTurn, Answer::Turn(delay)) => Err(next_reconcile(Some(delay), &context)),
            (State::ReadsServer, Answer::Server(Some(server))) => {
                Work::of(server, &mut context).and_then(|work| Box::new(work).goes_on(&mut context))
            }
            (State::ReadsServer, Answer::Server(None)) => Err(Done::AwaitChange),
            (State::Works(mut work, doing), answer) => match work.goes_on_with(doing, answer, &mut context) {
                Some(doing) => Ok(State::Works(work, doing)),
                None => work.goes_on(&mut context),
            },
            // The call failed; the driver answers no other call than the last one.
            _ => Err(Done::Failed),
        };
        match next {
            Ok(state) => {
                self.state = state;
                self.call().map_or(Next::Done(Done::AwaitChange), Next::Call)
            }
            Err(done) => Next::Done(done),
        }
    }

    /// The call that it waits for, if it is under way.
    pub fn call(&self) -> Option<Call> {
        match &self.state {
            State::Idle => None,
            State::AsksForTurn => Some(Call::AskForTurn),
            State::ReadsServer => Some(Call::ReadServer),
            State::Works(_, doing) => Some(match doing {
                Doing::Report(report) => Call::Report(report.clone()),
                Doing::ReadsScale(workload) => Call::ReadScale(*workload),
                Doing::ReadsProxies => Call::ReadScale(Workload::Deployment),
                Doing::ReadsBackend { .. } => Call::ReadStatefulSet,
                Doing::ReadsSpec(_) => Call::ReadSpec,
                Doing::Writes(write) => Call::Write(write.clone()),
            }),
        }
    }
}

/// Plans on the cached server. Only a plan on the object as it is now is written, because the cache may be behind.
fn begin(cached: &Server, context: &mut Context<'_>) -> Result<State, Done> {
    if cached.is_being_deleted {
        return Err(Done::AwaitChange);
    }
    let (scaling, plan) = observe_and_plan(cached, context).map_err(Done::Invalid)?;
    let has_news = observe_conflicts(&scaling, context).is_some();
    if plan.is_empty() && !has_news {
        return Err(next_reconcile(None, context));
    }
    Ok(if plan.is_urgent || has_news { State::ReadsServer } else { State::AsksForTurn })
}

impl Work {
    /// The work on a server that was just read.
    fn of(server: &Server, context: &mut Context<'_>) -> Result<Self, Done> {
        let (scaling, plan) = observe_and_plan(server, context).map_err(|_| Done::AwaitChange)?;
        if server.is_being_deleted {
            return Err(Done::AwaitChange);
        }
        let mut news = Vec::new();
        if let Some(conflicts) = observe_conflicts(&scaling, context) {
            context.memory.reported_conflicts.clone_from(&conflicts);
            news.extend(conflicts.into_iter().map(Report::News));
        }
        news.reverse();
        let counts = Workload::ALL.into_iter().rev().filter(|workload| plan.replicas(*workload).is_some());
        Ok(Self {
            spec: SpecVersion::of(server),
            scaling,
            news,
            coupling: plan.coupling,
            counts: counts.collect(),
            conditions: plan.conditions,
            events: Vec::new(),
            delay: None,
            has_failed: false,
        })
    }

    /// Begins with what is next.
    fn goes_on(mut self: Box<Self>, context: &mut Context<'_>) -> Result<State, Done> {
        match self.next(context) {
            Some(doing) => Ok(State::Works(self, doing)),
            None if self.has_failed => Err(Done::Failed),
            None => Err(next_reconcile(self.delay, context)),
        }
    }

    /// What is next: the news, the writes but for those that back off, and their events.
    fn next(&mut self, context: &mut Context<'_>) -> Option<Doing> {
        if let Some(report) = self.news.pop() {
            return Some(Doing::Report(report));
        }
        // First, so that proxies that start find their backend.
        if let Some(step) = self.coupling.take()
            && target_of_coupling(step).is_none_or(|target| self.is_due(target, context))
        {
            return Some(Doing::ReadsProxies);
        }
        while let Some(workload) = self.counts.pop() {
            if self.is_due(workload.into(), context) {
                return Some(Doing::ReadsScale(workload));
            }
        }
        let conditions = mem::take(&mut self.conditions);
        if !conditions.is_empty() && self.is_due(Target::Conditions, context) {
            return Some(Doing::Writes(Write::Conditions(conditions)));
        }
        (!self.events.is_empty()).then(|| Doing::Report(self.events.remove(0)))
    }

    /// Goes on with what is under way. `None` if that has ended.
    fn goes_on_with(&mut self, doing: Doing, answer: Answer<'_>, context: &mut Context<'_>) -> Option<Doing> {
        match (doing, answer) {
            (Doing::ReadsScale(workload), Answer::Scale(Some(scale))) => {
                self.correct(workload, scale, context).map(Doing::ReadsSpec)
            }
            (Doing::ReadsProxies, Answer::Scale(Some(scale))) => Some(Doing::ReadsBackend { proxies: scale.replicas }),
            (Doing::ReadsBackend { proxies }, Answer::StatefulSet(Some(backend))) => {
                self.couple(proxies, backend, context).map(Doing::ReadsSpec)
            }
            // A count was read after the spec, and somebody may have scaled the workload by a newer one.
            (Doing::ReadsSpec(write), Answer::Spec(now)) => (now == Some(self.spec)).then_some(Doing::Writes(write)),
            (_, Answer::Failed) => {
                self.has_failed = true;
                None
            }
            (Doing::Writes(write), answer) => {
                self.record(&write, answer, context);
                None
            }
            // The object is gone, or people are told.
            _ => None,
        }
    }

    /// The correction of a workload's count, if it still needs one.
    fn correct(&self, workload: Workload, scale: CurrentScale, context: &Context<'_>) -> Option<Write> {
        let CurrentScale { replicas: from, resource_version } = scale;
        let mut inputs = inputs(&self.scaling, context).with_count(workload, from);
        // The operator may have given the count back since the watch told of its reset, and a person chosen another one.
        if inputs.set_to.reset_version != Uid::of(resource_version.as_deref()) {
            inputs.set_to.deployment_before_reset = None;
        }
        let Replicas { count: to, rule } = correction(workload, &self.scaling, inputs)?;
        let change = ScaleChange { workload, from, to, resource_version };
        let event = events::replicas_corrected(&change, rule?, &self.scaling);
        Some(Write::Scale { change, coupling: None, event })
    }

    /// The next write that couples the backend to its proxies, if it still needs one.
    fn couple(&self, proxies: u32, backend: &WorkloadObject, context: &Context<'_>) -> Option<Write> {
        let from = backend.replicas.filter(|_| backend.is_owned_by_server)?;
        let resource_version = backend.meta.resource_version.clone();
        let inputs = inputs(&self.scaling, context).with_workloads(proxies, from, backend.replicas_before_zero);
        let step = coupling_step(&self.scaling, inputs)?;
        let to = match step {
            Step::PreserveCount(count) => return Some(Write::PreservedCount { count: Some(count), resource_version }),
            Step::ForgetCount => return Some(Write::PreservedCount { count: None, resource_version }),
            Step::ScaleToZero => 0,
            Step::ScaleUp(count) => count,
        };
        let change = ScaleChange { workload: Workload::StatefulSet, from, to, resource_version };
        let event = events::coupled(&change);
        Some(Write::Scale { change, coupling: Some(step), event })
    }

    /// Records what a write came to.
    fn record(&mut self, write: &Write, answer: Answer<'_>, context: &mut Context<'_>) {
        match (write, answer) {
            (Write::Scale { change, coupling, event }, Answer::Stored(stored)) => {
                let target = coupling.and_then(target_of_coupling).unwrap_or(change.workload.into());
                if i64::from(stored) != i64::from(change.to) {
                    self.record_changed_write(target, change, stored, context);
                } else if let Some(Step::ScaleUp(_)) = coupling {
                    context.memory.backoff.forget(Target::StatefulSetToZero);
                    self.events.push(Report::Event(event.clone()));
                } else {
                    self.record_write(target, event.clone(), context);
                }
            }
            (Write::Conditions(_), Answer::Conditions(transitions)) => {
                self.events.extend(transitions.iter().filter_map(events::transition).map(Report::Event));
                if self.kind_of_write(Target::Conditions, context) == WriteKind::BackoffBegins {
                    self.events.push(Report::BackingOff(Target::Conditions));
                }
            }
            _ => {}
        }
    }

    /// Records a write that was changed on its way, as one that another writer reverted. It is tried again by time: if the count
    /// is the one that was there before, nothing changed in the cluster, and no watch tells of it.
    fn record_changed_write(&mut self, target: Target, change: &ScaleChange, stored: i32, context: &mut Context<'_>) {
        self.record_write(target, events::changed_on_its_way(change, stored), context);
        let delay = self.backoff_delay(target, context).max(RETRY_OF_CHANGED_WRITE);
        self.delay = self.delay.into_iter().chain([delay]).min();
    }

    /// Records a write that another writer may revert, and its event or the one that tells of backing off.
    fn record_write(&mut self, target: Target, event: EventContent, context: &mut Context<'_>) {
        match self.kind_of_write(target, context) {
            WriteKind::First => self.events.push(Report::Event(event)),
            WriteKind::Repeated => {}
            WriteKind::BackoffBegins => self.events.push(Report::BackingOff(target)),
        }
    }

    fn kind_of_write(&self, target: Target, context: &mut Context<'_>) -> WriteKind {
        context.memory.backoff.record_write(target, self.spec.generation, context.now)
    }

    /// Returns whether a target is written now; else the delay is kept.
    fn is_due(&mut self, target: Target, context: &Context<'_>) -> bool {
        let delay = self.backoff_delay(target, context);
        if delay > Duration::ZERO {
            self.delay = self.delay.into_iter().chain([delay]).min();
        }
        delay == Duration::ZERO
    }

    fn backoff_delay(&self, target: Target, context: &Context<'_>) -> Duration {
        context.memory.backoff.delay(target, self.spec.generation, context.now)
    }
}

/// Records what the plan of a server depends on over time, and plans. Returns the scaling fields of the server and its plan, or
/// the invalid field of its spec.
fn observe_and_plan(server: &Server, context: &mut Context<'_>) -> Result<(Scaling, Plan), InvalidField> {
    let scaling = server.scaling?;
    observe_deadlines(context);
    let inputs = inputs(&scaling, context);
    let has_cause = current_warning(&scaling, inputs).is_some();
    let keep_warning = context.memory.stabilization.observe(has_cause, has_warning(server), context.now);
    Ok((scaling, plan(server, &scaling, inputs, keep_warning)))
}

/// Records what the reconciler has to wait for before it acts on a server.
fn observe_deadlines(context: &mut Context<'_>) {
    let Context { options, observed, memory, now } = context;
    let set_to = observed.workloads;
    let ending = match set_to.proxies_left {
        PodsLeft::Ending(timeout) => Some(timeout).filter(|_| options.couple_zero),
        PodsLeft::None | PodsLeft::Some => None,
    };
    memory.pending_reset.observe(set_to.deployment_before_reset.map(|_| OPERATOR_TIMEOUT), *now);
    memory.ending_proxies.observe(ending, *now);
}

/// What the plan of a server depends on beside its spec and its status.
pub(crate) fn inputs(scaling: &Scaling, context: &Context<'_>) -> PlanInputs {
    let Context { options, observed, .. } = context;
    PlanInputs {
        set_to: workload_replicas(context),
        storage: options.session_storage.storage(scaling, observed.run_config),
        counts: options.counts,
        couple_zero: options.couple_zero,
    }
}

/// The replicas of the workloads of a server. A count that a reset took away is left to the operator at first, and proxies have
/// some time to end.
fn workload_replicas(context: &Context<'_>) -> WorkloadReplicas {
    let Context { observed, memory, now, .. } = context;
    let set_to = observed.workloads;
    WorkloadReplicas {
        deployment_before_reset: set_to.deployment_before_reset.filter(|_| memory.pending_reset.is_over(*now)),
        proxies_left: if memory.ending_proxies.is_over(*now) { PodsLeft::None } else { set_to.proxies_left },
        ..set_to
    }
}

/// Observes the conflicts of a server, with autoscalers and with the operator's default Redis. Returns the events for them
/// unless they were reported; if there are none, it is forgotten what was reported.
fn observe_conflicts(scaling: &Scaling, context: &mut Context<'_>) -> Option<Vec<EventContent>> {
    let autoscalers = Workload::ALL.into_iter().zip(&context.observed.autoscalers);
    let with_autoscalers = autoscalers.flat_map(|(workload, autoscaler)| {
        autoscaler.iter().flat_map(move |autoscaler| conflicts(autoscaler, workload, scaling))
    });
    let with_autoscalers = with_autoscalers.map(|conflict| events::autoscaler_conflict(conflict.finding));
    let storage = inputs(scaling, context).storage;
    let lacks_password = lacks_redis_password(ServerKind::McpServer, scaling.session_storage, storage);
    let with_redis = lacks_password.then(events::default_redis_without_password);
    let conflicts: Vec<EventContent> = with_autoscalers.chain(with_redis).collect();
    let reported = &mut context.memory.reported_conflicts;
    if conflicts.is_empty() {
        *reported = Vec::new();
    }
    (*reported != conflicts).then_some(conflicts)
}

/// When to reconcile a server on which nothing can be written now: after the `delay` of what is left to write, or earlier if what it
/// waits for ends before, or when it changes.
fn next_reconcile(delay: Option<Duration>, context: &Context<'_>) -> Done {
    let waits = [delay, context.memory.shortest_wait(context.now)];
    waits.into_iter().flatten().min().map_or(Done::AwaitChange, Done::Requeue)
}

/// The target whose backoff holds for a step that scales the backend.
fn target_of_coupling(step: Step) -> Option<Target> {
    match step {
        Step::ScaleToZero => Some(Target::StatefulSetToZero),
        Step::ScaleUp(_) => Some(Target::StatefulSetFromZero),
        Step::PreserveCount(_) | Step::ForgetCount => None,
    }
}

fn has_warning(server: &Server) -> bool {
    let condition = server.condition(ConditionType::WorkloadReplicasWarning);
    condition.is_some_and(|condition| condition.status == Some(ConditionStatus::True))
}
