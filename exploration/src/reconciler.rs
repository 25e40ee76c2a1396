//! The reconciler: its real machine and what it remembers, held in the states. The calls of the machine are steps of the model,
//! which answers them.
//!
//! A state holds the number of a [`Mind`], since there are far fewer of them than states; and what a mind makes of an answer is
//! computed once. It is always the same time, [`NOW`]: what is over was over before, and what is not ends in a step of its own.

use std::hash::BuildHasherDefault;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use indexmap::IndexSet;
use mcp_scaling_rules::{SessionStorage, Workload};
use mcpserver_scaling_reconciler::decide::backoff::{Target, WRITES_WITHOUT_DELAY};
use mcpserver_scaling_reconciler::decide::machine::{
    Answer as RealAnswer, Call, Context, CurrentScale, Done, Next, Reconcile, SpecVersion, Write,
};
use mcpserver_scaling_reconciler::decide::memory::ServerMemory;
use mcpserver_scaling_reconciler::decide::stabilization::{StabilizationWindow, WINDOW};
use mcpserver_scaling_reconciler::observe::observed::Observed;
use mcpserver_scaling_reconciler::observe::server::Server as SlimServer;
use mcpserver_scaling_reconciler::observe::uid::Uid;
use mcpserver_scaling_reconciler::observe::workload::{PodsLeft, WorkloadObject};
use mcpserver_scaling_reconciler::observe::workload_replicas::WorkloadReplicas;
use mcpserver_scaling_reconciler::options::{Counts, Options, StorageSource};
use rustc_hash::{FxHashMap, FxHasher};
use serde_json::Value;
use tokio::time::Instant;

use crate::decisions::{Answer, CachedWorkloads};
use crate::mutant::Mutant;
use crate::objects::{OnlyAlpha, Server, StatefulSet};

/// The time. It stands still; a delay ends by [`end`].
pub static NOW: LazyLock<Instant> = LazyLock::new(|| Instant::now() + Duration::from_secs(24 * 3600));

/// The resource version of an object that the watch has told of.
const SEEN: &str = "1";

/// The reconcile that is under way, and what is remembered of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mind {
    /// The reconcile.
    pub reconcile: Reconcile,
    /// What is remembered.
    pub memory: ServerMemory,
    /// After which time the server is reconciled again.
    pub timer: Option<Duration>,
    /// Of a fault that makes another call first: says whether that call was made.
    pub is_first_call_made: bool,
    /// Of a fault that reads the spec too early: the spec that it has read.
    pub early_spec: Option<SpecVersion>,
}

/// What a mind waits for.
#[derive(Clone, Debug, Default)]
struct Waiting {
    /// The answer to this call.
    call: Option<Call>,
    /// The workload that this call writes if it has not changed since it was read.
    guarded: Option<Workload>,
    /// The end of these delays.
    delays: Vec<Delay>,
}

/// A delay that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delay {
    /// The backoff from a target.
    Backoff(Target),
    /// The stabilization window.
    Window,
    /// The operator's time to give a count back.
    PendingReset,
}

type Minds = IndexSet<Mind, BuildHasherDefault<FxHasher>>;

/// All minds that occurred, and what they made of answers.
pub struct Reconcilers {
    /// Their options.
    pub options: Options,
    api: OnlyAlpha,
    default_storage: SessionStorage,
    mutant: Option<Mutant>,
    minds: Minds,
    waiting: Vec<Waiting>,
    next: FxHashMap<(u32, Answer, CachedWorkloads, u8), (u32, bool)>,
    slim: FxHashMap<Server, SlimServer>,
    over: FxHashMap<(u32, Delay), (u32, bool)>,
}

impl Reconcilers {
    /// The reconcilers in a cluster. `couple_zero` is their option.
    pub fn new(api: OnlyAlpha, default_storage: SessionStorage, couple_zero: bool, mutant: Option<Mutant>) -> Self {
        let options = Options {
            session_storage: StorageSource::Spec { default: default_storage },
            counts: Counts::All,
            couple_zero,
            writes_per_second: NonZeroU32::MAX,
            dry_run: false,
        };
        let mut minds = Minds::default();
        minds.insert(Mind::default());
        Self {
            api,
            default_storage,
            options,
            mutant,
            minds,
            waiting: vec![Waiting::default()],
            next: FxHashMap::default(),
            slim: FxHashMap::default(),
            over: FxHashMap::default(),
        }
    }

    /// The mind with this number. That of a reconciler which has just started has the number 0.
    pub fn mind(&self, number: u32) -> &Mind {
        &self.minds[number as usize]
    }

