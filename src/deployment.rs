//! `Deployment`: the pods of the proxy runner, or of a `VirtualMCPServer` or `MCPRemoteProxy`.

use mcp_scaling_rules::grace_period::raised_to_floor;
use mcp_scaling_rules::{Malformed, Owner, Workload};

use crate::lookup::GetResource;
use crate::replicas::{self, ReplicasRequest};
use crate::request::{Request, Spec};
use crate::requester::Requester;
use crate::settings::Settings;
use crate::verdict::Verdict;

/// Validates CREATE and UPDATE of a Deployment that runs for `owner`.
///
/// # Errors
/// [`Malformed`] where a field that decides is malformed.
pub(crate) fn validate(
    owner: &Owner<'_>,
    request: &Request<'_>,
    settings: &Settings,
    get: &GetResource<'_>,
) -> Result<Verdict, Malformed> {
    let mut verdict = Verdict::default();
    let spec = request.spec()?;
    let requester = Requester::of(request, settings, Some(owner));
    let replicas = ReplicasRequest::of_workload(request, spec, requester, Workload::Deployment, None)?;
    grace_period(&mut verdict, request, requester, settings)?;
    replicas::validate(&mut verdict, owner, request, &replicas, settings, get);
    Ok(verdict)
}

fn grace_period(
    verdict: &mut Verdict,
    request: &Request<'_>,
    requester: Requester,
    settings: &Settings,
) -> Result<(), Malformed> {
    let requested = requested_grace_period(request.spec()?)?;
    let Some(seconds) = raised_to_floor(requested, settings.termination_grace_period_seconds) else {
        return Ok(());
    };
    let text = requested.map_or_else(|| "none".to_owned(), |seconds| seconds.to_string());
    verdict.annotate("termination-grace-period", format!("requested={text} wanted={seconds}"));
    let requests = requested.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds} s"));
    let warning =
        format!("the termination grace period should be at least {seconds} s; the pod template requests {requests}");
    // An update that leaves a short period as it was, or raises it, is not refused.
    let old = request.old_spec().and_then(|spec| requested_grace_period(spec).ok());
    let is_no_worse = old.is_some_and(|old| old <= requested);
    let can_be_refused = requester != Requester::ToolHive && !is_no_worse;
    let is_refused = verdict.correct(settings, GRACE_PERIOD, seconds.to_string(), can_be_refused, &warning);
    if requester == Requester::Person && !is_refused {
        verdict.warn(&warning);
    }
    Ok(())
}

const GRACE_PERIOD: &[&str] = &["spec", "template", "spec", "terminationGracePeriodSeconds"];

/// The grace period that the pod template of a Deployment requests, in seconds.
fn requested_grace_period(spec: &Spec<'_>) -> Result<Option<i64>, Malformed> {
    let template = spec.template.as_ref().optional()?.ok_or(Malformed)?;
    let pod = template.spec.as_ref().optional()?.ok_or(Malformed)?;
    pod.termination_grace_period_seconds.integer().optional()
}
