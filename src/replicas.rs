//! Validates the count that a request asks for, on a Deployment, a StatefulSet or a Scale.

use mcp_scaling_rules::resets::{self, ResetDecision};
use mcp_scaling_rules::sessions::storage_in_use;
use mcp_scaling_rules::spec_fields::{REPLICAS, REPLICAS_PATH};
use mcp_scaling_rules::workload::DEFAULT_REPLICAS;
use mcp_scaling_rules::{
    Malformed, Owner, Replicas, Scaling, SessionStorage, Transport, Workload, annotations, exceeds_stdio_cap, resolve,
    stopped,
};

use crate::checks::{self, CheckedCount};
use crate::edit::Edit;
use crate::lookup::{self, Found, Lookup, ReadResources};
use crate::request::{Request, Spec};
use crate::requester::Requester;
use crate::rollout;
use crate::settings::{Corrections, ExcessReplicas, LookupFailure, Settings, UnsharedSessions};
use crate::verdict::{UNAVAILABLE, Verdict, assignment, shortened};

/// A request for a count, and what decides about it.
pub(crate) struct ReplicasRequest {
    /// The count that is requested.
    pub(crate) requested: u32,
    /// The count before the request, if there was an object.
    pub(crate) old: Option<u32>,
    /// Who makes the request.
    pub(crate) requester: Requester,
    /// Says whether the object was there before.
    pub(crate) is_update: bool,
    /// The workload whose count it is.
    pub(crate) workload: Workload,
    /// Says whether the request is for the Scale of the workload. A Scale is only capped: ToolHive sets a declared count itself, for a
    /// Deployment at once, and does not reset counts there.
    pub(crate) is_scale: bool,
    /// The transport that a label of the workload names. Anybody who may edit the workload can change it.
    pub(crate) transport_label: Option<Transport>,
    /// Says whether a proxy runner from before an edit asks for the count, which is an old one too: the present one is preserved.
    pub(crate) is_old_runner: bool,
}

impl ReplicasRequest {
    /// The request for a count that an UPDATE or CREATE of a Deployment or a StatefulSet makes.
    ///
    /// # Errors
    /// [`Malformed`] if the count is malformed.
    pub(crate) fn of_workload(
        request: &Request<'_>,
        spec: &Spec,
        requester: Requester,
        workload: Workload,
        transport_label: Option<Transport>,
    ) -> Result<Self, Malformed> {
        Ok(Self {
            requested: spec.replicas.count().optional()?.unwrap_or(DEFAULT_REPLICAS),
            old: request.old_spec().and_then(|spec| spec.replicas.count().value()),
            requester,
            is_update: request.is_update(),
            workload,
            is_scale: false,
            transport_label,
            is_old_runner: false,
        })
    }

    /// The count that ToolHive makes of the declared one.
    fn declared(&self, scaling: &Scaling) -> Option<u32> {
        resolve(scaling.transport, self.workload.declared(scaling))
    }

    fn is_unchanged(&self) -> bool {
        self.is_update && self.old == Some(self.requested)
    }

    /// Returns whether ToolHive updates the workload itself, so that the request may be a reset.
    fn is_update_by_toolhive(&self) -> bool {
        self.requester == Requester::ToolHive && self.is_update && !self.is_scale
    }

    /// Returns whether the request is one that an operator before v0.10.1 may send.
    fn may_be_by_resetting_operator(&self, owner: &Owner<'_>, settings: &Settings) -> bool {
        settings.preserve_scaling
            && self.is_update_by_toolhive()
            && self.workload == Workload::Deployment
            && resets::may_reset(owner)
    }

    /// Returns whether the custom resource has to be looked up: some rule could apply, depending on what it declares.
    fn needs_lookup(&self) -> bool {
        // A count of 0 or 1 on a Scale can only cause a warning, and only a person gets those.
        let is_low_scale_of_nobody = self.is_scale && self.requester != Requester::Person;
        self.requested > 1 || !(self.is_unchanged() || is_low_scale_of_nobody)
    }

    /// Returns whether the request asks for 0 and gets it, and stops the workload alone.
    fn stops_workload_alone(&self, owner: &Owner<'_>, scaling: &Scaling, count: u32) -> bool {
        (self.requested, count) == (0, 0)
            && self.old.is_some_and(|old| old > 0)
            && stopped::stops_alone(owner.kind, self.workload, scaling)
    }

    /// Returns whether the request may be refused at all. ToolHive's own writes and a count that does not rise never are.
    fn can_be_refused(&self) -> bool {
        self.requester != Requester::ToolHive && self.old.is_none_or(|old| self.requested > old)
    }