    /// The call that a mind waits for.
    pub fn call(&self, number: u32) -> Option<&Call> {
        self.waiting[number as usize].call.as_ref()
    }

    /// The workload that this call writes if it has not changed since it was read.
    pub fn guarded(&self, number: u32) -> Option<Workload> {
        self.waiting[number as usize].guarded
    }

    /// The call that a fault makes before that of the reconcile.
    fn first_call(&self, mind: &Mind) -> Option<Call> {
        self.mutant?.first_call(&mind.reconcile.call()?).filter(|_| !mind.is_first_call_made)
    }

    /// What a mind makes of the answer to its call, and whether the server is in its queue then. `cached` is what its watches
    /// tell. A question about the spec is answered at once with that of `server`: if the spec changes between the answer before
    /// and this one, nothing is written, and so this allows more.
    pub fn next(&mut self, number: u32, answer: Answer, cached: CachedWorkloads, server: &Server) -> (u32, bool) {
        let (answer, cached) = match self.mutant {
            Some(mutant) => mutant.answer(answer, cached, server.spec, self.default_storage),
            None => (answer, cached),
        };
        let key = (number, answer, cached, server.generation);
        if let Some(known) = self.next.get(&key) {
            return *known;
        }
        let next = self.compute(number, key.1.clone(), cached, server);
        self.next.insert(key, next);
        next
    }

    fn compute(&mut self, number: u32, answer: Answer, cached: CachedWorkloads, server: &Server) -> (u32, bool) {
        let mut mind = self.mind(number).clone();
        if self.first_call(&mind).is_some() && answer != Answer::Failed {
            mind.is_first_call_made = true;
            return (self.number(mind), false);
        }
        mind.timer = None;
        mind.is_first_call_made = false;
        let observed = observed(cached);
        let now = SpecVersion::of(self.slim(server));
        let is_coupling = matches!(answer, Answer::StatefulSet(..));
        if mind.reconcile.call() == Some(Call::ReadServer) && self.reads_spec_with(&Call::ReadServer) {
            mind.early_spec = Some(now);
        }
        let read_server = match &answer {
            Answer::Server(server) => Some(self.slim(server).clone()),
            _ => None,
        };
        let statefulset = match &answer {
            Answer::StatefulSet(Some(statefulset)) => Some(read(*statefulset)),
            _ => None,
        };
        let mut answer = match answer {
            Answer::Server(_) => RealAnswer::Server(read_server.as_ref()),
            Answer::Scale { count, is_seen, .. } => RealAnswer::Scale(count.map(|count| CurrentScale {
                replicas: count.into(),
                resource_version: Some(if is_seen { SEEN } else { "2" }.to_owned()),
            })),
            Answer::StatefulSet(..) => RealAnswer::StatefulSet(statefulset.as_ref()),
            Answer::Stored(count) => RealAnswer::Stored(count.into()),
            Answer::Preserved => RealAnswer::Preserved,
            Answer::Conditions(transitions) => RealAnswer::Conditions(transitions),
            Answer::NotWritten => RealAnswer::NotWritten,
            Answer::Failed => RealAnswer::Failed,
        };
        let done = loop {
            if let Some(mutant) = self.mutant {
                mutant.memory(&mut mind.memory, *NOW);
            }
            let context = Context { options: &self.options, observed: &observed, memory: &mut mind.memory, now: *NOW };
            let call = match mind.reconcile.next(answer, context) {
                Next::Call(call) => call,
                Next::Done(done) => break Some(done),
            };
            answer = match &call {
                Call::AskForTurn => RealAnswer::Turn(Duration::ZERO),
                Call::Report(_) => RealAnswer::Reported,
                Call::ReadSpec => {
                    let is_early = self.mutant.is_some_and(|mutant| mutant.reads_spec_early(is_coupling));
                    RealAnswer::Spec(Some(mind.early_spec.filter(|_| is_early).unwrap_or(now)))
                }
                call => {
                    if self.reads_spec_with(call) {
                        mind.early_spec = Some(now);
                    }
                    break None;
                }
            };
        };
        for (_, writes) in &mut mind.memory.backoff.targets {
            writes.count = writes.count.min(WRITES_WITHOUT_DELAY);
        }
        mind.memory.backoff.targets.sort_by_key(|(target, _)| *target as u8);
        let is_queued = match done {
            None | Some(Done::AwaitChange) => false,
            Some(Done::Requeue(delay)) if delays(&mind.memory).any(|(_, remaining)| remaining == delay) => {
                mind.timer = Some(delay);
                false
            }
            Some(Done::Requeue(_) | Done::Failed) => true,
            Some(Done::Invalid(field)) => panic!("the spec is valid: {field}"),
        };
        if done.is_some() {
            mind.early_spec = None;
        }
        (self.number(mind), is_queued)
    }

