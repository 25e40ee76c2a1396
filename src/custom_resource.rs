//! `MCPServer`, `VirtualMCPServer` and `MCPRemoteProxy`: validates the counts that they declare.

use mcp_scaling_rules::sessions::{lacks_redis_password, leaves_backends_idle, storage_in_use};
use mcp_scaling_rules::spec_fields::{BACKEND_REPLICAS, REPLICAS};
use mcp_scaling_rules::stopped::{frees_stopped_backend, newly_declared_alone, starts_alone};
use mcp_scaling_rules::transport::STDIO_REPLICAS;
use mcp_scaling_rules::{Malformed, Scaling, ServerKind, Transport, Workload, annotations, exceeds_stdio_cap};

use crate::autoscaler;
use crate::checks::{self, CheckedCount};
use crate::edit::{self, Edit, Path};
use crate::lookup::ReadResources;
use crate::request::{Object, Request, Spec};
use crate::requester::Requester;
use crate::server_spec::{auth_server, scaling};
use crate::settings::{Corrections, ExcessReplicas, Settings, UnsharedSessions};
use crate::stopped;
use crate::verdict::{Verdict, assignment, scale_command};

/// Validates CREATE and UPDATE of a custom resource by the counts that its spec declares.
///
/// # Errors
/// [`Malformed`] if a field that decides is malformed. The API server validates after mutation and refuses it then.
pub(crate) fn validate(
    kind: ServerKind,
    request: &Request<'_>,
    settings: &Settings,
    get: &ReadResources<'_>,
) -> Result<Verdict, Malformed> {
    let mut verdict = Verdict::default();
    let object = request.object().ok_or(Malformed)?;
    let spec = request.spec()?;
    let scaling_of = |spec| scaling(kind, spec).map_err(|_| Malformed);
    let new = scaling_of(spec)?;
    // An old object that cannot be read violated no rule.
    let old = request.old_spec().and_then(|spec| scaling_of(spec).ok());
    let storage = |scaling: &Scaling| storage_in_use(kind, scaling.session_storage, settings.default_session_storage);
    let requester = Requester::of(request, settings, None);

    let mut capped = Vec::new();
    let mut counts_change = false;
    let mut changed_count = None;
    for workload in Workload::ALL {
        let field = workload.declared_in();
        let old_count = old.as_ref().and_then(|old| workload.declared(old));
        let Some(declared) = workload.declared(&new) else {
            counts_change |= old_count.is_some();
            continue;
        };
        let requested = CheckedCount {
            field,
            workload,
            transport: new.transport,
            count: declared,
            old: old_count,
            old_transport: old.map_or(new.transport, |old| old.transport),
            requester,
            is_declared: false,
        };
        checks::stdio_cap(&mut verdict, settings.declared_replicas, requested);

        let is_capped = settings.declared_replicas == ExcessReplicas::Cap
            && exceeds_stdio_cap(new.transport, declared)
            && changes_spec(request);
        let count = if is_capped { STDIO_REPLICAS } else { declared };
        if old.is_some() && old_count != Some(count) {
            counts_change = true;
            changed_count = changed_count.or(Some((workload, count)));
        }
        if count != declared {
            verdict.edit(Edit::set(workload.declared_at(), count));
            capped.push((field, declared));
        }
        let requested = CheckedCount { count, ..requested };
        let old_storage = old.as_ref().map_or(storage(&new), storage);
        checks::session_storage(&mut verdict, settings, kind, storage(&new), old_storage, requested, count);
    }
    if settings.session_storage != UnsharedSessions::Ignore {
        sessions(&mut verdict, kind, spec, &new, requester);
        if lacks_redis_password(kind, new.session_storage, Some(settings.default_session_storage)) {
            let warning =
                "memory gets the address of ToolHive's default Redis without its password; remove spec.sessionStorage";
            verdict.report(requester, "default-redis", "memory".to_owned(), warning);
        }
    }
    let keeps_zero = settings.preserve_scaling && settings.corrections == Corrections::Apply;
    if let (Some(count), Some(old)) = (new.replicas, old.as_ref())
        && starts_alone(kind, Workload::Deployment, &new, old.replicas, count)
    {
        stopped::report_start(&mut verdict, REPLICAS, count, &new, requester);
    } else if let Some(workload) = newly_declared_alone(kind, &new, old.as_ref()) {
        stopped::report(&mut verdict, workload, workload.declared_in(), request, &new, requester);
    } else if keeps_zero && old.as_ref().is_some_and(|old| frees_stopped_backend(kind, &new, old)) {
        let warning =
            "a backend at 0 stays there without spec.backendReplicas, and proxies fail; scale the StatefulSet up";
        verdict.report(requester, "proxies-without-backend", "spec.backendReplicas=none".to_owned(), warning);
    }
    let has_proxies = [Some(&new), old.as_ref()].into_iter().flatten().all(|scaling| scaling.replicas != Some(0));
    if kind == ServerKind::McpServer && requester == Requester::Person && counts_change && has_proxies {
        warn_of_restart(&mut verdict, request, new.transport, changed_count);
    }
    if settings.read_autoscalers && requester == Requester::Person {
        autoscaler::report_existing(&mut verdict, kind, request, &new, old.as_ref(), settings, get);
    }
    if settings.declared_replicas == ExcessReplicas::Cap {
        record_requested_replicas(&mut verdict, object, &new, &capped);
    }
    Ok(verdict)
}

