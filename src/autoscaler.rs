//! `HorizontalPodAutoscaler` and KEDA's `ScaledObject`: warns about what will happen when they scale.

use mcp_scaling_rules::autoscaler::{Range, RawRange, Scales, Target, known_as};
use mcp_scaling_rules::autoscaling::{ALWAYS_ACTIVE_TRIGGERS, IDLE_REPLICA_COUNT, PAUSED, PAUSED_REPLICAS};
use mcp_scaling_rules::conflicts::conflicts;
use mcp_scaling_rules::kind::EMBEDDING_SERVER;
use mcp_scaling_rules::sessions::{binds_sessions_to_a_backend, needs_redis, storage_in_use};
use mcp_scaling_rules::{AutoscalerKind, Field, Malformed, Owner, Scaling, ServerKind, Transport, Workload, owner};
use serde_json::Value;

use crate::checks;
use crate::lookup::{self, Fields, Found, Lookup, ReadResources};
use crate::request::{Object, Request, Spec};
use crate::requester::Requester;
use crate::settings::{Settings, UnsharedSessions};
use crate::verdict::{Verdict, assignment, shortened};

/// Validates CREATE and UPDATE of an autoscaler. It only warns: whether a server can be scaled may change later, and the
/// Scale that the autoscaler writes is validated when it comes.
///
/// # Errors
/// [`Malformed`] if a field that decides is malformed.
pub(crate) fn validate(
    autoscaler: AutoscalerKind,
    request: &Request<'_>,
    settings: &Settings,
    get: &ReadResources<'_>,
) -> Result<Verdict, Malformed> {
    let mut verdict = Verdict::default();
    let requester = Requester::of(request, settings, None);
    let object = request.object().ok_or(Malformed)?;
    let spec = request.spec()?;
    let (target, name) = target(autoscaler, spec)?;
    match target {
        Target::Workload(workload) => {
            let scales = scales(autoscaler, object, spec)?;
            match lookup_owner(workload, name, request, get) {
                Some((owner, found)) => match scales {
                    Scales::Within(range) => {
                        let server = format!("{} {}", owner.kind.name(), shortened(&owner.name));
                        let of_server = format!(" of {server}");
                        let autoscaler = "the autoscaler";
                        let conflict = Conflict { of_server: &of_server, autoscaler, workload, range, settings };
                        conflict.report(&mut verdict, requester, &found.scaling);
                        conflict.report_sessions(&mut verdict, requester, owner.kind, &server, &found);
                    }
                    Scales::Nothing => {}
                    Scales::Unreadable => {
                        let warning =
                            format!("{PAUSED_REPLICAS} is no count, so that KEDA scales nothing; write 0 or more");
                        verdict.report(requester, "paused-replicas", "malformed".to_owned(), &warning);
                    }
                },
                None if runs_embedding_server(workload, name, request, get) => {
                    embedding_server(&mut verdict, requester, name);
                }
                None => {}
            }
        }
        // The custom resources have no subresource `scale`.
        Target::CustomResource(kind) => not_scalable(
            &mut verdict,
            requester,
            kind.name(),
            name,
            ["", " cannot be scaled by an autoscaler; target its Deployment instead"],
        ),
        Target::EmbeddingServer => embedding_server(&mut verdict, requester, name),
        Target::Other => {}
    }
    Ok(verdict)
}

/// Tells a person who declares a count, or turns a server to `stdio` or `sse`, of the autoscalers that scale its workloads already. The
/// one that KEDA makes for a `ScaledObject` is named by that.
pub(crate) fn report_existing(
    verdict: &mut Verdict,
    kind: ServerKind,
    request: &Request<'_>,
    new: &Scaling,
    old: Option<&Scaling>,
    settings: &Settings,
    get: &ReadResources<'_>,
) {
    let name = request.name();
    let is_given = |workload: Workload| {
        let declared = workload.declared(new);
        declared.is_some() && old.is_none_or(|old| workload.declared(old) != declared)
    };
    let has_limits = matches!(new.transport, Transport::Stdio | Transport::Sse) && kind == ServerKind::McpServer;
    let gets_limits = has_limits && old.is_none_or(|old| old.transport != new.transport);
    // An object without a name gets one after admission, which no autoscaler knows yet.
    if name.is_empty() || !(gets_limits || Workload::ALL.into_iter().any(is_given)) {
        return;
    }
    let Some(list) = lookup::autoscalers(name, request, get) else {
        let warning = "HorizontalPodAutoscalers could not be read; one may conflict with this server";
        verdict.report(Requester::Person, "autoscaler-lookup", "failed".to_owned(), warning);
        return;
    };
    for object in &list {
        let _ = report_item(verdict, kind, name, new, settings, object);
    }
}