    /// The delays of a mind that are not over.
    pub fn delays(&self, number: u32) -> &[Delay] {
        &self.waiting[number as usize].delays
    }

    /// A mind after a delay is over, and whether the reconciler was waiting for that.
    pub fn after(&mut self, number: u32, delay: Delay) -> (u32, bool) {
        if let Some(known) = self.over.get(&(number, delay)) {
            return *known;
        }
        let mut mind = self.mind(number).clone();
        let Some(remaining) = end(delay, &mut mind.memory) else { return (number, false) };
        let is_woken = mind.timer == Some(remaining);
        if is_woken {
            mind.timer = None;
        }
        let over = (self.number(mind), is_woken);
        self.over.insert((number, delay), over);
        over
    }

    /// Returns whether a fault reads the spec that it compares at the time of this call.
    fn reads_spec_with(&self, call: &Call) -> bool {
        self.mutant.is_some_and(|mutant| mutant.reads_spec_with(call))
    }

    fn number(&mut self, mind: Mind) -> u32 {
        let (number, is_new) = self.minds.insert_full(mind);
        if is_new {
            let mind = &self.minds[number];
            let changed = |call| match self.mutant {
                Some(mutant) => mutant.changed(call),
                None => call,
            };
            let call = self.first_call(mind).or_else(|| mind.reconcile.call().map(changed));
            let delays = delays(&mind.memory).map(|(delay, _)| delay).collect();
            self.waiting.push(Waiting { guarded: call.as_ref().and_then(guarded), call, delays });
        }
        u32::try_from(number).expect("there are few minds")
    }

    fn slim(&mut self, server: &Server) -> &SlimServer {
        let api = self.api;
        self.slim
            .entry(*server)
            .or_insert_with(|| serde_json::from_value(server.to_json(api)).expect("is an MCPServer"))
    }
}

/// The delays that are not over, and how long they last.
fn delays(memory: &ServerMemory) -> impl Iterator<Item = (Delay, Duration)> {
    let ServerMemory { backoff, stabilization, pending_reset, .. } = memory;
    let backoffs = backoff
        .targets
        .iter()
        .map(|(target, writes)| (Delay::Backoff(*target), backoff.delay(*target, writes.generation, *NOW)));
    let others = [(Delay::Window, stabilization.remaining(*NOW)), (Delay::PendingReset, pending_reset.remaining(*NOW))];
    backoffs.chain(others).filter(|(_, remaining)| *remaining > Duration::ZERO)
}

/// Ends a delay, and returns how long it would have lasted. `None` if it was over.
pub fn end(delay: Delay, memory: &mut ServerMemory) -> Option<Duration> {
    let (_, remaining) = delays(memory).find(|(it, _)| *it == delay)?;
    match delay {
        Delay::Backoff(target) => {
            for (_, writes) in memory.backoff.targets.iter_mut().filter(|(it, _)| *it == target) {
                writes.last -= remaining;
            }
        }
        Delay::Window => memory.stabilization = StabilizationWindow::CauseGone(*NOW - WINDOW),
        Delay::PendingReset => memory.pending_reset.until = Some(*NOW),
    }
    Some(remaining)
}

fn observed(cached: CachedWorkloads) -> Observed {
    let mut observed = Observed::default();
    observed.workloads = WorkloadReplicas {
        deployment: cached.deployment.map(u32::from),
        statefulset: cached.statefulset.map(u32::from),
        deployment_before_reset: cached.before_reset.map(u32::from),
        reset_version: Uid::of(Some(SEEN)),
        proxies_left: if cached.has_ending_proxies { PodsLeft::Some } else { PodsLeft::None },
        statefulset_before_zero: cached.preserved.map(u32::from),
    };
    observed
}

/// The StatefulSet as the reconciler reads it.
fn read(statefulset: StatefulSet) -> WorkloadObject {
    let mut object = statefulset.to_json();
    object["metadata"]["resourceVersion"] = Value::from(SEEN);
    serde_json::from_value(object).expect("is a workload")
}

/// The workload that a call writes if it has not changed since it was read.
fn guarded(call: &Call) -> Option<Workload> {
    let Call::Write(write) = call else { return None };
    match write {
        Write::Scale { change, .. } => change.resource_version.as_ref().map(|_| change.workload),
        Write::PreservedCount { resource_version, .. } => resource_version.as_ref().map(|_| Workload::StatefulSet),
        Write::Conditions(_) => None,
    }
}
