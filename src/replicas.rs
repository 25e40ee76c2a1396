//! What becomes of a count that a request asks for, on a Deployment, a StatefulSet or a Scale.

use mcp_scaling_rules::{Scaling, SessionStorage, Transport, admitted, exceeds_stdio_cap, resolve, sessions_at_risk};

use crate::custom_resource::Declaration;
use crate::judge::{self, Ask};
use crate::lookup::{self, GetResource, Lookup};
use crate::request::{Request, Spec};
use crate::requester::Requester;
use crate::server::Server;
use crate::settings::{ExcessReplicas, LookupFailure, Settings};
use crate::verdict::{UNAVAILABLE, Verdict};
use crate::view::{Leaf, Malformed};

const FIELD: &str = "spec.replicas";
/// What Kubernetes takes an absent `spec.replicas` of a workload for.
const DEFAULT_REPLICAS: u32 = 1;

/// A count in a request, and what decides about it.
pub(crate) struct Change<'a> {
    /// Where the count stands in the object.
    pub(crate) replicas: Leaf<'a>,
    /// The count that is asked for.
    pub(crate) asked: u32,
    /// The count before the request, where there was an object.
    pub(crate) old: Option<u32>,
    /// Who asks.
    pub(crate) requester: Requester,
    /// Whether the object was there before.
    pub(crate) is_update: bool,
    /// The field of the custom resource that declares the count.
    pub(crate) declaration: &'static Declaration,
    /// Whether this is a request for the workload itself. Its Scale is only capped: the operator sets a declared count soon
    /// enough, and resets none there.
    pub(crate) is_main_resource: bool,
    /// The transport, where the workload itself tells it.
    pub(crate) transport: Option<Transport>,
}

impl<'a> Change<'a> {
    /// What the request asks of a Deployment or a StatefulSet.
    ///
    /// # Errors
    /// [`Malformed`] where the count is.
    pub(crate) fn of_workload(
        request: &Request<'_>,
        spec: &Spec<'a>,
        requester: Requester,
        declaration: &'static Declaration,
        transport: Option<Transport>,
    ) -> Result<Self, Malformed> {
        Ok(Self {
            replicas: spec.replicas,
            asked: spec.replicas.count().optional()?.unwrap_or(DEFAULT_REPLICAS),
            old: request.old_spec().and_then(|spec| spec.replicas.count().value()),
            requester,
            is_update: request.is_update(),
            declaration,
            is_main_resource: true,
            transport,
        })
    }

    /// Whether no rule could have anything to say, whatever the custom resource declares.
    fn is_harmless(&self) -> bool {
        let is_unchanged = self.is_update && self.old == Some(self.asked);
        // A low count on a Scale can only be worth a warning, and only a person gets those.
        let is_unheard = !self.is_main_resource && self.requester != Requester::Person;
        self.asked <= 1 && (is_unchanged || is_unheard)
    }

    /// Whether the count may be wrong as long as nothing is known of the server. A Scale that lowers the count, or asks for
    /// no more than one, can break no rule; a write of the workload itself can be a reset.
    fn needs_knowledge(&self) -> bool {
        if self.is_main_resource {
            !self.is_update || self.old != Some(self.asked)
        } else {
            self.asked > 1 && self.old.is_none_or(|old| self.asked > old)
        }
    }

    /// The old count, where the request is a reset that nobody asked ToolHive for.
    fn preserved(&self, settings: &Settings) -> Option<u32> {
        let by_toolhive = self.is_main_resource && self.is_update && self.requester == Requester::ToolHive;
        self.old.filter(|_| by_toolhive && settings.preserve_scaling)
    }
}

/// Judges the count, after a lookup where the answer can matter.
pub(crate) fn judge<'a>(
    verdict: &mut Verdict<'a>,
    server: &Server<'_>,
    request: &Request<'_>,
    change: &Change<'a>,
    settings: &Settings,
    get: &GetResource<'_>,
) {
    if change.is_harmless() {
        return;
    }
    let lookup = lookup::find(server, request, settings, get);
    if lookup == Lookup::Failed {
        lookup_failed(verdict, server, change, settings);
    }
    match (lookup, change.transport) {
        (Lookup::Found(scaling), transport) => {
            let scaling = Scaling { transport: transport.unwrap_or(scaling.transport), ..scaling };
            apply_rules(verdict, server, change, &scaling, change.preserved(settings), settings);
        }
        // The stdio cap needs no more than the transport. Of sessions nothing is known, so nothing is said.
        (_, Some(transport)) => {
            let session_storage = SessionStorage::Redis;
            let scaling = Scaling { transport, replicas: None, backend_replicas: None, session_storage };
            apply_rules(verdict, server, change, &scaling, None, settings);
        }
        (_, None) => {}
    }
}

fn apply_rules<'a>(
    verdict: &mut Verdict<'a>,
    server: &Server<'_>,
    change: &Change<'a>,
    scaling: &Scaling,
    preserved: Option<u32>,
    settings: &Settings,
) {
    let Change { asked, old, .. } = *change;
    let by_person = change.requester == Requester::Person;
    let declared = (change.declaration.count)(scaling);
    let exceeds = exceeds_stdio_cap(scaling.transport, asked);
    let count = if exceeds && settings.stdio_replicas != ExcessReplicas::Cap {
        asked
    } else {
        let declared = declared.filter(|_| change.is_main_resource);
        admitted(scaling.transport, asked, declared, preserved)
    };

    let ask = Ask {
        field: FIELD,
        count: asked,
        broken_before: old.filter(|old| exceeds_stdio_cap(scaling.transport, *old)),
        by_person,
    };
    judge::stdio(verdict, settings.stdio_replicas, scaling.transport, ask);
    let ask = Ask { count, broken_before: old.filter(|old| sessions_at_risk(scaling.session_storage, *old)), ..ask };
    judge::sessions(verdict, settings, server.kind, scaling.session_storage, ask);

    // What the operator makes of the declaration, now or soon.
    let final_count = resolve(scaling.transport, declared);
    if let Some(winner) = final_count.filter(|winner| *winner != asked && !exceeds && by_person) {
        verdict.warn(&format!(
            "{} {} is {winner} and wins; {asked} requested",
            server.kind.name, change.declaration.field
        ));
    }
    if count != asked {
        let reason = match declared {
            _ if exceeds => "stdio",
            Some(_) => "declared",
            None => "preserved",
        };
        verdict.edit(&["spec", "replicas"], change.replicas, count.to_string());
        verdict.annotate("replicas", format!("requested={asked} admitted={count} reason={reason}"));
    }
}

fn lookup_failed(verdict: &mut Verdict<'_>, server: &Server<'_>, change: &Change<'_>, settings: &Settings) {
    let kind = server.kind.name;
    verdict.annotate("lookup", "failed".to_owned());
    if settings.on_lookup_failure == LookupFailure::Reject && change.needs_knowledge() {
        verdict.refuse(
            UNAVAILABLE,
            &format!("{kind} {} could not be read, so {FIELD} cannot be checked: try again", server.name),
        );
    } else if change.requester == Requester::Person {
        verdict.warn(&format!("{kind} could not be read; {FIELD} is unchecked"));
    }
}
