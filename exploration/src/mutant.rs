//! Seeded faults. Each changes what goes into a real decision or what comes out of it; the decisions themselves stay as they
//! are. A fault of the rules is seeded in the policy and in the reconciler alike, since both call them.

use mcp_scaling_rules::{ConditionReason, RolledOut, SessionStorage, Transport, Workload};
use serde_json::{Value, json};

use crate::decisions::{CachedWorkloads, Coupling, Decisions, Plan, ReadWorkloads, Write};
use crate::objects::{Condition, Count, Deployment, Server, Spec, User, capped};

/// A fault in a decision.
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

    /// What the reconciler sees in place of the spec when it decides about its own warning.
    pub(crate) fn spec_of_the_reconciler(self, spec: Spec) -> Spec {
        let spec = self.spec(spec);
        match self {
            Self::BackendReplicasNotTold => {
                Spec { backend_replicas: spec.backend_replicas.map(|count| capped(spec.transport, count)), ..spec }
            }
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

    /// The reconciler's plan with this fault.
    pub(crate) fn plan(self, decisions: &mut Decisions, server: &Server, cached: CachedWorkloads, keep: bool) -> Plan {
        let mut seen = Server { spec: self.spec_of_the_reconciler(server.spec), ..*server };
        let mut keep = keep;
        let mut cached = cached;
        match self {
            Self::CountBeforeResetNotRestored => cached.before_reset = None,
            Self::ConditionsOfDefaultStorage => {
                let storage = seen.spec.storage.or(Some(decisions.default_storage()));
                seen.spec.storage = storage;
            }
            Self::WarningKeptForEver => keep = true,
            Self::OldGenerationsAccepted => {
                for condition in seen.conditions.iter_mut().flatten() {
                    condition.generation = seen.generation;
                }
            }
            Self::TwoReplicasShareSessions if server.spec.replicas == Some(2) => {
                // What this fault would write is what it is content with.
                let [_, right] = seen.spec.toolhive_conditions(seen.generation);
                let wrong = ConditionReason::SessionStorageWarningNotApplicable;
                seen.conditions[1] = seen.conditions[1]
                    .filter(|condition| condition.reason == wrong)
                    .map(|condition| Condition { generation: condition.generation, ..right });
            }
            Self::BackendReplicasInToolhivesCondition if seen.spec.replicas.is_none_or(|count| count <= 1) => {
                let plan = decisions.plan(&seen, cached, keep);
                let is_capped =
                    seen.spec.backend_replicas.is_some_and(|count| count != capped(seen.spec.transport, count));
                let wanted = ConditionReason::StdioTransportCapAt1;
                let has_it = seen.conditions[0].is_some_and(|condition| condition.reason == wanted);
                if !is_capped {
                    return plan;
                }
                let [_, storage, own] = plan.conditions.unwrap_or_default();
                let others_missing =
                    storage.is_some_and(|reason| seen.conditions[1].is_none_or(|condition| condition.reason != reason));
                let conditions = (!has_it || others_missing).then_some([Some(wanted), storage, own]);
                return Plan { conditions, ..plan };
            }
            _ => {}
        }
        let mut plan = decisions.plan(&seen, cached, keep);
        match self {
            Self::TwoReplicasShareSessions if server.spec.replicas == Some(2) => {
                if let Some([_, Some(reason), _]) = &mut plan.conditions {
                    *reason = ConditionReason::SessionStorageWarningNotApplicable;
                }
            }
            Self::OwnConditionWithOthersOnly => {
                let is_own_alone = plan.conditions.is_some_and(|desired| {
                    let written = decisions.write_conditions(server, [desired[0], desired[1], None]);
                    written == server.conditions
                });
                if is_own_alone {
                    plan.conditions = None;
                }
            }
            _ => {}
        }
        plan.coupling = match cached {
            CachedWorkloads { deployment: Some(proxies), statefulset: Some(backend), preserved, .. } => {
                self.coupling(decisions, server.spec, cached, ReadWorkloads { proxies, backend, preserved })
            }
            _ => None,
        };
        for workload in Workload::ALL {
            let count = self.correction(decisions, workload, server.spec, cached);
            match workload {
                Workload::Deployment => plan.deployment = count,
                Workload::StatefulSet => plan.statefulset = count.filter(|_| plan.coupling.is_none()),
            }
        }
        plan
    }

    /// The write with this fault that couples the backend to its proxies.
    pub(crate) fn coupling(
        self,
        decisions: &Decisions,
        spec: Spec,
        cached: CachedWorkloads,
        read: ReadWorkloads,
    ) -> Option<Coupling> {
        let mut spec = self.spec(spec);
        let (mut cached, mut read) = (cached, read);
        match self {
            Self::CouplesCachedBackends => {
                read = ReadWorkloads { backend: cached.statefulset?, preserved: cached.preserved, ..read };
            }
            Self::CouplesByCachedProxies => read.proxies = cached.deployment?,
            Self::EndingProxiesNotAwaited => cached.has_ending_proxies = false,
            Self::StoppedProxiesNotAwaited => cached.deployment = Some(read.proxies),
            Self::StartsWithoutAnnotation => read.preserved = read.preserved.or(Some(1).filter(|_| read.backend == 0)),
            Self::DeclaredBackendsNotRestored => spec.backend_replicas = None,
            _ => {}
        }
        let coupling = decisions.coupling(spec, cached, read)?;
        match (self, coupling) {
            (Self::PreservedCountNotForgotten, Coupling::ForgetCount) => None,
            (Self::CountPreservedAfterScaling, Coupling::PreserveCount(_)) => Some(Coupling::ScaleToZero),
            (Self::OldAnnotationsAccepted, Coupling::PreserveCount(_)) if read.preserved.is_some() => {
                Some(Coupling::ScaleToZero)
            }
            (Self::RestoresOne, Coupling::ScaleUp(_)) => Some(Coupling::ScaleUp(1)),
            _ => Some(coupling),
        }
    }

    /// The count that the reconciler sets with this fault.
    pub(crate) fn correction(
        self,
        decisions: &mut Decisions,
        workload: Workload,
        spec: Spec,
        cached: CachedWorkloads,
    ) -> Option<Count> {
        let count = match workload {
            Workload::Deployment => cached.deployment?,
            Workload::StatefulSet => cached.statefulset?,
        };
        let mut cached = cached;
        let spec = self.spec(spec);
        let is_declared = spec.declared(workload).is_some();
        let is_stdio = spec.transport == Transport::Stdio;
        match self {
            Self::ZeroIsCorrected if count == 0 => {
                return spec.declared(workload).or(Some(1)).filter(|count| *count > 0);
            }
            Self::StdioNotCorrected if is_stdio && !is_declared => return None,
            Self::DeclaredBackendsNotCorrected if workload == Workload::StatefulSet && !is_stdio => return None,
            Self::UndeclaredCountsCorrected if !is_declared && count > 1 => return Some(1),
            Self::StdioSupportsTwo if is_stdio && count == 2 => return None,
            Self::CountBeforeResetNotRestored => cached.before_reset = None,
            _ => {}
        }
        decisions.correction(workload, spec, cached)
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
