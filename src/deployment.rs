//! `Deployment`: the pods of the proxy runner, or of a `VirtualMCPServer` or `MCPRemoteProxy`.

use mcp_scaling_rules::grace_period::raised_to_floor;
use mcp_scaling_rules::{Field, Malformed, Owner, ServerKind, Workload};
use serde_json::{Value, json};

use crate::edit::{self, Path};
use crate::lookup::ReadResources;
use crate::replicas::{self, Outcome, ReplicasRequest};
use crate::request::{Container, PodSpec, Request, Spec};
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
    get: &ReadResources<'_>,
) -> Result<Verdict, Malformed> {
    let spec = request.spec()?;
    let requester = Requester::of(request, settings, Some(owner));
    let replicas = ReplicasRequest::of_workload(request, spec, requester, Workload::Deployment, None)?;
    let pod = pod(spec)?;
    let Outcome { mut verdict, lets_reset_through } =
        replicas::validate(Verdict::default(), owner, request, &replicas, settings, get);
    if lets_reset_through {
        // The operator's next write follows at once. With a pod template that differs from the old one, this would not be known as a
        // reset where it is evaluated again.
        return Ok(verdict);
    }
    let pre_stop = pre_stop(owner, request, pod, settings);
    grace_period(&mut verdict, request, pod, pre_stop.is_some(), requester, settings)?;
    if let Some(containers) = pre_stop {
        let seconds = settings.pre_stop_seconds;
        verdict.annotate("pre-stop", format!("wanted={seconds}"));
        let name = owner.kind.container_name();
        let reason = || format!("container {name} should have a preStop hook that sleeps {seconds} s");
        verdict.correct(settings, CONTAINERS, containers, requester != Requester::ToolHive, reason);
    }
    Ok(verdict)
}

fn grace_period(
    verdict: &mut Verdict,
    request: &Request<'_>,
    pod: &PodSpec,
    adds_pre_stop: bool,
    requester: Requester,
    settings: &Settings,
) -> Result<(), Malformed> {
    let requested = pod.termination_grace_period_seconds.optional()?;
    // The grace period begins with the preStop hook.
    let pre_stop = if adds_pre_stop { settings.pre_stop_seconds } else { 0 };
    let floor = settings.termination_grace_period_seconds.saturating_add(pre_stop);
    let Some(seconds) = raised_to_floor(requested, floor) else {
        return Ok(());
    };
    let text = requested.map_or_else(|| "none".to_owned(), |seconds| seconds.to_string());
    verdict.annotate("termination-grace-period", format!("requested={text} wanted={seconds}"));
    let warning = || {
        let requests = requested.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds} s"));
        format!("the termination grace period should be at least {seconds} s; the pod template requests {requests}")
    };
    // An update that leaves a short period as it was, or raises it, is not refused.
    let old = request.old_spec().and_then(|spec| {
        let pod = self::pod(spec).ok()?;
        pod.termination_grace_period_seconds.optional().ok()
    });
    let is_no_worse = old.is_some_and(|old| old <= requested);
    let can_be_refused = requester != Requester::ToolHive && !is_no_worse;
    let is_refused = verdict.correct(settings, GRACE_PERIOD, seconds, can_be_refused, warning);
    if requester == Requester::Person && !is_refused {
        verdict.warn(&warning());
    }
    Ok(())
}

/// The containers with a preStop hook for ToolHive's. `None` if it has one or if none is to be added.
///
/// A hook is only added to a pod template that is new or changes anyway: it would restart all pods of one that stays.
fn pre_stop(owner: &Owner<'_>, request: &Request<'_>, pod: &PodSpec, settings: &Settings) -> Option<Value> {
    let seconds = Some(settings.pre_stop_seconds).filter(|seconds| *seconds > 0)?;
    let is_without_hook =
        |container: &Field<Container>| container.get().is_some_and(|container| is_without_hook(container, owner.kind));
    let index = pod.containers.get()?.iter().position(is_without_hook)?;
    let (mut object, old) = request.whole_objects()?;
    let template = object.pointer_mut("/spec/template")?;
    if request.is_update() && old.pointer("/spec/template")? == template {
        return None;
    }
    let mut containers = template.pointer_mut("/spec/containers")?.take();
    edit::apply(containers.get_mut(index)?, &["lifecycle", "preStop"], Some(json!({"sleep": {"seconds": seconds}})))?;
    Some(containers)
}

/// Returns whether this is the container that ToolHive makes for the kind, without a preStop hook.
fn is_without_hook(container: &Container, kind: ServerKind) -> bool {
    container.name.get().is_some_and(|name| name == kind.container_name())
        && container.lifecycle.get().is_none_or(|lifecycle| lifecycle.pre_stop == Field::Absent)
}

const CONTAINERS: Path = &["spec", "template", "spec", "containers"];
const GRACE_PERIOD: Path = &["spec", "template", "spec", "terminationGracePeriodSeconds"];

/// The spec of a Deployment's pod template.
fn pod(spec: &Spec) -> Result<&PodSpec, Malformed> {
    spec.template.get().and_then(|template| template.spec.get()).ok_or(Malformed)
}
