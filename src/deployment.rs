//! `Deployment`: the pods of the proxy runner, or of a server that is one itself.

use mcp_scaling_rules::grace_period::raised_to_floor;

use crate::custom_resource::REPLICAS;
use crate::lookup::GetResource;
use crate::replicas::{self, Change};
use crate::request::{Request, Spec};
use crate::requester::Requester;
use crate::server::Server;
use crate::settings::Settings;
use crate::verdict::Verdict;
use crate::view::Malformed;

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
    let spec = request.spec()?;
    let requester = Requester::of(request, settings, Some(server));
    let change = Change::of_workload(request, spec, requester, &REPLICAS, None)?;
    grace_period(&mut verdict, spec, requester, settings)?;
    replicas::judge(&mut verdict, server, request, &change, settings, get);
    Ok(verdict)
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
    verdict.annotate("termination-grace-period", format!("requested={asked} admitted={seconds}"));
    if requester == Requester::Person {
        verdict.warn(&format!("termination grace period floor is {seconds} s; {asked} requested"));
    }
    Ok(())
}