/// Reports a HorizontalPodAutoscaler if it conflicts with the server of this kind and name. `None` if it does not scale
/// the server, or is malformed.
fn report_item(
    verdict: &mut Verdict,
    kind: ServerKind,
    name: &str,
    scaling: &Scaling,
    settings: &Settings,
    object: &Object,
) -> Option<()> {
    let spec = object.spec.get()?;
    let hpa = AutoscalerKind::HorizontalPodAutoscaler;
    let Ok((Target::Workload(workload), target)) = target(hpa, spec) else {
        return None;
    };
    // A StatefulSet with the name of another kind of server is somebody else's.
    if target != name || !workload.owner_kinds().contains(&kind) {
        return None;
    }
    let Ok(Scales::Within(range)) = scales(hpa, object, spec) else {
        return None;
    };
    let metadata = object.metadata.get()?;
    let controller = owner::controller(&metadata.owner_references).ok()?;
    let (kind, name) = known_as(controller.map(|owner| (owner.kind, owner.name)), metadata.name.get()?.into());
    let autoscaler = format!("{} {}", kind.name(), shortened(&name));
    let conflict = Conflict { of_server: "", autoscaler: &autoscaler, workload, range, settings };
    conflict.report(verdict, Requester::Person, scaling);
    Some(())
}

/// An autoscaler that scales a workload of a server.
struct Conflict<'a> {
    /// ` of `, kind and name of the server; empty if the request itself is about the server.
    of_server: &'a str,
    /// What the autoscaler is called in a warning.
    autoscaler: &'a str,
    workload: Workload,
    /// The counts that it may request.
    range: Range,
    settings: &'a Settings,
}

impl Conflict<'_> {
    /// The value of an audit annotation.
    fn maximum(&self) -> String {
        assignment("maximum", self.range.maximum)
    }

    fn warns_of_sessions(&self) -> bool {
        self.settings.session_storage != UnsharedSessions::Ignore
    }

    /// Reports the reasons why the autoscaler will not work as intended.
    fn report(&self, verdict: &mut Verdict, requester: Requester, scaling: &Scaling) {
        let Self { of_server, autoscaler, workload, range, .. } = *self;
        let Range { minimum, maximum } = range;
        let conflicts = conflicts(workload, range, scaling);
        if conflicts.exceeds_stdio_cap {
            let warning = format!("transport stdio{of_server} supports 1 replica; {autoscaler} may request {maximum}");
            verdict.report(requester, "stdio-replicas", self.maximum(), &warning);
        }
        if let Some(count) = conflicts.declared {
            let field = workload.declared_in();
            let warning = format!("{field}{of_server} conflicts with {autoscaler}; remove the field");
            verdict.report(requester, "declared-replicas", assignment(field, count), &warning);
        }
        if conflicts.stops_backend {
            let field = minimum.decided_by;
            // KEDA supports no other value of the idle count than 0.
            let remedy = if field == IDLE_REPLICA_COUNT { "remove it" } else { "keep 1 or more" };
            let warning = if of_server.is_empty() {
                format!("{field} 0 of {autoscaler} stops the backend but no proxy; {remedy}")
            } else {
                format!("{field} 0 stops the backend under running proxies, which then fail; {remedy}")
            };
            verdict.report(requester, "backend-stops-alone", assignment(field, 0), &warning);
        }
        if conflicts.binds_sessions && self.warns_of_sessions() {
            let warning = format!("sse keeps each session in 1 backend; {autoscaler} may request {maximum}");
            verdict.report(requester, "sse-backends", self.maximum(), &warning);
        }
        if conflicts.pins_no_session && self.warns_of_sessions() {
            let warning = format!("sessions lose backends as proxies change; {autoscaler} may request {maximum}");
            verdict.report(requester, "unpinned-backends", self.maximum(), &warning);
        }
    }

    /// Reports sessions and logins that the server loses with more than 1 replica.
    fn report_sessions(
        &self,
        verdict: &mut Verdict,
        requester: Requester,
        kind: ServerKind,
        server: &str,
        found: &Found,
    ) {
        if !self.warns_of_sessions() {
            return;
        }
        let Self { workload, range: Range { maximum, .. }, settings, .. } = *self;
        let scaling = &found.scaling;
        let storage = storage_in_use(kind, scaling.session_storage, settings.default_session_storage);
        if needs_redis(scaling.transport, storage, maximum) {
            // Redis changes nothing for sessions that stay in one backend, so that it is not named.
            if binds_sessions_to_a_backend(workload, scaling.transport, maximum) {
                verdict.annotate("sessions-at-risk", self.maximum());
            } else {
                let warning = format!("{server} does not store sessions in Redis; more than 1 replica loses sessions");
                verdict.report(requester, "sessions-at-risk", self.maximum(), &warning);
            }
        }
        if workload == Workload::Deployment {
            let count = ("maximum", maximum);
            checks::logins(verdict, requester, found.auth_server, scaling.transport, count, "several");
        }
    }
}