    /// Returns whether the request may be refused because the custom resource could not be read, so that nothing is known of the
    /// count. A count of 0 or 1 can only differ from a declared one, which matters if such a difference is refused too:
    /// in an audit, that is, which sends requests to create what is there.
    fn can_be_refused_unchecked(&self, settings: &Settings) -> bool {
        let may_be_refused_at_any_count = settings.corrections == Corrections::Reject && !self.is_update;
        self.can_be_refused() && (self.requested > 1 || may_be_refused_at_any_count)
    }
}

/// Validates the count, after a lookup if the answer can matter, and adds to the verdict.
pub(crate) fn validate(
    mut verdict: Verdict,
    owner: &Owner<'_>,
    request: &Request<'_>,
    replicas: &ReplicasRequest,
    settings: &Settings,
    get: &ReadResources<'_>,
) -> Verdict {
    let may_reset = replicas.may_be_by_resetting_operator(owner, settings);
    let needs_lookup = replicas.needs_lookup() || may_reset && rollout::concerns_unchanged_count(request, settings);
    if !needs_lookup {
        return verdict;
    }
    let fields = if may_reset { lookup::Fields::ScalingAndRollout } else { lookup::Fields::Scaling };
    let lookup = lookup::find(owner, fields, request, get);
    if matches!(lookup, Lookup::Failed) {
        report_failed_lookup(&mut verdict, owner, replicas, settings);
    }
    let stdio_label = replicas.transport_label.filter(|label| *label == Transport::Stdio);
    let Lookup::Found(mut server) = lookup else {
        // The count that is preserved from an old runner needs no label; a transport without a cap takes the place of one.
        let without_label = replicas.transport_label.unwrap_or(Transport::StreamableHttp);
        if let Some(transport) = stdio_label.or(replicas.is_old_runner.then_some(without_label)) {
            // The transport is all that the stdio cap needs. Nothing is known of the sessions, so that they must not be
            // reported as at risk.
            let session_storage = Some(SessionStorage::Redis);
            let scaling = Scaling { transport, replicas: None, backend_replicas: None, session_storage };
            let preserved = replicas.old.filter(|_| replicas.is_old_runner);
            let decided = decide(replicas, &scaling, preserved, settings);
            report(&mut verdict, owner, replicas, &scaling, decided, settings);
        }
        return verdict;
    };
    // A stdio server runs one replica whatever the label says, and the label is the only trace of one whose custom resource
    // has just been changed.
    server.scaling.transport = stdio_label.unwrap_or(server.scaling.transport);
    let reset = decide_reset(request, replicas, &server, settings, may_reset);
    if let Some(annotation) = &reset.annotation {
        verdict.edit(Edit::set(&["metadata", "annotations", annotations::ROLLED_OUT], annotation.to_string()));
    }
    if let Some(old) = replicas.old.filter(|_| reset.lets_reset_through) {
        verdict.annotate("reset-let-through", assignment("replicas", old));
    }
    let decided = decide(replicas, &server.scaling, reset.preserved, settings);
    report(&mut verdict, owner, replicas, &server.scaling, decided, settings);
    // A declared count soon takes the place of what a Scale requests.
    let soon = replicas.declared(&server.scaling).unwrap_or(decided.count);
    if replicas.stops_workload_alone(owner, &server.scaling, decided.count) {
        crate::stopped::report(&mut verdict, replicas.workload, REPLICAS, request, &server.scaling, replicas.requester);
    } else if stopped::starts_alone(owner.kind, replicas.workload, &server.scaling, replicas.old, soon) {
        crate::stopped::report_start(&mut verdict, REPLICAS, soon, &server.scaling, replicas.requester);
    }
    if settings.session_storage != UnsharedSessions::Ignore && replicas.workload == Workload::Deployment {
        let (transport, described) = (server.scaling.transport, decided.count.to_string());
        let count = (REPLICAS, decided.count);
        checks::logins(&mut verdict, replicas.requester, server.auth_server, transport, count, &described);
    }
    verdict
}

/// Decides what is preserved if ToolHive writes a count that nobody declares.
fn decide_reset(
    request: &Request<'_>,
    replicas: &ReplicasRequest,
    server: &Found,
    settings: &Settings,
    may_reset: bool,
) -> ResetDecision {
    let preserves = (settings.preserve_scaling || replicas.is_old_runner) && replicas.is_update_by_toolhive();
    let preserved = replicas.old.filter(|_| preserves);
    let (transport, declared) = (server.scaling.transport, replicas.workload.declared(&server.scaling));
    let recorded = rollout::recorded(request);
    preserved
        .filter(|old| may_reset && resets::concerns(transport, declared, *old, recorded.as_ref()))
        .and_then(|old| rollout::decide(request, settings, server, recorded.as_ref(), replicas.requested, old))
        .unwrap_or(ResetDecision { preserved, annotation: None, lets_reset_through: false })
}

