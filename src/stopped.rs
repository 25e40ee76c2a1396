//! Warns where one of the two workloads of an `MCPServer` goes to 0 and the other one stays.

use mcp_scaling_rules::Workload;

use crate::request::Request;
use crate::requester::Requester;
use crate::verdict::{Verdict, assignment, scale_command};

/// Reports that `field` of the object of the request stops `workload` alone, and how to stop the other one. Both workloads
/// and their server have the same name.
///
/// The count of the other one is not looked up, so that each warning is worded to be true at any count of it.
pub(crate) fn report(
    verdict: &mut Verdict,
    workload: Workload,
    field: &str,
    request: &Request<'_>,
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
    let command = scale_command(other, request.namespace(), request.name(), 0);
    let warning = command.map(|command| format!("{state}; {command} {them}"));
    verdict.warn_in_full(warning, &format!("{state}; scale the {} of the same name to 0 too", other.kind()));
}

fn annotation(stopped: Workload) -> &'static str {
    match stopped {
        Workload::Deployment => "backend-keeps-running",
        Workload::StatefulSet => "proxies-without-backend",
    }
}
