//! Seeded faults. Each changes what goes into the real code or what comes out of it, or the order of its calls; the code itself
//! stays as it is. A fault of the rules is seeded in the policy and in the reconciler alike, since both call them.

use mcp_scaling_rules::{ConditionReason, RolledOut, SessionStorage, Transport, Workload};
use mcpserver_scaling_reconciler::decide::coupling::Step;
use mcpserver_scaling_reconciler::decide::events::{self, ScaleChange};
use mcpserver_scaling_reconciler::decide::machine::{Call, Write as RealWrite};
use mcpserver_scaling_reconciler::decide::memory::ServerMemory;
use mcpserver_scaling_reconciler::decide::stabilization::StabilizationWindow;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::decisions::{Answer, CachedWorkloads, Decisions, Desired, Write};
use crate::objects::{Condition, Count, Deployment, Server, Spec, StatefulSet, User, capped};

/// A fault in a decision, or in the order of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    // Rules.
    /// A stdio server may have two replicas.
    StdioSupportsTwo,
    /// `spec.backendReplicas` declares the Deployment's count, and `spec.replicas` the StatefulSet's.
    DeclaredCountsSwapped,
    /// A declared count of 0 is read as nothing declared.
    DeclaredZeroIsNothing,
    /// Two replicas without Redis are not at risk.
    TwoReplicasShareSessions,
    /// Redis counts as memory.
    RedisIsNotRead,
    // Policy.
    /// It does not look at Scales.
    ScalesNotValidated,
    /// It does not look at StatefulSets.
    StatefulSetsNotValidated,
    /// It does not undo resets: `preserveScaling` is off.
    ResetsNotUndone,
    /// It undoes every reset, so that an operator before v0.10.1 never rolls anything out.
    EveryResetUndone,
    /// It lets every reset through.
    EveryResetLetThrough,
    /// It forgets the count that a reset took away.
    CountBeforeResetForgotten,
    /// It does not tell one release of the operator from another.
    OperatorsPodIgnored,
    /// It does not read declared counts.
    DeclaredCountsNotRead,
    /// It undoes the scaling of people as if it were a reset.
    PeoplesScalingUndone,
    /// It caps the count if the server cannot be read.
    CapsWhereLookupFails,
    /// It keeps a reset to zero from happening by starting one replica.
    ZeroIsRaised,
    // Reconciler.
    /// It decides ToolHive's conditions with the default storage, as it did at first.
    ConditionsOfDefaultStorage,
    /// It says nothing of `spec.backendReplicas` above the stdio cap, as at first.
    BackendReplicasNotTold,
    /// It tells of `spec.backendReplicas` above the stdio cap in ToolHive's condition.
    BackendReplicasInToolhivesCondition,
    /// It starts workloads that were scaled to zero.
    ZeroIsCorrected,
    /// It does not cap stdio workloads.
    StdioNotCorrected,
    /// It does not set declared counts of StatefulSets.
    DeclaredBackendsNotCorrected,
    /// It sets workloads without a declared count to 1.
    UndeclaredCountsCorrected,
    /// It never restores a count that an operator reset.
    CountBeforeResetNotRestored,
    /// It restores a count that an operator reset, whatever has happened to the Deployment since it saw that, as at first.
    OldResetsUndone,
    /// It takes a condition of an older spec for a current one.
    OldGenerationsAccepted,
    /// It never ends the stabilization window.
    WarningKeptForEver,
    /// It writes its own condition only once there is another one to write.
    OwnConditionWithOthersOnly,
    /// It never waits before a write.
    NeverBacksOff,
    /// Its write of a Scale has no resource version.
    WritesScalesUnguarded,
    /// It does not look whether the spec has changed when it has read a Scale.
    DoesNotReadTheSpecAgain,
    // Reconciler that couples the backend to its proxies.
    /// It writes the annotation after it has scaled the backend to 0.
    CountPreservedAfterScaling,
    /// It takes the count of the backend and the annotation from its cache, as it did with the annotation at first.
    CouplesCachedBackends,
    /// It takes the count of the proxies from its cache.
    CouplesByCachedProxies,
    /// It scales the backend to 0 with whatever count is in the annotation.
    OldAnnotationsAccepted,
    /// It does not remove the annotation.
    PreservedCountNotForgotten,
    /// It does not wait for proxies that are ending.
    EndingProxiesNotAwaited,
    /// It does not wait for the end of proxies that were scaled to 0 after its cache has seen them, as at first.
    StoppedProxiesNotAwaited,
    /// It starts a backend at 0 that has no annotation.
    StartsWithoutAnnotation,
    /// It gives a backend with a declared count the one in the annotation.
    DeclaredBackendsNotRestored,
    /// It restores one replica.
    RestoresOne,
    /// Its write to the backend has no resource version.
    CouplesUnguarded,
    /// It does not look whether the spec has changed when it has read the workloads.
    CouplesByAnOldSpec,
    // Reconciler that makes its calls in another order.
    /// It looks whether the spec has changed before it reads a Scale, and not after that.
    ReadsTheSpecBeforeTheScale,
    /// It removes the annotation before it scales the backend up from 0.
    CountForgottenBeforeScaling,
    /// It makes a write that was refused once more, and neither reads nor decides again.
    RefusedWritesRepeated,
}

