//! `HorizontalPodAutoscaler` and KEDA's `ScaledObject`: warnings about what will happen once they scale.

use mcp_scaling_rules::{Scaling, exceeds_stdio_cap, sessions_at_risk};

use crate::custom_resource::{BACKEND_REPLICAS, Declaration, REPLICAS};
use crate::lookup::{self, GetResource, Lookup};
use crate::request::{Request, Spec};
use crate::requester::Requester;
use crate::server::{self, Server};
use crate::settings::{Settings, UnsharedSessions};
use crate::verdict::Verdict;
use crate::view::Malformed;

/// What KEDA takes an absent `maxReplicaCount` for.
const KEDA_DEFAULT_MAXIMUM: u32 = 100;

/// A kind of autoscaler.
pub(crate) enum Autoscaler {
    /// `HorizontalPodAutoscaler`, `autoscaling/v1` or `v2`.
    Horizontal,
    /// KEDA's `ScaledObject`, `keda.sh/v1alpha1`.
    Keda,
}

impl Autoscaler {
    /// The most replicas that the autoscaler may ask for.
    fn maximum(&self, spec: &Spec<'_>) -> Result<u32, Malformed> {
        match self {
            Self::Horizontal => spec.max_replicas.count().optional()?.ok_or(Malformed),
            Self::Keda => Ok(spec.max_replica_count.count().optional()?.unwrap_or(KEDA_DEFAULT_MAXIMUM)),
        }
    }
}

/// Judges CREATE and UPDATE of an autoscaler. It only ever warns: whether a server can be scaled may change later, and the
/// Scale that the autoscaler writes is judged when it comes.
///
/// # Errors
/// [`Malformed`] where a field that decides is.
pub(crate) fn evaluate<'a>(
    autoscaler: &Autoscaler,
    request: &Request<'a>,
    settings: &Settings,
    get: &GetResource<'_>,
) -> Result<Verdict<'a>, Malformed> {
    let mut verdict = Verdict::default();
    let spec = request.spec()?;
    let Some((server, declaration)) = target(autoscaler, spec)? else {
        return Ok(verdict);
    };
    let maximum = autoscaler.maximum(spec)?;
    if let Lookup::Found(scaling) = lookup::find(&server, request, settings, get) {
        let by_person = Requester::of(request, settings, Some(&server)) == Requester::Person;
        for (key, value, warning) in findings(&server, declaration, &scaling, maximum, settings) {
            verdict.annotate(key, value);
            if by_person {
                verdict.warn(&warning);
            }
        }
    }
    Ok(verdict)
}

/// The server that may stand behind the target, and the field that declares its count. `None` where the target can be none
/// of ToolHive's.
fn target<'a>(
    autoscaler: &Autoscaler,
    spec: &Spec<'a>,
) -> Result<Option<(Server<'a>, &'static Declaration)>, Malformed> {
    let target = spec.scale_target_ref.as_ref().optional()?.ok_or(Malformed)?;
    let api_version = target.api_version.text().optional()?;
    let kind = target.kind.text().optional()?;
    let name = target.name.text().optional()?.ok_or(Malformed)?;
    let (api_version, kind) = match autoscaler {
        Autoscaler::Horizontal => (api_version.ok_or(Malformed)?, kind.ok_or(Malformed)?),
        // KEDA takes a target of no kind for a Deployment.
        Autoscaler::Keda => (api_version.unwrap_or("apps/v1".into()), kind.unwrap_or("Deployment".into())),
    };
    let declaration = match (api_version.split_once('/'), &*kind) {
        (Some(("apps", _)), "Deployment") => &REPLICAS,
        (Some(("apps", _)), "StatefulSet") => &BACKEND_REPLICAS,
        _ => return Ok(None),
    };
    Ok(Some((server::guess(name), declaration)))
}

/// What stands in the autoscaler's way: an audit annotation and a warning for each.
fn findings(
    server: &Server<'_>,
    declaration: &Declaration,
    scaling: &Scaling,
    maximum: u32,
    settings: &Settings,
) -> Vec<(&'static str, String, String)> {
    let Server { kind, name, .. } = server;
    let kind = kind.name;
    let field = declaration.field;
    // The name comes last: where it is long, the end is what is cut off.
    let mut findings = Vec::new();
    if exceeds_stdio_cap(scaling.transport, maximum) {
        findings.push((
            "stdio-replicas",
            format!("maximum={maximum}"),
            format!("the target stays at 1 replica: transport is stdio on {kind} {name}"),
        ));
    }
    if let Some(count) = (declaration.count)(scaling) {
        findings.push((
            "declared-replicas",
            format!("{field}={count}"),
            format!("{field} is declared and fights this autoscaler: remove it from {kind} {name}"),
        ));
    }
    if sessions_at_risk(scaling.session_storage, maximum) && settings.session_storage != UnsharedSessions::Ignore {
        findings.push((
            "sessions-at-risk",
            format!("maximum={maximum}"),
            format!("above 1 replica sessions are lost without Redis: set sessionStorage.provider of {kind} {name}"),
        ));
    }
    findings
}
