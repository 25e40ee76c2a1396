//! The pod template of a Deployment: its grace period, and the preStop hook of ToolHive's container.

use mcp_scaling_rules::grace_period::{DEFAULT_GRACE_PERIOD, floor, raised_to_floor};
use mcp_scaling_rules::pod_template::{TemplateChange, TemplateCorrection, correction};
use mcp_scaling_rules::{Field, Malformed, ServerKind};
use serde_json::{Value, json};

use crate::edit::{self, Edit, Path};
use crate::request::{Container, PodSpec, Request, Spec};
use crate::requester::Requester;
use crate::settings::{Corrections, Settings};
use crate::verdict::Verdict;

const TEMPLATE: Path = &["spec", "template"];
const CONTAINERS: Path = &["spec", "template", "spec", "containers"];
const GRACE_PERIOD: Path = &["spec", "template", "spec", "terminationGracePeriodSeconds"];
const GRACE_PERIOD_IN_TEMPLATE: Path = &["spec", "terminationGracePeriodSeconds"];
const PRE_STOP: Path = &["lifecycle", "preStop"];

/// The grace period that a pod gets, in seconds.
fn or_default(seconds: Option<i64>) -> i64 {
    seconds.unwrap_or(i64::from(DEFAULT_GRACE_PERIOD))
}

/// The spec of a Deployment's pod template.
///
/// # Errors
/// [`Malformed`] if there is none.
pub(crate) fn pod(spec: &Spec) -> Result<&PodSpec, Malformed> {
    spec.template.get().and_then(|template| template.spec.get()).ok_or(Malformed)
}

/// What a request does to a pod template, as far as it can be told from the fields that are read of every request.
struct RequestedTemplate {
    /// The grace period that the request gives, and the one before.
    grace_period: Option<i64>,
    old_grace_period: Option<i64>,
    /// The index of ToolHive's container if it has no preStop hook.
    hookless: Option<usize>,
    /// Says whether the request takes its hook away, where there is a minimum.
    loses_hook: bool,
    /// How long the hook sleeps that it should get, or 0.
    pre_stop: i64,
    /// The minimum of the grace period, or 0.
    floor: i64,
}

impl RequestedTemplate {
    fn read(kind: ServerKind, request: &Request<'_>, pod: &PodSpec, settings: &Settings) -> Result<Self, Malformed> {
        let (hookless, sleep) = toolhives_hook(pod, kind);
        let pre_stop = if hookless.is_some() { settings.pre_stop_seconds } else { 0 };
        let old = request.old_spec().and_then(|spec| self::pod(spec).ok());
        let had_hook = |old| toolhives_container(old, kind).is_some_and(|(_, container)| has_pre_stop(container));
        let floor = floor(settings.termination_grace_period_seconds, pre_stop, sleep);
        Ok(Self {
            grace_period: pod.termination_grace_period_seconds.optional()?,
            old_grace_period: old.and_then(|old| old.termination_grace_period_seconds.optional().ok()).map(or_default),
            hookless,
            loses_hook: floor > 0 && hookless.is_some() && old.is_some_and(had_hook),
            pre_stop,
            floor,
        })
    }

    /// The longer grace period that the request takes away.
    fn lost_grace_period(&self) -> Option<i64> {
        let requested = or_default(self.grace_period);
        self.old_grace_period.filter(|old| self.floor > 0 && *old > requested)
    }

    /// How the pod template of the request compares with the one before. `None` if there is no template.
    fn change(&self, request: &Request<'_>) -> Option<TemplateChange> {
        if !request.is_update() {
            return Some(TemplateChange::New);
        }
        let Some(old_grace_period) = self.old_grace_period else { return Some(TemplateChange::Unknown) };
        let (object, old_object) = request.whole_objects()?;
        let (template, stored) = (object.pointer("/spec/template")?, old_object.pointer("/spec/template")?);
        Some(self.compare(template, stored, old_grace_period))
    }

    /// How the template compares with the `stored` one, whose grace period is `old`.
    fn compare(&self, template: &Value, stored: &Value, old: i64) -> TemplateChange {
        let requested = or_default(self.grace_period);
        let index = self.hookless.map(|index| index.to_string()).unwrap_or_default();
        let lifecycle: &[&str] = &["spec", "containers", &index, "lifecycle"];
        if !edit::is_same(template, stored, &[GRACE_PERIOD_IN_TEMPLATE, lifecycle]) {
            return TemplateChange::Other;
        }
        let lifecycle =
            |template| self.hookless.and_then(|index| lifecycle_of(template, index)).unwrap_or(&Value::Null);
        let (lifecycle, stored) = (lifecycle(template), lifecycle(stored));
        let has_same_hook = edit::is_same(lifecycle, stored, &[]);
        if has_same_hook && requested == old {
            TemplateChange::None
        } else if self.floor > 0 && requested <= old && (has_same_hook || lacks_sleep_of(lifecycle, stored)) {
            TemplateChange::Undone
        } else {
            TemplateChange::Other
        }
    }
}

fn lifecycle_of(template: &Value, index: usize) -> Option<&Value> {
    template.pointer("/spec/containers")?.get(index)?.get("lifecycle")
}

/// Returns whether the `stored` lifecycle of a container differs from this one only by a hook that sleeps.
fn lacks_sleep_of(lifecycle: &Value, stored: &Value) -> bool {
    let mut container = json!({"lifecycle": lifecycle});
    let seconds = stored.pointer("/preStop/sleep/seconds").and_then(Value::as_i64);
    seconds.and_then(|seconds| edit::apply(&mut container, PRE_STOP, Some(sleep(seconds)))).is_some()
        && container.get("lifecycle").is_some_and(|lifecycle| edit::is_same(lifecycle, stored, &[]))
}