impl Mutant {
    /// What both programs see in place of the spec.
    fn spec(self, spec: Spec) -> Spec {
        match self {
            Self::DeclaredCountsSwapped => {
                Spec { replicas: spec.backend_replicas, backend_replicas: spec.replicas, ..spec }
            }
            Self::DeclaredZeroIsNothing => {
                let positive = |count: Option<Count>| count.filter(|count| *count > 0);
                Spec { replicas: positive(spec.replicas), backend_replicas: positive(spec.backend_replicas), ..spec }
            }
            Self::RedisIsNotRead => Spec { storage: spec.storage.and(Some(SessionStorage::Memory)), ..spec },
            _ => spec,
        }
    }

    /// The policy's answer with this fault.
    pub(crate) fn admit(
        self,
        decisions: &mut Decisions,
        user: User,
        write: Write,
        server: &Server,
        lookup_fails: bool,
    ) -> Option<Write> {
        let mut server = Server { spec: self.spec(server.spec), ..*server };
        let mut asked = write;
        match (self, &mut asked) {
            (Self::ScalesNotValidated, Write::Scale { .. })
            | (Self::StatefulSetsNotValidated, Write::StatefulSet { .. }) => return Some(write),
            (Self::PeoplesScalingUndone, Write::Scale { from, .. }) if user == User::Person => {
                let Write::Scale { workload, .. } = write else { return Some(write) };
                return Some(Write::Scale { workload, from: *from, to: *from });
            }
            (Self::CapsWhereLookupFails, Write::Scale { to, .. }) if lookup_fails => *to = (*to).min(1),
            (Self::DeclaredCountsNotRead, _) => {
                server.spec = Spec { replicas: None, backend_replicas: None, ..server.spec };
            }
            (Self::EveryResetLetThrough, Write::Deployment { old: Some(old), .. }) => {
                old.rolled_out = 0;
                server.generation += 1;
            }
            _ => {}
        }
        let change = |mut request: Value| {
            match self {
                Self::ResetsNotUndone => request["settings"]["preserveScaling"] = false.into(),
                Self::EveryResetUndone => {
                    // The operators of later releases, which never reset, have objects of this version.
                    for object in ["object", "oldObject"] {
                        if let Some(owners) = request["request"][object]["metadata"].get_mut("ownerReferences") {
                            owners[0]["apiVersion"] = "toolhive.stacklok.dev/v1beta1".into();
                        }
                    }
                }
                Self::OperatorsPodIgnored => request["request"]["userInfo"]["extra"] = json!({}),
                _ => {}
            }
            request
        };
        let answer = decisions.ask_policy(user, asked, &server, lookup_fails, &change)?;
        let stdio = server.spec.transport == Transport::Stdio;
        Some(match (self, answer) {
            (Self::EveryResetLetThrough, Write::Deployment { new, .. }) => {
                let Write::Deployment { old, .. } = write else { return Some(answer) };
                Write::Deployment { old, new }
            }
            (Self::CountBeforeResetForgotten, Write::Deployment { old, new }) => {
                let text = decisions.annotations[usize::from(new.rolled_out)].clone();
                let forgotten = RolledOut { replicas_before_reset: None, ..RolledOut::parse(&text) };
                let rolled_out = decisions.intern(forgotten.to_string());
                Write::Deployment { old, new: Deployment { rolled_out, ..new } }
            }
            (Self::ZeroIsRaised, Write::Deployment { old, new }) => {
                Write::Deployment { old, new: Deployment { replicas: new.replicas.max(1), ..new } }
            }
            (Self::StdioSupportsTwo, _) if stdio => allow_two(write, answer),
            _ => answer,
        })
    }

