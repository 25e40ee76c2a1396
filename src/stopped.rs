//! Warns if one of the two workloads of an `MCPServer` goes to 0 and the other one stays, or if only the proxies start again.

use mcp_scaling_rules::{Scaling, Workload};

use crate::request::Request;
use crate::requester::Requester;
use crate::verdict::{Verdict, assignment, scale_command};

/// Reports that `field` of the object of the request stops `workload` alone, and how to stop the other one. Both workloads
/// and their server have the same name.
///
/// The present count of the other one is not looked up, so that each warning is worded to be true at any count of it. If the spec of the
/// server, `scaling`, declares a count for the proxies, the warning names that field, because the operator would undo a Scale. It leaves
/// the count of a backend alone, and no proxy is there that would set it.
pub(crate) fn report(
    verdict: &mut Verdict,
    workload: Workload,
    field: &str,
    request: &Request<'_>,
    scaling: &Scaling,
    requester: Requester,
) {
    verdict.annotate(annotation(workload), assignment(field, 0));
    if requester != Requester::Person {
        return;
    }
    let (state, them) = match workload {
        Workload::Deployment => ("a backend runs on without proxies", "stops it"),
        Workload::StatefulSet => ("running proxies fail without a backend", "stops them"),
    };
    let other = workload.other();
    if other == Workload::Deployment && scaling.replicas.is_some_and(|count| count > 0) {
        verdict.warn(&format!("{state}; set {} to 0 too", other.declared_in()));
    } else {
        let command = scale_command(other, request.namespace(), request.name(), 0);
        let warning = command.map(|command| format!("{state}; {command} {them}"));
        verdict.warn_in_full(warning, &format!("{state}; scale the {} of the same name to 0 too", other.kind()));
    }
    // A proxy that starts sets the declared count of its backend.
    match scaling.backend_replicas {
        None => verdict.warn(STAYS_AT_ZERO),
        Some(0) => verdict.warn(DECLARED_ZERO),
        Some(_) => {}
    }
}

fn annotation(stopped: Workload) -> &'static str {
    match stopped {
        Workload::Deployment => "backend-keeps-running",
        Workload::StatefulSet => "proxies-without-backend",
    }
}

/// If the advice to stop the other workload is followed, ToolHive does not start the backend again.
const STAYS_AT_ZERO: &str =
    "nothing starts a backend at 0 with its proxies but the reconciler's --couple-zero; scale it up too";
/// As [`STAYS_AT_ZERO`], if the spec declares that the backend is stopped: then the reconciler does not start it either.
const DECLARED_ZERO: &str =
    "spec.backendReplicas 0 keeps the backend stopped when its proxies start again; raise it then";

/// Reports that `field` starts the proxies of an `MCPServer`, whose backend stays at 0 if it is there: its count is not looked up.
pub(crate) fn report_start(verdict: &mut Verdict, field: &str, count: u32, scaling: &Scaling, requester: Requester) {
    let warning = match scaling.backend_replicas {
        Some(_) => "the proxies fail without a backend: spec.backendReplicas is 0; raise it too",
        None => {
            "the proxies fail if their backend is at 0; without the reconciler's --couple-zero, scale the StatefulSet too"
        }
    };
    verdict.report(requester, "proxies-started-alone", assignment(field, count), warning);
}