/// Returns whether a request leaves the pod template of a Deployment as it is, apart from what an operator leaves out and
/// [`validate`] keeps.
pub(crate) fn stays(kind: ServerKind, request: &Request<'_>, settings: &Settings) -> bool {
    let requested = request.spec().and_then(|spec| RequestedTemplate::read(kind, request, pod(spec)?, settings));
    let change = requested.ok().and_then(|requested| requested.change(request));
    matches!(change, Some(TemplateChange::None | TemplateChange::Undone))
}

/// Corrects the pod template of a Deployment of this kind of server, if it is new or changes anyway.
///
/// # Errors
/// [`Malformed`] if the grace period is malformed.
pub(crate) fn validate(
    verdict: &mut Verdict,
    kind: ServerKind,
    request: &Request<'_>,
    pod: &PodSpec,
    requester: Requester,
    settings: &Settings,
) -> Result<(), Malformed> {
    let template = RequestedTemplate::read(kind, request, pod, settings)?;
    let RequestedTemplate { grace_period: requested, old_grace_period: old, hookless, loses_hook, pre_stop, floor } =
        template;
    let (raised, lost) = (raised_to_floor(requested, floor), template.lost_grace_period());
    if raised.is_none() && pre_stop == 0 && lost.is_none() && !loses_hook {
        return Ok(());
    }
    let Some(change) = template.change(request) else { return Ok(()) };
    match correction(change, requester == Requester::Person) {
        TemplateCorrection::None => {}
        TemplateCorrection::Keep => {
            if let Some(lost) = lost {
                annotate_grace_period(verdict, requested, lost);
            }
            if loses_hook {
                verdict.annotate("pre-stop", "kept".to_owned());
            }
            verdict.correct(settings, Edit::restore(TEMPLATE), false, String::new);
        }
        TemplateCorrection::Correct => {
            if let Some(seconds) = raised {
                raise_grace_period(verdict, requested, old, seconds, requester, settings);
            }
            if let Some(index) = hookless.filter(|_| pre_stop > 0) {
                verdict.annotate("pre-stop", format!("wanted={pre_stop}"));
                let name = kind.container_name();
                let reason = || format!("container {name} should have a preStop hook that sleeps {pre_stop} s");
                let edit = Edit::set_in_item(CONTAINERS, index, PRE_STOP, sleep(pre_stop));
                // An update of a container that had no hook before is not refused.
                let can_be_refused = requester != Requester::ToolHive && (!request.is_update() || loses_hook);
                verdict.correct(settings, edit, can_be_refused, reason);
                if loses_hook && requester == Requester::Person {
                    verdict.warn(&reason());
                }
            }
        }
    }
    Ok(())
}

fn annotate_grace_period(verdict: &mut Verdict, requested: Option<i64>, wanted: i64) {
    let text = requested.map_or_else(|| "none".to_owned(), |seconds| seconds.to_string());
    verdict.annotate("termination-grace-period", format!("requested={text} wanted={wanted}"));
}

fn raise_grace_period(
    verdict: &mut Verdict,
    requested: Option<i64>,
    old: Option<i64>,
    seconds: i64,
    requester: Requester,
    settings: &Settings,
) {
    annotate_grace_period(verdict, requested, seconds);
    let warning = || {
        let requests = requested.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds} s"));
        format!("the termination grace period should be at least {seconds} s; the pod template requests {requests}")
    };
    // An update that leaves a short period as it was, or raises it, is not refused, and nobody is told if it is corrected.
    let is_no_worse = old.is_some_and(|old| old <= or_default(requested));
    let can_be_refused = requester != Requester::ToolHive && !is_no_worse;
    verdict.correct(settings, Edit::set(GRACE_PERIOD, seconds), can_be_refused, warning);
    let is_corrected_unasked = is_no_worse && settings.corrections == Corrections::Apply;
    if requester == Requester::Person && !is_corrected_unasked {
        verdict.warn(&warning());
    }
}

/// The index of the container that ToolHive makes for the kind if it has no preStop hook, and the seconds that its hook sleeps
/// if it has one.
fn toolhives_hook(pod: &PodSpec, kind: ServerKind) -> (Option<usize>, i64) {
    let Some((index, container)) = toolhives_container(pod, kind) else { return (None, 0) };
    let sleep = || container.lifecycle.get()?.pre_stop.get()?.get("sleep")?.get("seconds")?.as_i64();
    if has_pre_stop(container) { (None, sleep().unwrap_or_default()) } else { (Some(index), 0) }
}

/// The container that ToolHive makes for the kind, with its index.
fn toolhives_container(pod: &PodSpec, kind: ServerKind) -> Option<(usize, &Container)> {
    let is_toolhives = |container: &Container| container.name.get().is_some_and(|name| name == kind.container_name());
    let containers = pod.containers.get()?.iter().enumerate();
    let mut containers = containers.filter_map(|(index, container)| Some((index, container.get()?)));
    containers.find(|(_, container)| is_toolhives(container))
}

/// Returns whether the container has a preStop hook. What is malformed is the API server's to refuse, and gets no hook.
fn has_pre_stop(container: &Container) -> bool {
    match &container.lifecycle {
        Field::Absent => false,
        Field::Malformed => true,
        Field::Value(lifecycle) => lifecycle.pre_stop != Field::Absent,
    }
}

/// The value of a hook that sleeps.
fn sleep(seconds: i64) -> Value {
    json!({"sleep": {"seconds": seconds}})
}