    /// The server that the reconciler sees with this fault.
    fn server(self, server: Server, default_storage: SessionStorage) -> Server {
        let mut seen = Server { spec: self.spec(server.spec), ..server };
        let spec = &mut seen.spec;
        match self {
            Self::ConditionsOfDefaultStorage => spec.storage = spec.storage.or(Some(default_storage)),
            Self::BackendReplicasNotTold => {
                spec.backend_replicas = spec.backend_replicas.map(|count| capped(spec.transport, count));
            }
            Self::UndeclaredCountsCorrected => {
                spec.replicas = spec.replicas.or(Some(1));
                spec.backend_replicas = spec.backend_replicas.or(Some(1));
            }
            Self::DeclaredBackendsNotRestored => spec.backend_replicas = None,
            Self::OldGenerationsAccepted => {
                for condition in seen.conditions.iter_mut().flatten() {
                    condition.generation = seen.generation;
                }
            }
            _ => {}
        }
        // What a fault would write is what it is content with.
        if let Some((index, wrong)) = self.wrong_reason(&server.spec) {
            let right = server.spec.toolhive_conditions(server.generation)[index];
            seen.conditions[index] = seen.conditions[index]
                .filter(|condition| condition.reason == wrong)
                .map(|condition| Condition { generation: condition.generation, ..right });
        }
        seen
    }

    /// The reason that this fault writes in place of one of ToolHive's, and the index of that.
    fn wrong_reason(self, spec: &Spec) -> Option<(usize, ConditionReason)> {
        match self {
            Self::TwoReplicasShareSessions if spec.replicas == Some(2) => {
                Some((1, ConditionReason::SessionStorageWarningNotApplicable))
            }
            Self::BackendReplicasInToolhivesCondition if spec.replicas.is_none_or(|count| count <= 1) => {
                let is_capped = spec.backend_replicas.is_some_and(|count| count != capped(spec.transport, count));
                is_capped.then_some((0, ConditionReason::StdioTransportCapAt1))
            }
            _ => None,
        }
    }

    /// The reasons that the reconciler writes with this fault. `None` if it writes none.
    pub(crate) fn desired(self, decisions: &mut Decisions, server: &Server, mut desired: Desired) -> Option<Desired> {
        if let Some((index, wrong)) = self.wrong_reason(&server.spec) {
            desired[index] = Some(wrong);
        }
        let is_own_alone = self == Self::OwnConditionWithOthersOnly && {
            let (written, _) = decisions.write_conditions(server, [desired[0], desired[1], None]);
            written == server.conditions
        };
        (!is_own_alone).then_some(desired)
    }

    /// What the watches of the reconciler tell with this fault.
    pub(crate) fn observed(self, cached: CachedWorkloads, spec: Spec) -> CachedWorkloads {
        let count = |workload, count: Option<Count>| count.map(|count| self.count(workload, count, spec));
        let mut seen = CachedWorkloads {
            deployment: count(Workload::Deployment, cached.deployment),
            statefulset: count(Workload::StatefulSet, cached.statefulset),
            ..cached
        };
        match self {
            Self::CountBeforeResetNotRestored => seen.before_reset = None,
            Self::EndingProxiesNotAwaited => seen.has_ending_proxies = false,
            _ => {}
        }
        if let Some(backend) = cached.statefulset {
            seen.preserved = self.preserved(backend, cached.preserved);
        }
        seen
    }

    /// The count of a workload that the reconciler sees with this fault.
    fn count(self, workload: Workload, count: Count, spec: Spec) -> Count {
        let declared = self.spec(spec).declared(workload);
        let is_stdio = spec.transport == Transport::Stdio;
        match self {
            Self::ZeroIsCorrected if count == 0 => 4,
            Self::StdioNotCorrected if is_stdio && declared.is_none() => count.min(1),
            Self::StdioSupportsTwo if is_stdio && count == 2 => 1,
            Self::DeclaredBackendsNotCorrected if workload == Workload::StatefulSet && !is_stdio => {
                declared.unwrap_or(count)
            }
            _ => count,
        }
    }

    /// The count in the annotation of the StatefulSet that the reconciler sees with this fault.
    fn preserved(self, backend: Count, preserved: Option<Count>) -> Option<Count> {
        match self {
            Self::OldAnnotationsAccepted if backend > 0 => preserved.and(Some(backend)),
            Self::PreservedCountNotForgotten if backend > 0 => None,
            Self::StartsWithoutAnnotation if backend == 0 => preserved.or(Some(1)),
            _ => preserved,
        }
    }

