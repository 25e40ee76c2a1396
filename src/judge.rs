//! What is said and done about a count that breaks a rule, wherever the count stands.

use mcp_scaling_rules::{ServerKind, SessionStorage, Transport, exceeds_stdio_cap, sessions_at_risk};

use crate::settings::{ExcessReplicas, Settings, UnsharedSessions};
use crate::verdict::{UNPROCESSABLE, Verdict};

/// A count that a request asks for.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// The field that asks, as people write it.
    pub(crate) field: &'a str,
    /// How many replicas.
    pub(crate) count: u32,
    /// How many there were before, where that broke the same rule: such an object may be edited as long as it does not
    /// get worse, so that a rule which comes later locks nobody out.
    pub(crate) broken_before: Option<u32>,
    /// Whether a person asks, who reads warnings.
    pub(crate) by_person: bool,
}

impl Ask<'_> {
    fn is_excused(&self) -> bool {
        self.broken_before.is_some_and(|before| self.count <= before)
    }
}

/// Judges a count against the stdio cap. Lowering it, where `action` says so, is the caller's: a spec and a workload have
/// different counts to come down to.
pub(crate) fn stdio(verdict: &mut Verdict<'_>, action: ExcessReplicas, transport: Transport, ask: Ask<'_>) {
    let Ask { field, count, .. } = ask;
    if !exceeds_stdio_cap(transport, count) {
        return;
    }
    verdict.annotate("stdio-replicas", format!("{field}={count}"));
    if action == ExcessReplicas::Reject && !ask.is_excused() {
        verdict.refuse(
            UNPROCESSABLE,
            &format!(
                "{field} is {count}, but an MCPServer with transport stdio runs 1 replica: lower it to 1, or use \
                 transport streamable-http or sse"
            ),
        );
    } else if ask.by_person {
        verdict.warn(&format!("stdio runs 1 replica; {count} requested in {field}"));
    }
}

/// Judges a count against the storage that its replicas keep sessions in.
pub(crate) fn sessions(
    verdict: &mut Verdict<'_>,
    settings: &Settings,
    kind: &ServerKind,
    storage: SessionStorage,
    ask: Ask<'_>,
) {
    let Ask { field, count, .. } = ask;
    if settings.session_storage == UnsharedSessions::Ignore || !sessions_at_risk(storage, count) {
        return;
    }
    verdict.annotate("sessions-at-risk", format!("{field}={count}"));
    let kind = kind.name;
    if settings.session_storage == UnsharedSessions::Reject && !ask.is_excused() {
        verdict.refuse(
            UNPROCESSABLE,
            &format!(
                "{field} is {count}, but replicas share sessions only in Redis: lower it to 1, or set \
                 spec.sessionStorage.provider of the {kind} to redis"
            ),
        );
    } else if ask.by_person {
        verdict.warn(&format!(
            "{field} {count} without Redis loses sessions; set sessionStorage.provider of the {kind} to redis"
        ));
    }
}