/// Warns about what the spec says of sessions besides their storage.
fn sessions(verdict: &mut Verdict, kind: ServerKind, spec: &Spec, scaling: &Scaling, requester: Requester) {
    if let (Some(proxies), Some(backends)) = (scaling.replicas, scaling.backend_replicas)
        && leaves_backends_idle(scaling.transport, proxies, backends)
    {
        let value = format!("{BACKEND_REPLICAS}={backends} {REPLICAS}={proxies}");
        let noun = if proxies == 1 { "proxy" } else { "proxies" };
        let warning = format!(
            "{backends} backends for {proxies} {noun}: each proxy sends all requests to 1 backend, so the others get none"
        );
        verdict.report(requester, "idle-backends", value, &warning);
    }
    // ToolHive ignores the mode of other transports. Up to v0.50 its proxy does not tell the clients apart
    // (`ForwardResponseToClients` in `pkg/transport/proxy/httpsse/http_proxy.go`), and v0.55.1 does.
    if scaling.transport == Transport::Stdio && spec.proxy_mode.get().is_some_and(|mode| mode == "sse") {
        let warning = "with proxyMode sse, ToolHive up to v0.50 sends each answer to every connected client; use proxyMode streamable-http";
        verdict.report(requester, "proxy-mode", "sse".to_owned(), warning);
    }
    if let Some(replicas) = scaling.replicas {
        let (auth_server, described) = (auth_server(kind, spec), replicas.to_string());
        checks::logins(verdict, requester, auth_server, scaling.transport, (REPLICAS, replicas), &described);
    }
}

/// Returns whether the request creates the object, or changes its spec anyway. An edit of a spec that stays raises the generation,
/// for which ToolHive v0.24.1 and newer restart every pod of an `MCPServer`.
fn changes_spec(request: &Request<'_>) -> bool {
    !request.is_update()
        || request.whole_objects().is_some_and(|(new, old)| {
            let (new, old) = (new.get("spec"), old.get("spec"));
            new.zip(old).is_some_and(|(new, old)| !edit::is_same(new, old, &[]))
        })
}

/// From v0.24.1 on ToolHive's operator writes the server's generation, which every edit of the spec raises, into the pod
/// template of the Deployment, and compares it there: the policy cannot keep the old one.
fn warn_of_restart(
    verdict: &mut Verdict,
    request: &Request<'_>,
    transport: Transport,
    changed_count: Option<(Workload, u32)>,
) {
    verdict.warn("ToolHive v0.24.1 and newer restart all proxies of an MCPServer when a declared count changes");
    // 1 is the only count, which needs no advice.
    if transport == Transport::Stdio {
        return;
    }
    let command =
        changed_count.and_then(|(workload, count)| scale_command(workload, request.namespace(), request.name(), count));
    let advice = command.map(|command| format!("with no count declared, {command} restarts nothing"));
    let otherwise = "with no count declared, scaling the Deployment or the StatefulSet restarts nothing";
    verdict.warn_in_full(advice, otherwise);
}

const REQUESTED_REPLICAS: Path = &["metadata", "annotations", annotations::REQUESTED_REPLICAS];

/// Keeps the annotation with the counts that were requested before the cap lowered them.
///
/// A count that an earlier request asked for stays in it as long as its field has the count that the cap set. If nothing is
/// capped any more, the annotation is removed.
fn record_requested_replicas(
    verdict: &mut Verdict,
    object: &Object,
    scaling: &Scaling,
    capped: &[(&'static str, u32)],
) {
    let recorded = object.annotation(annotations::REQUESTED_REPLICAS);
    let mut entries = Vec::new();
    for workload in Workload::ALL {
        let field = workload.declared_in();
        let is_at_cap = scaling.transport == Transport::Stdio && workload.declared(scaling) == Some(STDIO_REPLICAS);
        if let Some((_, count)) = capped.iter().find(|(capped, _)| *capped == field) {
            entries.push(assignment(field, *count));
        } else if is_at_cap {
            let earlier = recorded.iter().flat_map(|recorded| recorded.split(','));
            let of_field = |entry: &&str| entry.split_once('=').is_some_and(|(name, _)| name == field);
            entries.extend(earlier.filter(of_field).map(str::to_owned));
        }
    }
    let entries = entries.join(",");
    if entries.is_empty() && recorded.is_some() {
        verdict.edit(Edit::remove(REQUESTED_REPLICAS));
    } else if !entries.is_empty() && recorded != Some(&entries) {
        verdict.edit(Edit::set(REQUESTED_REPLICAS, entries));
    }
}