    /// The answer that the reconciler gets with this fault, and what its watches tell then.
    pub(crate) fn answer(
        self,
        answer: Answer,
        cached: CachedWorkloads,
        spec: Spec,
        default_storage: SessionStorage,
    ) -> (Answer, CachedWorkloads) {
        let mut seen = self.observed(cached, spec);
        let answer = match answer {
            Answer::Server(server) => Answer::Server(self.server(server, default_storage)),
            Answer::Scale { workload, count, is_seen } => {
                let count = count.map(|count| self.count(workload, count, spec));
                let count = if self == Self::CouplesByCachedProxies { cached.deployment } else { count };
                let is_seen = is_seen || self == Self::OldResetsUndone;
                Answer::Scale { workload, count, is_seen }
            }
            Answer::StatefulSet(Some(read)) => {
                if self == Self::StoppedProxiesNotAwaited {
                    seen.deployment = Some(0);
                }
                let preserved = self.preserved(read.replicas, read.preserved);
                let replicas = self.count(Workload::StatefulSet, read.replicas, spec);
                let read = match (self, cached.statefulset) {
                    (Self::CouplesCachedBackends, Some(replicas)) => {
                        StatefulSet { replicas, preserved: cached.preserved, ..read }
                    }
                    _ => StatefulSet { replicas, preserved, ..read },
                };
                Answer::StatefulSet(Some(read))
            }
            answer => answer,
        };
        (answer, seen)
    }

    /// Changes what the reconciler remembers.
    pub(crate) fn memory(self, memory: &mut ServerMemory, now: Instant) {
        match (self, &mut memory.stabilization) {
            (Self::NeverBacksOff, _) => memory.backoff.targets.clear(),
            (Self::WarningKeptForEver, StabilizationWindow::CauseGone(since)) => *since = now,
            _ => {}
        }
    }

    /// The call that this fault makes before another one.
    pub(crate) fn first_call(self, call: &Call) -> Option<Call> {
        let Call::Write(call) = call else { return None };
        let write = match (self, call) {
            (Self::CountPreservedAfterScaling, RealWrite::PreservedCount { count: Some(from), resource_version }) => {
                let change = ScaleChange {
                    workload: Workload::StatefulSet,
                    from: *from,
                    to: 0,
                    resource_version: resource_version.clone(),
                };
                RealWrite::Scale { coupling: Some(Step::ScaleToZero), event: events::coupled(&change), change }
            }
            (Self::CountForgottenBeforeScaling, RealWrite::Scale { coupling: Some(Step::ScaleUp(_)), change, .. }) => {
                RealWrite::PreservedCount { count: None, resource_version: change.resource_version.clone() }
            }
            _ => return None,
        };
        Some(Call::Write(write))
    }

    /// The call that this fault makes in place of another one.
    pub(crate) fn changed(self, mut call: Call) -> Call {
        let Call::Write(write) = &mut call else { return call };
        match (self, write) {
            (Self::RestoresOne, RealWrite::Scale { change, coupling: Some(Step::ScaleUp(_)), .. }) => change.to = 1,
            (Self::WritesScalesUnguarded, RealWrite::Scale { change, coupling: None, .. })
            | (Self::CouplesUnguarded, RealWrite::Scale { change, coupling: Some(_), .. }) => {
                change.resource_version = None;
            }
            (Self::CouplesUnguarded, RealWrite::PreservedCount { resource_version, .. }) => *resource_version = None,
            _ => {}
        }
        call
    }

    /// Returns whether this fault compares a spec that it has read too early, or not again at all.
    pub(crate) fn reads_spec_early(self, is_coupling: bool) -> bool {
        match self {
            Self::DoesNotReadTheSpecAgain => !is_coupling,
            Self::CouplesByAnOldSpec => is_coupling,
            Self::ReadsTheSpecBeforeTheScale => true,
            _ => false,
        }
    }

    /// Returns whether this fault reads the spec at the time of this call.
    pub(crate) fn reads_spec_with(self, call: &Call) -> bool {
        match self {
            Self::DoesNotReadTheSpecAgain | Self::CouplesByAnOldSpec => *call == Call::ReadServer,
            Self::ReadsTheSpecBeforeTheScale => matches!(call, Call::ReadScale(_)),
            _ => false,
        }
    }
}

/// Raises a count that the cap has lowered to 1 to 2.
fn allow_two(asked: Write, answer: Write) -> Write {
    match (asked, answer) {
        (Write::Scale { to: 2.., .. }, Write::Scale { workload, from, to: 1 }) => {
            Write::Scale { workload, from, to: 2 }
        }
        (_, answer) => answer,
    }
}