/// Decides the count. A declared one does not apply to a Scale.
fn decide(replicas: &ReplicasRequest, scaling: &Scaling, preserved: Option<u32>, settings: &Settings) -> Replicas {
    // ToolHive's own writes are capped whatever `stdioReplicas` says, since they are never refused.
    let caps = settings.stdio_replicas == ExcessReplicas::Cap || replicas.requester == Requester::ToolHive;
    let declared = replicas.workload.declared(scaling).filter(|_| !replicas.is_scale);
    // Without the cap, a declared count still applies if the server can run it.
    let can_run = |count| !exceeds_stdio_cap(scaling.transport, count);
    if !can_run(replicas.requested) && !caps && !declared.is_some_and(can_run) {
        return Replicas::as_requested(replicas.requested);
    }
    mcp_scaling_rules::replicas::decide(scaling.transport, replicas.requested, declared, preserved)
}

/// Reports the rules that the request violates, and sets the count that was decided.
fn report(
    verdict: &mut Verdict,
    owner: &Owner<'_>,
    replicas: &ReplicasRequest,
    scaling: &Scaling,
    decided: Replicas,
    settings: &Settings,
) {
    let ReplicasRequest { requested, old, requester, .. } = *replicas;
    let Replicas { count, rule } = decided;
    let storage = storage_in_use(owner.kind, scaling.session_storage, settings.default_session_storage);
    let declared = replicas.workload.declared(scaling);
    let request = CheckedCount {
        field: REPLICAS,
        workload: replicas.workload,
        transport: scaling.transport,
        count: requested,
        old,
        old_transport: scaling.transport,
        requester,
        is_declared: declared.is_some_and(|declared| requested <= declared),
    };
    checks::stdio_cap(verdict, settings.stdio_replicas, request);
    // The operator sets a declared count of a Deployment whatever the policy does, but leaves that of a StatefulSet alone.
    let is_statefulset = replicas.workload == Workload::StatefulSet;
    let stays_as_requested = is_statefulset && settings.corrections == Corrections::Reject;
    let resulting = if stays_as_requested { requested } else { count };
    checks::session_storage(verdict, settings, owner.kind, storage, storage, request, resulting);

    let (field, kind, name) = (replicas.workload.declared_in(), owner.kind.name(), shortened(&owner.name));
    if let Some(rule) = rule {
        let reason = rule.name();
        verdict.annotate("replicas", format!("requested={requested} wanted={count} reason={reason}"));
        // A request that can be refused differs from a declared count here: only ToolHive's own writes are capped or undone
        // if no object may be changed.
        let message = || {
            format!(
                "{REPLICAS} requests {requested} and {field} of {kind} {name} wants {count}: request {count}, or change the {kind}"
            )
        };
        verdict.correct(settings, Edit::set(REPLICAS_PATH, count), replicas.can_be_refused(), message);
    }
    // A count that only the stdio cap lowers is not overridden.
    let requested_of_transport = resolve(scaling.transport, Some(requested));
    let is_overridden = replicas.declared(scaling).is_some_and(|count| Some(count) != requested_of_transport);
    if let Some(declared) = declared
        && is_overridden
        && requester == Requester::Person
    {
        let what_happens = if stays_as_requested || replicas.is_scale && is_statefulset {
            // The proxy runner sets it, and only when it starts.
            "is set again when a proxy starts".to_owned()
        } else {
            let overridden = if replicas.is_unchanged() { "current" } else { "requested" };
            format!("overrides the {overridden} {requested}")
        };
        verdict.warn(&format!("{field} of {kind} {name} is {declared} and {what_happens}"));
    }
}

fn report_failed_lookup(verdict: &mut Verdict, owner: &Owner<'_>, replicas: &ReplicasRequest, settings: &Settings) {
    let (kind, name) = (owner.kind.name(), shortened(&owner.name));
    // A label that names stdio is all that the cap needs, where there is one. Without it anybody could pass with that label.
    let is_capped = replicas.transport_label.is_some_and(|label| exceeds_stdio_cap(label, replicas.requested))
        && (settings.stdio_replicas != ExcessReplicas::Warn || replicas.requester == Requester::ToolHive);
    verdict.annotate("lookup", "failed".to_owned());
    if settings.on_lookup_failure == LookupFailure::Reject && replicas.can_be_refused_unchecked(settings) && !is_capped
    {
        let message = format!("{kind} {name} could not be read, so that {REPLICAS} cannot be checked: try again");
        verdict.refuse(UNAVAILABLE, &message);
    } else if replicas.requester == Requester::Person && !is_capped {
        verdict.warn(&format!("{kind} {name} could not be read; {REPLICAS} was not checked"));
    }
}
