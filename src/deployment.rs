//! `Deployment`: the pods of the proxy runner.

use mcp_scaling_rules::grace_period::raised_to_floor;
use mcp_scaling_rules::{Scaling, admitted, exceeds_stdio_cap, sessions_at_risk};

use crate::judge::{self, Ask};
use crate::lookup::{self, GetResource, Lookup};
use crate::request::{Request, Spec};
use crate::requester::Requester;
use crate::settings::{ExcessReplicas, LookupFailure, Settings};
use crate::verdict::{UNAVAILABLE, Verdict};
use crate::view::{Leaf, Malformed};
use crate::workload::{self, Server};

/// What Kubernetes takes an absent `spec.replicas` for.
const DEFAULT_REPLICAS: u32 = 1;
const FIELD: &str = "spec.replicas";

/// The server behind the Deployment, or `None` where it is not ToolHive's.
pub(crate) fn server<'a>(request: &Request<'a>) -> Option<Server<'a>> {
    workload::server(request.object.as_ref().value()?.metadata.as_ref().value()?)
}

/// Judges CREATE and UPDATE of a Deployment that runs for `server`.
///
/// # Errors
/// [`Malformed`] where a field that decides is.
pub(crate) fn evaluate<'a>(
    server: &Server<'a>,
    request: &Request<'a>,
    settings: &Settings,
    get: &GetResource<'_>,
) -> Result<Verdict<'a>, Malformed> {
    let mut verdict = Verdict::default();
    let object = request.object.as_ref().optional()?.ok_or(Malformed)?;
    let spec = object.spec.as_ref().optional()?.ok_or(Malformed)?;
    let requester = Requester::of(request, settings);
    let change = Change {
        replicas: spec.replicas,
        asked: spec.replicas.count().optional()?.unwrap_or(DEFAULT_REPLICAS),
        old: request.old_spec().and_then(|spec| spec.replicas.count().value()),
        requester,
        is_update: request.is_update(),
    };
    grace_period(&mut verdict, spec, requester, settings)?;

    if change.leaves_none_or_one() {
        return Ok(verdict);
    }
    let namespace = request.namespace.text().value().unwrap_or_default();
    match lookup::find(server, &namespace, settings, get) {
        Lookup::Found(scaling) => replicas(&mut verdict, server, &change, &scaling, settings),
        Lookup::NotFound => {}
        Lookup::Failed => lookup_failed(&mut verdict, server, &change, settings),
    }
    Ok(verdict)
}

/// How the request changes the count.
struct Change<'a> {
    replicas: Leaf<'a>,
    asked: u32,
    old: Option<u32>,
    requester: Requester,
    is_update: bool,
}

impl Change<'_> {
    /// Whether the count stays at zero or one, where no rule could have anything to say.
    fn leaves_none_or_one(&self) -> bool {
        self.is_update && self.asked <= 1 && self.old == Some(self.asked)
    }

    /// The old count, where the request is a reset that nobody asked the operator for.
    fn preserved(&self, settings: &Settings) -> Option<u32> {
        let is_reset = self.is_update && settings.preserve_scaling && self.requester == Requester::Operator;
        self.old.filter(|_| is_reset)
    }

    fn by_person(&self) -> bool {
        self.requester == Requester::Person
    }
}

fn replicas<'a>(
    verdict: &mut Verdict<'a>,
    server: &Server<'_>,
    change: &Change<'a>,
    scaling: &Scaling,
    settings: &Settings,
) {
    let Change { asked, old, .. } = *change;
    let by_person = change.by_person();
    let exceeds = exceeds_stdio_cap(scaling.transport, asked);
    let count = if exceeds && settings.stdio_replicas != ExcessReplicas::Cap {
        asked
    } else {
        admitted(scaling.transport, asked, scaling.replicas, change.preserved(settings))
    };

    let ask = Ask {
        field: FIELD,
        count: asked,
        broken_before: old.filter(|old| exceeds_stdio_cap(scaling.transport, *old)),
        by_person,
    };
    judge::stdio(verdict, settings.stdio_replicas, scaling.transport, ask);
    let ask = Ask {
        count,
        broken_before: old.filter(|old| sessions_at_risk(scaling.session_storage, *old)),
        ..ask
    };
    judge::sessions(verdict, settings, server.kind, scaling.session_storage, ask);

    if count == asked {
        return;
    }
    verdict.edit(&["spec", "replicas"], change.replicas, count.to_string());
    let reason = if exceeds {
        "stdio"
    } else if scaling.replicas.is_some() {
        "declared"
    } else {
        "preserved"
    };
    verdict.annotate(
        "replicas",
        format!("requested={asked} admitted={count} reason={reason}"),
    );
    if reason == "declared" && by_person {
        verdict.warn(&format!(
            "{} {FIELD} is {count} and wins; {asked} requested",
            server.kind.name
        ));
    }
}

fn lookup_failed(verdict: &mut Verdict<'_>, server: &Server<'_>, change: &Change<'_>, settings: &Settings) {
    let kind = server.kind.name;
    verdict.annotate("lookup", "failed".to_owned());
    let changes_count = !change.is_update || change.old != Some(change.asked);
    if settings.on_lookup_failure == LookupFailure::Reject && changes_count {
        verdict.refuse(
            UNAVAILABLE,
            &format!(
                "{kind} {} could not be read, so {FIELD} cannot be checked: try again",
                server.name
            ),
        );
    } else if change.by_person() {
        verdict.warn(&format!("{kind} could not be read; {FIELD} is unchecked"));
    }
}

fn grace_period<'a>(
    verdict: &mut Verdict<'a>,
    spec: &Spec<'a>,
    requester: Requester,
    settings: &Settings,
) -> Result<(), Malformed> {
    let template = spec.template.as_ref().optional()?.ok_or(Malformed)?;
    let pod = template.spec.as_ref().optional()?.ok_or(Malformed)?;
    let asked = pod.termination_grace_period_seconds.integer().optional()?;
    let Some(seconds) = raised_to_floor(asked, settings.termination_grace_period_seconds) else {
        return Ok(());
    };
    verdict.edit(
        &["spec", "template", "spec", "terminationGracePeriodSeconds"],
        pod.termination_grace_period_seconds,
        seconds.to_string(),
    );
    let asked = asked.map_or_else(|| "none".to_owned(), |seconds| seconds.to_string());
    verdict.annotate(
        "termination-grace-period",
        format!("requested={asked} admitted={seconds}"),
    );
    if requester == Requester::Person {
        verdict.warn(&format!(
            "termination grace period floor is {seconds} s; {asked} requested"
        ));
    }
    Ok(())
}
