//! `MCPServer`, `VirtualMCPServer` and `MCPRemoteProxy`: validates the counts that they declare.

use mcp_scaling_rules::{
    Field, InvalidField, Malformed, RawSpec, Scaling, ServerKind, Workload, exceeds_stdio_cap, labels, resolve,
    sessions_at_risk,
};

use crate::checks::{self, RequestedReplicas};
use crate::json::quoted;
use crate::request::{Request, Spec};
use crate::requester::Requester;
use crate::settings::{ExcessReplicas, Settings};
use crate::verdict::Verdict;

/// What a spec says about scaling.
///
/// # Errors
/// [`InvalidField`] with the field that ToolHive's CRD does not allow.
pub(crate) fn scaling(kind: ServerKind, spec: &Spec<'_>) -> Result<Scaling, InvalidField> {
    let session_storage_provider = match spec.session_storage.as_ref() {
        Field::Value(storage) => storage.provider.string(),
        Field::Absent => Field::Absent,
        Field::Malformed => Field::Malformed,
    };
    Scaling::read(
        kind,
        RawSpec {
            transport: spec.transport.string(),
            replicas: spec.replicas.integer(),
            backend_replicas: spec.backend_replicas.integer(),
            session_storage_provider,
        },
    )
}

/// Validates CREATE and UPDATE of a custom resource by the counts that its spec declares.
///
/// # Errors
/// [`Malformed`] where a field that decides is malformed. The API server validates after mutation and refuses it then.
pub(crate) fn validate(kind: ServerKind, request: &Request<'_>, settings: &Settings) -> Result<Verdict, Malformed> {
    let mut verdict = Verdict::default();
    let Some(object) = request.object.as_ref().optional()? else {
        return Ok(verdict);
    };
    let Some(spec) = object.spec.as_ref().optional()? else {
        return Ok(verdict);
    };
    let scaling_of = |spec| scaling(kind, spec).map_err(|_| Malformed);
    let new = scaling_of(spec)?;
    let storage = new.session_storage_or(settings.default_session_storage);
    // An old object that cannot be read violated no rule.
    let old = request.old_spec().and_then(|spec| scaling_of(spec).ok());
    let by_person = Requester::of(request, settings, None) == Requester::Person;

    let mut capped = Vec::new();
    for workload in Workload::ALL {
        let Some(declared) = workload.declared(&new) else {
            continue;
        };
        let field = workload.declared_in();
        let old_count = old.as_ref().and_then(|old| workload.declared(old).map(|count| (old, count)));
        let requested = RequestedReplicas {
            field,
            count: declared,
            violating_before: old_count
                .filter(|(old, count)| exceeds_stdio_cap(old.transport, *count))
                .map(|(_, count)| count),
            by_person,
        };
        checks::stdio_cap(&mut verdict, settings.declared_replicas, new.transport, requested);

        let count = match settings.declared_replicas {
            ExcessReplicas::Cap => resolve(new.transport, Some(declared)).unwrap_or(declared),
            ExcessReplicas::Reject | ExcessReplicas::Warn => declared,
        };
        if count != declared {
            verdict.edit(path(workload), count.to_string());
            capped.push(format!("{field}={declared}"));
        }
        let requested = RequestedReplicas {
            count,
            violating_before: old_count
                .filter(|(old, count)| {
                    sessions_at_risk(old.session_storage_or(settings.default_session_storage), *count)
                })
                .map(|(_, count)| count),
            ..requested
        };
        checks::session_storage(&mut verdict, settings, kind, storage, requested);
    }
    if !capped.is_empty() {
        verdict.edit(&["metadata", "annotations", labels::REQUESTED_REPLICAS], quoted(&capped.join(",")));
    }
    Ok(verdict)
}

/// The field of the custom resource that declares the count of a workload, as the names that lead to it.
fn path(workload: Workload) -> &'static [&'static str] {
    match workload {
        Workload::Deployment => &["spec", "replicas"],
        Workload::StatefulSet => &["spec", "backendReplicas"],
    }
}