/// What an autoscaler scales, and the name of that.
fn target(autoscaler: AutoscalerKind, spec: &Spec) -> Result<(Target, &str), Malformed> {
    let target = spec.scale_target_ref.get().ok_or(Malformed)?;
    let name = target.name.get().ok_or(Malformed)?;
    Ok((Target::read(autoscaler, text(&target.api_version), text(&target.kind))?, name))
}

fn text(field: &Field<String>) -> Field<&str> {
    field.as_ref().and_then(|text| Some(text.as_str()))
}

/// What an autoscaler does.
fn scales(autoscaler: AutoscalerKind, object: &Object, spec: &Spec) -> Result<Scales, Malformed> {
    let (minimum, maximum) = match autoscaler {
        AutoscalerKind::HorizontalPodAutoscaler => (spec.min_replicas, spec.max_replicas),
        AutoscalerKind::ScaledObject => (spec.min_replica_count, spec.max_replica_count),
    };
    let raw = RawRange {
        minimum: minimum.count(),
        idle: spec.idle_replica_count.count(),
        maximum: maximum.count(),
        fallback: spec.fallback.get().map_or(Field::Absent, |fallback| fallback.replicas.count()),
        fallback_behavior: spec.fallback.get().and_then(|fallback| fallback.behavior.get().map(String::as_str)),
        is_always_active: is_always_active(spec),
        paused_replicas: object.annotation(PAUSED_REPLICAS),
        paused: object.annotation(PAUSED),
    };
    Scales::read(autoscaler, raw)
}

/// Returns whether there are triggers of a ScaledObject, and none of them is ever inactive.
fn is_always_active(spec: &Spec) -> bool {
    let is_always_active = |trigger: &Value| {
        let name = trigger.get("type").and_then(Value::as_str);
        name.is_some_and(|name| ALWAYS_ACTIVE_TRIGGERS.contains(&name))
    };
    spec.triggers.get().is_some_and(|triggers| !triggers.is_empty() && triggers.iter().all(is_always_active))
}

/// The custom resource that a workload of this name may run for: the first of the kinds with such a workload that has one.
fn lookup_owner<'a>(
    workload: Workload,
    name: &'a str,
    request: &Request<'_>,
    get: &ReadResources<'_>,
) -> Option<(Owner<'a>, Found)> {
    workload.owner_kinds().iter().find_map(|kind| {
        let owner = Owner { kind: *kind, ..Owner::by_name(name.into()) };
        match lookup::find(&owner, Fields::Scaling, request, get) {
            Lookup::Found(found) => Some((owner, found)),
            Lookup::NotFound | Lookup::Failed => None,
        }
    })
}

/// Returns whether the workload of this name runs for an `EmbeddingServer`.
fn runs_embedding_server(workload: Workload, name: &str, request: &Request<'_>, get: &ReadResources<'_>) -> bool {
    workload == Workload::StatefulSet && lookup::exists(EMBEDDING_SERVER, name, request, get)
}

/// Reports an object that no autoscaler can scale: between the two parts of the warning are its kind and name.
fn not_scalable(verdict: &mut Verdict, requester: Requester, kind: &str, name: &str, parts: [&str; 2]) {
    let name = shortened(name);
    let [before, after] = parts;
    let warning = format!("{before}{kind} {name}{after}");
    verdict.report(requester, "not-scalable", format!("{kind}/{name}"), &warning);
}

/// ToolHive's operator sets the count of an `EmbeddingServer` back, whether it is declared or not.
fn embedding_server(verdict: &mut Verdict, requester: Requester, name: &str) {
    let parts = ["the count of ", " is its spec.replicas; ToolHive undoes an autoscaler's"];
    not_scalable(verdict, requester, EMBEDDING_SERVER, name, parts);
}
