//! Warns where one of the two workloads of an `MCPServer` goes to 0 and the other one stays, and where only the proxies start again.

use mcp_scaling_rules::Workload;

use crate::requester::Requester;
use crate::verdict::{Verdict, assignment, shortened};

/// Reports that `field` of the server of this name stops `workload` alone, and how to stop the other one.
///
/// The count of the other one is not looked up, so that each warning is worded to be true at any count of it.
pub(crate) fn report(verdict: &mut Verdict, workload: Workload, field: &str, name: &str, requester: Requester) {
    let (annotation, state, them) = match workload {
        Workload::Deployment => (
            "backend-keeps-running",
            "a backend keeps running without proxies; kubectl scale statefulset ",
            " --replicas=0 stops it",
        ),
        Workload::StatefulSet => (
            "proxies-without-backend",
            "running proxies fail without a backend; kubectl scale deployment ",
            " --replicas=0 stops them",
        ),
    };
    // An object gets its name after admission where the request has only the beginning of it.
    let name = if name.is_empty() { "NAME" } else { &shortened(name) };
    let warning = format!("{state}{name}{them}");
    verdict.report(requester, annotation, assignment(field, 0), &warning);
    if requester == Requester::Person {
        verdict.warn(START_BOTH);
    }
}

/// The advice to stop the other workload ends with a backend that ToolHive does not start again.
const START_BOTH: &str =
    "a backend at 0 does not start with its proxies, but by the reconciler's --couple-zero: scale both up again";

/// Reports that `field` starts the proxies of an `MCPServer`, whose backend stays at 0 if it is there: its count is not looked up.
pub(crate) fn report_start(verdict: &mut Verdict, field: &str, count: u32, requester: Requester) {
    let warning =
        "the proxies fail if their backend is at 0; without the reconciler's --couple-zero, scale the StatefulSet too";
    verdict.report(requester, "proxies-started-alone", assignment(field, count), warning);
}
