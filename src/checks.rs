//! What happens when a requested count violates a rule, whichever field requests it.

use mcp_scaling_rules::auth_server::{AuthServer, Unshared};
use mcp_scaling_rules::session_storage::redis_since;
use mcp_scaling_rules::sessions::{binds_sessions_to_a_backend, needs_redis, pins_no_session_to_a_backend};
use mcp_scaling_rules::{ServerKind, SessionStorage, Transport, Workload, exceeds_stdio_cap};

use crate::requester::Requester;
use crate::settings::{ExcessReplicas, Settings, UnsharedSessions};
use crate::verdict::{UNPROCESSABLE, Verdict, assignment};

/// A count that is checked: one that a request asks for.
#[derive(Clone, Copy)]
pub(crate) struct CheckedCount<'a> {
    /// The path of the field that holds the count.
    pub(crate) field: &'a str,
    /// The workload whose count it is.
    pub(crate) workload: Workload,
    /// The transport of the server.
    pub(crate) transport: Transport,
    /// The count.
    pub(crate) count: u32,
    /// The same field before the request, if there was an object.
    pub(crate) old: Option<u32>,
    /// The transport of the server before the request.
    pub(crate) old_transport: Transport,
    /// Who makes the request.
    pub(crate) requester: Requester,
    /// Says whether the custom resource declares as many, so that the count was validated there.
    pub(crate) is_declared: bool,
}

impl CheckedCount<'_> {
    /// Returns whether the request may be refused, if the settings say so.
    ///
    /// Requests of ToolHive's own accounts never are: without their write a server would not run at all. Nor is an update
    /// that does not raise the count of an object that violated the same rule before (`violated`), so that a rule which is
    /// enforced later does not block every edit, nor one that lowers the count of a workload.
    fn can_be_refused(&self, violated: impl Fn(u32) -> bool) -> bool {
        let is_no_worse = self.old.is_some_and(|old| violated(old) && self.count <= old);
        self.requester != Requester::ToolHive && !is_no_worse
    }

    /// The count and its field, for a sentence that follows a semicolon. A request that leaves the count as it was does not
    /// ask for it.
    fn described(&self) -> String {
        let verb = if self.old == Some(self.count) { "is" } else { "requests" };
        format!("{} {verb} {}", self.field, self.count)
    }
}

/// Refuses or warns about a count above the stdio cap. With [`ExcessReplicas::Cap`] the caller lowers the count, since a
/// custom resource and a workload have different counts to come down to.
pub(crate) fn stdio_cap(verdict: &mut Verdict, action: ExcessReplicas, requested: CheckedCount<'_>) {
    let CheckedCount { field, count, transport, old_transport, .. } = requested;
    if !exceeds_stdio_cap(transport, count) {
        return;
    }
    verdict.annotate("stdio-replicas", assignment(field, count));
    let described = requested.described();
    if action == ExcessReplicas::Reject && requested.can_be_refused(|old| exceeds_stdio_cap(old_transport, old)) {
        verdict.refuse(
            UNPROCESSABLE,
            &format!(
                "transport stdio supports 1 replica; {described}: lower it to 1, or use transport streamable-http or sse"
            ),
        );
    } else if requested.requester == Requester::Person {
        verdict.warn(&format!("transport stdio supports 1 replica; {described}"));
    }
}

/// Refuses or warns about a count of replicas that do not share their sessions.
///
/// `resulting` is the count after the request, which a declared count may have changed. The warning is about that one; only
/// what is requested itself is refused.
pub(crate) fn session_storage(
    verdict: &mut Verdict,
    settings: &Settings,
    kind: ServerKind,
    storage: SessionStorage,
    old_storage: SessionStorage,
    requested: CheckedCount<'_>,
    resulting: u32,
) {
    if settings.session_storage == UnsharedSessions::Ignore {
        return;
    }
    let is_person = requested.requester == Requester::Person;
    // Redis changes nothing for these sessions, so that it is not recommended.
    let binds_sessions = binds_sessions_to_a_backend(requested.workload, requested.transport, resulting);
    if binds_sessions {
        verdict.report(
            requested.requester,
            "sse-backends",
            assignment(requested.field, resulting),
            &format!(
                "transport sse keeps each session in 1 of {resulting} backends, with Redis too; use transport streamable-http"
            ),
        );
    }
    // Only if the count or the transport changes: no other request can do anything about it.
    if (requested.old, requested.old_transport) != (Some(requested.count), requested.transport)
        && pins_no_session_to_a_backend(requested.workload, requested.transport, resulting)
    {
        verdict.report(
            requested.requester,
            "unpinned-backends",
            assignment(requested.field, resulting),
            &format!(
                "{resulting} backends: when proxies change, sessions lose what a backend has in memory, with Redis too"
            ),
        );
    }
    let is_at_risk = |storage, count| needs_redis(requested.transport, storage, count);
    if !is_at_risk(storage, resulting) {
        return;
    }
    verdict.annotate("sessions-at-risk", assignment(requested.field, resulting));
    let since = redis_since(kind);
    if settings.session_storage == UnsharedSessions::Reject
        && is_at_risk(storage, requested.count)
        && !requested.is_declared
        && requested.can_be_refused(|old| needs_redis(requested.old_transport, old_storage, old))
    {
        let (described, kind) = (requested.described(), kind.name());
        let remedy = if binds_sessions { "use transport streamable-http and set" } else { "set" };
        verdict.refuse(
            UNPROCESSABLE,
            &format!(
                "{described}, and replicas share sessions only in Redis: lower it to 1, or {remedy} \
                 spec.sessionStorage.provider of the {kind} to redis (ToolHive {since} or newer)"
            ),
        );
    } else if is_person && !binds_sessions {
        verdict.warn(&format!(
            "{resulting} replicas without Redis: clients with sessions fail, most for good; {since}+: spec.sessionStorage.provider redis"
        ));
    }
}

/// Warns about so many proxies of a server whose embedded auth server has something for each pod alone, or may have.
/// `described` is their number, for a sentence.
pub(crate) fn logins(
    verdict: &mut Verdict,
    requester: Requester,
    auth_server: Option<AuthServer>,
    transport: Transport,
    (field, replicas): (&str, u32),
    described: &str,
) {
    let Some(auth_server) = auth_server.filter(|auth_server| auth_server.may_lose_logins(transport, replicas)) else {
        return;
    };
    let key = match auth_server {
        AuthServer::InSpec(Unshared { storage: true, .. }) => "auth-server-storage",
        AuthServer::InSpec(_) => "auth-server-keys",
        AuthServer::Referenced => "auth-server-referenced",
    };
    verdict.report(requester, key, assignment(field, replicas), &auth_server.requirement(described));
}
