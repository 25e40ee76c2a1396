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
    grace_period(&mut verdict, spec, requester, settings)?;
    replicas::validate(&mut verdict, owner, request, &replicas, settings, get);
    Ok(verdict)
}

fn grace_period(
    verdict: &mut Verdict,
    spec: &Spec<'_>,
    requester: Requester,
    settings: &Settings,
) -> Result<(), Malformed> {
    let template = spec.template.as_ref().optional()?.ok_or(Malformed)?;
    let pod = template.spec.as_ref().optional()?.ok_or(Malformed)?;
    let requested = pod.termination_grace_period_seconds.integer().optional()?;
    let Some(seconds) = raised_to_floor(requested, settings.termination_grace_period_seconds) else {
        return Ok(());
    };
    verdict.edit(&["spec", "template", "spec", "terminationGracePeriodSeconds"], seconds.to_string());
    let text = requested.map_or_else(|| "none".to_owned(), |seconds| seconds.to_string());
    verdict.annotate("termination-grace-period", format!("requested={text} wanted={seconds}"));
    if requester == Requester::Person {
        let requests = requested.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds} s"));
        verdict.warn(&format!(
            "the termination grace period should be at least {seconds} s; the pod template requests {requests}"
        ));
    }
    Ok(())
}
