//! Validates the count that a request asks for, on a Deployment, a StatefulSet or a Scale.

use mcp_scaling_rules::scaling::REPLICAS;
use mcp_scaling_rules::{
    Malformed, Owner, Scaling, SessionStorage, Transport, Workload, admitted, exceeds_stdio_cap, resolve,
    sessions_at_risk,
};

use crate::checks::{self, RequestedReplicas};
use crate::lookup::{self, GetResource, Lookup};
use crate::request::{Request, Spec};
use crate::requester::Requester;
use crate::settings::{ExcessReplicas, LookupFailure, Settings};
use crate::verdict::{UNAVAILABLE, Verdict, shortened};

/// The count that Kubernetes gives a workload without `spec.replicas`.
const DEFAULT_REPLICAS: u32 = 1;

/// A request for a count, and what decides about it.
pub(crate) struct ReplicasRequest {
    /// The count that is requested.
    pub(crate) requested: u32,
    /// The count before the request, where there was an object.
    pub(crate) old: Option<u32>,
    /// Who makes the request.
    pub(crate) requester: Requester,
    /// Whether the object was there before.
    pub(crate) is_update: bool,
    /// The workload whose count it is.
    pub(crate) workload: Workload,
    /// Whether the request is for the Scale of the workload. A Scale is only capped: the operator sets a declared count soon
    /// enough, and does not reset counts there.
    pub(crate) is_scale: bool,
    /// The transport, where the workload itself names it.
    pub(crate) transport: Option<Transport>,
}

impl ReplicasRequest {
    /// The request for a count that an UPDATE or CREATE of a Deployment or a StatefulSet makes.
    ///
    /// # Errors
    /// [`Malformed`] where the count is malformed.
    pub(crate) fn of_workload(
        request: &Request<'_>,
        spec: &Spec<'_>,
        requester: Requester,
        workload: Workload,
        transport: Option<Transport>,
    ) -> Result<Self, Malformed> {
        Ok(Self {
            requested: spec.replicas.count().optional()?.unwrap_or(DEFAULT_REPLICAS),
            old: request.old_spec().and_then(|spec| spec.replicas.count().value()),
            requester,
            is_update: request.is_update(),
            workload,
            is_scale: false,
            transport,
        })
    }

    fn is_unchanged(&self) -> bool {
        self.is_update && self.old == Some(self.requested)
    }

    /// Whether the custom resource has to be looked up: some rule could apply, depending on what it declares.
    fn needs_lookup(&self) -> bool {
        // A count of 0 or 1 on a Scale can only cause a warning, and only a person gets those.
        let is_low_scale_of_nobody = self.is_scale && self.requester != Requester::Person;
        self.requested > 1 || !(self.is_unchanged() || is_low_scale_of_nobody)
    }

    /// Whether the count may violate a rule as long as the custom resource is not known. A Scale that lowers the count or
    /// requests at most one replica violates none; a write of the workload itself may be a reset.
    fn may_violate_a_rule(&self) -> bool {
        if self.is_scale {
            self.requested > 1 && self.old.is_none_or(|old| self.requested > old)
        } else {
            !self.is_unchanged()
        }
    }

    /// The old count, where the request may be a reset by ToolHive.
    fn preserved(&self, settings: &Settings) -> Option<u32> {
        let by_toolhive = self.requester == Requester::ToolHive && self.is_update && !self.is_scale;
        self.old.filter(|_| by_toolhive && settings.preserve_scaling)
    }
}

/// Validates the count, after a lookup where the answer can matter.
pub(crate) fn validate(
    verdict: &mut Verdict,
    owner: &Owner<'_>,
    request: &Request<'_>,
    replicas: &ReplicasRequest,
    settings: &Settings,
    get: &GetResource<'_>,
) {
    if !replicas.needs_lookup() {
        return;
    }
    let lookup = lookup::find(owner, request, get);
    if lookup == Lookup::Failed {
        report_failed_lookup(verdict, owner, replicas, settings);
    }
    match (lookup, replicas.transport) {
        (Lookup::Found(scaling), transport) => {
            let scaling = Scaling { transport: transport.unwrap_or(scaling.transport), ..scaling };
            apply_rules(verdict, owner, replicas, &scaling, replicas.preserved(settings), settings);
        }
        // The transport is all that the stdio cap needs. Nothing is known of the sessions, so that they must not be
        // reported as at risk.
        (Lookup::NotFound | Lookup::Failed, Some(transport)) => {
            let session_storage = Some(SessionStorage::Redis);
            let scaling = Scaling { transport, replicas: None, backend_replicas: None, session_storage };
            apply_rules(verdict, owner, replicas, &scaling, None, settings);
        }
        (Lookup::NotFound | Lookup::Failed, None) => {}
    }
}

fn apply_rules(
    verdict: &mut Verdict,
    owner: &Owner<'_>,
    replicas: &ReplicasRequest,
    scaling: &Scaling,
    preserved: Option<u32>,
    settings: &Settings,
) {
    let ReplicasRequest { requested, old, .. } = *replicas;
    let by_person = replicas.requester == Requester::Person;
    let declared = replicas.workload.declared(scaling);
    let storage = scaling.session_storage_or(settings.default_session_storage);
    let exceeds = exceeds_stdio_cap(scaling.transport, requested);
    let count = if exceeds && settings.stdio_replicas != ExcessReplicas::Cap {
        requested
    } else {
        let declared = declared.filter(|_| !replicas.is_scale);
        admitted(scaling.transport, requested, declared, preserved)
    };

    let stdio = RequestedReplicas {
        field: REPLICAS,
        count: requested,
        violating_before: old.filter(|old| exceeds_stdio_cap(scaling.transport, *old)),
        by_person,
    };
    checks::stdio_cap(verdict, settings.stdio_replicas, scaling.transport, stdio);
    let sessions =
        RequestedReplicas { count, violating_before: old.filter(|old| sessions_at_risk(storage, *old)), ..stdio };
    checks::session_storage(verdict, settings, owner.kind, storage, sessions);

    // The count that the operator sets from the declared one, now or soon.
    let final_count = resolve(scaling.transport, declared);
    if let Some(final_count) = final_count.filter(|count| *count != requested && !exceeds && by_person) {
        verdict.warn(&format!(
            "{} of {} {} is {final_count} and overrides the requested {requested}",
            replicas.workload.declared_in(),
            owner.kind.name(),
            shortened(&owner.name),
        ));
    }
    if count != requested {
        let reason = match declared {
            _ if exceeds => "stdio",
            Some(_) => "declared",
            None => "preserved",
        };
        verdict.edit(&["spec", "replicas"], count.to_string());
        verdict.annotate("replicas", format!("requested={requested} admitted={count} reason={reason}"));
    }
}

fn report_failed_lookup(verdict: &mut Verdict, owner: &Owner<'_>, replicas: &ReplicasRequest, settings: &Settings) {
    let (kind, name) = (owner.kind.name(), shortened(&owner.name));
    verdict.annotate("lookup", "failed".to_owned());
    if settings.on_lookup_failure == LookupFailure::Reject && replicas.may_violate_a_rule() {
        let message = format!("{kind} {name} could not be read, so that {REPLICAS} cannot be checked: try again");
        verdict.refuse(UNAVAILABLE, &message);
    } else if replicas.requester == Requester::Person {
        verdict.warn(&format!("{kind} {name} could not be read; {REPLICAS} was not checked"));
    }
}
