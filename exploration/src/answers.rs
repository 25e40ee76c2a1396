//! The answers of the policy: real decisions, changed by a seeded fault if there is one. Each answer is computed once.

use mcp_scaling_rules::SessionStorage;
use rustc_hash::FxHashMap;

use crate::decisions::{Decisions, Write};
use crate::mutant::Mutant;
use crate::objects::{OnlyAlpha, Server, Spec, User};

/// The answers of the policy in a cluster.
pub struct Answers {
    /// The decisions without a fault.
    pub real: Decisions,
    mutant: Option<Mutant>,
    admitted: FxHashMap<AdmissionKey, Option<Write>>,
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
    /// The answers in a cluster, with this fault.
    pub fn new(api: OnlyAlpha, default_storage: SessionStorage, mutant: Option<Mutant>) -> Self {
        Self { real: Decisions::new(api, default_storage), mutant, admitted: FxHashMap::default() }
    }

    /// The policy's answer: the write as it is carried out, or `None` if it is refused. `server` is what a lookup finds.
    ///
    /// # Panics
    /// If the policy returns an error, or changes anything but the count and its own annotation.
    pub fn admit(&mut self, user: User, write: Write, server: &Server, lookup_fails: bool) -> Option<Write> {
        let Self { real, mutant, admitted } = self;
        let key = AdmissionKey { user, write, spec: server.spec, generation: server.generation, lookup_fails };
        *admitted.entry(key).or_insert_with(|| match mutant {
            Some(mutant) => mutant.admit(real, user, write, server, lookup_fails),
            None => real.ask_policy(user, write, server, lookup_fails, &|request| request),
        })
    }
}
