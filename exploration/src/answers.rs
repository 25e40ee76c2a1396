//! The answers of the two programs: real decisions, changed by a seeded fault if there is one. Each answer is computed once.

use mcp_scaling_rules::{SessionStorage, Workload};
use rustc_hash::FxHashMap;

use crate::decisions::{CachedWorkloads, Coupling, Decisions, Plan, ReadWorkloads, Write, Writes};
use crate::mutant::Mutant;
use crate::objects::{Count, OnlyAlpha, Server, Spec, User};

/// The answers of policy and reconciler in a cluster.
pub struct Answers {
    /// The decisions without a fault.
    pub real: Decisions,
    mutant: Option<Mutant>,
    admitted: FxHashMap<AdmissionKey, Option<Write>>,
    plans: FxHashMap<(Server, CachedWorkloads, bool), Plan>,
    warned: FxHashMap<(Spec, CachedWorkloads), bool>,
    corrections: FxHashMap<(Workload, Spec, CachedWorkloads), Option<Count>>,
    couplings: FxHashMap<(Spec, CachedWorkloads, ReadWorkloads), Option<Coupling>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct AdmissionKey {
    user: User,
    write: Write,
    spec: Spec,
    generation: u8,
    lookup_fails: bool,
}

impl Answers {
    /// The answers in a cluster, with this fault. `couple_zero` is the reconciler's option.
    pub fn new(api: OnlyAlpha, default_storage: SessionStorage, couple_zero: bool, mutant: Option<Mutant>) -> Self {
        Self {
            real: Decisions::new(api, default_storage, couple_zero),
            mutant,
            admitted: FxHashMap::default(),
            plans: FxHashMap::default(),
            warned: FxHashMap::default(),
            corrections: FxHashMap::default(),
            couplings: FxHashMap::default(),
        }
    }

    /// The policy's answer: the write as it is carried out, or `None` if it is refused. `server` is what a lookup finds.
    ///
    /// # Panics
    /// If the policy returns an error, or changes anything but the count and its own annotation.
    pub fn admit(&mut self, user: User, write: Write, server: &Server, lookup_fails: bool) -> Option<Write> {
        let Self { real, mutant, admitted, .. } = self;
        let key = AdmissionKey { user, write, spec: server.spec, generation: server.generation, lookup_fails };
        *admitted.entry(key).or_insert_with(|| match mutant {
            Some(mutant) => mutant.admit(real, user, write, server, lookup_fails),
            None => real.ask_policy(user, write, server, lookup_fails, &|request| request),
        })
    }

    /// The reconciler's plan for a server. `keep` says that the stabilization window is open.
    pub fn plan(&mut self, server: &Server, cached: CachedWorkloads, keep: bool) -> Plan {
        let Self { real, mutant, plans, .. } = self;
        *plans.entry((*server, cached, keep)).or_insert_with(|| match mutant {
            Some(mutant) => mutant.plan(real, server, cached, keep),
            None => real.plan(server, cached, keep),
        })
    }

    /// Returns whether the reconciler finds a cause for its own warning.
    pub fn has_cause(&mut self, spec: Spec, cached: CachedWorkloads) -> bool {
        let Self { real, mutant, warned, .. } = self;
        *warned.entry((spec, cached)).or_insert_with(|| {
            let seen = mutant.map_or(spec, |mutant| mutant.spec_of_the_reconciler(spec));
            real.has_cause(seen, cached)
        })
    }

    /// The count that the reconciler sets a workload to, which has the count in `cached`.
    pub fn correction(&mut self, workload: Workload, spec: Spec, cached: CachedWorkloads) -> Option<Count> {
        let Self { real, mutant, corrections, .. } = self;
        *corrections.entry((workload, spec, cached)).or_insert_with(|| match mutant {
            Some(mutant) => mutant.correction(real, workload, spec, cached),
            None => real.correction(workload, spec, cached),
        })
    }

    /// The write that couples the backend to its proxies, decided from what the reconciler has `read`. The rest is as in its
    /// cache, which has `cached`.
    pub fn coupling(&mut self, spec: Spec, cached: CachedWorkloads, read: ReadWorkloads) -> Option<Coupling> {
        let Self { real, mutant, couplings, .. } = self;
        *couplings.entry((spec, cached, read)).or_insert_with(|| match mutant {
            Some(mutant) => mutant.coupling(real, spec, cached, read),
            None => real.coupling(spec, cached, read),
        })
    }

    /// Returns whether a write to a target is made now, and not after a delay.
    pub fn is_due(&self, writes: Writes, generation: u8) -> bool {
        self.mutant == Some(Mutant::NeverBacksOff) || self.real.is_due(writes, generation)
    }
}
