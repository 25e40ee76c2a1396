//! What happens when a requested count violates a rule, whichever field requests it.

use mcp_scaling_rules::{ServerKind, SessionStorage, Transport, exceeds_stdio_cap, sessions_at_risk};

use crate::settings::{ExcessReplicas, Settings, UnsharedSessions};
use crate::verdict::{UNPROCESSABLE, Verdict};

/// A count that a request asks for.
#[derive(Clone, Copy)]
pub(crate) struct RequestedReplicas<'a> {
    /// The path of the field that holds the count.
    pub(crate) field: &'a str,
    /// The count.
    pub(crate) count: u32,
    /// The count before the request, where it violated the same rule. Such an object can still be updated as long as its
    /// count does not rise, so that a rule which is enforced later does not block every edit.
    pub(crate) violating_before: Option<u32>,
    /// Whether a person makes the request, who reads warnings.
    pub(crate) by_person: bool,
}

impl RequestedReplicas<'_> {
    fn is_no_worse_than_before(&self) -> bool {
        self.violating_before.is_some_and(|before| self.count <= before)
    }
}

/// Refuses or warns about a count above the stdio cap. With [`ExcessReplicas::Cap`] the caller lowers the count, since a
/// custom resource and a workload have different counts to come down to.
pub(crate) fn stdio_cap(
    verdict: &mut Verdict,
    action: ExcessReplicas,
    transport: Transport,
    requested: RequestedReplicas<'_>,
) {
    let RequestedReplicas { field, count, .. } = requested;
    if !exceeds_stdio_cap(transport, count) {
        return;
    }
    verdict.annotate("stdio-replicas", format!("{field}={count}"));
    if action == ExcessReplicas::Reject && !requested.is_no_worse_than_before() {
        verdict.refuse(
            UNPROCESSABLE,
            &format!(
                "transport stdio supports 1 replica; {field} requests {count}: lower it to 1, or use transport \
                 streamable-http or sse"
            ),
        );
    } else if requested.by_person {
        verdict.warn(&format!("transport stdio supports 1 replica; {field} requests {count}"));
    }
}

/// Refuses or warns about a count of replicas that do not share their sessions.
pub(crate) fn session_storage(
    verdict: &mut Verdict,
    settings: &Settings,
    kind: ServerKind,
    storage: SessionStorage,
    requested: RequestedReplicas<'_>,
) {
    let RequestedReplicas { field, count, .. } = requested;
    if settings.session_storage == UnsharedSessions::Ignore || !sessions_at_risk(storage, count) {
        return;
    }
    verdict.annotate("sessions-at-risk", format!("{field}={count}"));
    let kind = kind.name();
    if settings.session_storage == UnsharedSessions::Reject && !requested.is_no_worse_than_before() {
        verdict.refuse(
            UNPROCESSABLE,
            &format!(
                "{field} requests {count}, and replicas share sessions only in Redis: lower it to 1, or set \
                 spec.sessionStorage.provider of the {kind} to redis"
            ),
        );
    } else if requested.by_person {
        verdict.warn(&format!(
            "{count} replicas without Redis lose sessions; set spec.sessionStorage.provider of the {kind} to redis"
        ));
    }
}
