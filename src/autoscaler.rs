//! `HorizontalPodAutoscaler` and KEDA's `ScaledObject`: warns about what will happen when they scale.

use mcp_scaling_rules::{Malformed, Owner, Scaling, Workload, exceeds_stdio_cap, sessions_at_risk};

use crate::lookup::{self, GetResource, Lookup};
use crate::request::{Request, Spec};
use crate::requester::Requester;
use crate::settings::{Settings, UnsharedSessions};
use crate::verdict::{Verdict, shortened};

/// The maximum that KEDA gives a ScaledObject without `maxReplicaCount`.
const KEDA_DEFAULT_MAXIMUM: u32 = 100;

/// A kind of autoscaler.
pub(crate) enum Autoscaler {
    /// `HorizontalPodAutoscaler`, `autoscaling/v1` or `v2`.
    Horizontal,
    /// KEDA's `ScaledObject`, `keda.sh/v1alpha1`.
    Keda,
}

impl Autoscaler {
    /// The most replicas that the autoscaler may request.
    fn maximum(&self, spec: &Spec<'_>) -> Result<u32, Malformed> {
        match self {
            Self::Horizontal => spec.max_replicas.count().optional()?.ok_or(Malformed),
            Self::Keda => Ok(spec.max_replica_count.count().optional()?.unwrap_or(KEDA_DEFAULT_MAXIMUM)),
        }
    }
}

/// Validates CREATE and UPDATE of an autoscaler. It only warns: whether a server can be scaled may change later, and the
/// Scale that the autoscaler writes is validated when it comes.
///
/// # Errors
/// [`Malformed`] where a field that decides is malformed.
pub(crate) fn validate(
    autoscaler: &Autoscaler,
    request: &Request<'_>,
    settings: &Settings,
    get: &GetResource<'_>,
) -> Result<Verdict, Malformed> {
    let mut verdict = Verdict::default();
    let spec = request.spec()?;
    let Some((owner, workload)) = target(autoscaler, spec)? else {
        return Ok(verdict);
    };
    let maximum = autoscaler.maximum(spec)?;
    if let Lookup::Found(scaling) = lookup::find(&owner, request, get) {
        let by_person = Requester::of(request, settings, Some(&owner)) == Requester::Person;
        for finding in findings(&owner, workload, &scaling, maximum, settings) {
            verdict.annotate(finding.annotation, finding.value);
            if by_person {
                verdict.warn(&finding.warning);
            }
        }
    }
    Ok(verdict)
}

/// The target's possible owner, and which workload the target is. `None` where the target cannot be a workload of
/// ToolHive's.
fn target<'a>(autoscaler: &Autoscaler, spec: &Spec<'a>) -> Result<Option<(Owner<'a>, Workload)>, Malformed> {
    let target = spec.scale_target_ref.as_ref().optional()?.ok_or(Malformed)?;
    let api_version = target.api_version.string().optional()?;
    let kind = target.kind.string().optional()?;
    let name = target.name.string().optional()?.ok_or(Malformed)?;
    let (api_version, kind) = match autoscaler {
        Autoscaler::Horizontal => (api_version.ok_or(Malformed)?, kind.ok_or(Malformed)?),
        // KEDA takes a target without a kind for a Deployment.
        Autoscaler::Keda => (api_version.unwrap_or("apps/v1".into()), kind.unwrap_or("Deployment".into())),
    };
    let Some((group, _)) = api_version.split_once('/') else {
        return Ok(None);
    };
    Ok(Workload::from_kind(group, &kind).map(|workload| (Owner::by_name(name), workload)))
}

/// A reason why the autoscaler will not work as intended.
struct Finding {
    annotation: &'static str,
    value: String,
    warning: String,
}

fn findings(
    owner: &Owner<'_>,
    workload: Workload,
    scaling: &Scaling,
    maximum: u32,
    settings: &Settings,
) -> Vec<Finding> {
    let (kind, name) = (owner.kind.name(), shortened(&owner.name));
    let storage = scaling.session_storage_or(settings.default_session_storage);
    let mut findings = Vec::new();
    if exceeds_stdio_cap(scaling.transport, maximum) {
        findings.push(Finding {
            annotation: "stdio-replicas",
            value: format!("maximum={maximum}"),
            warning: format!(
                "transport stdio of {kind} {name} supports 1 replica; the autoscaler may request {maximum}"
            ),
        });
    }
    if let Some(count) = workload.declared(scaling) {
        let field = workload.declared_in();
        findings.push(Finding {
            annotation: "declared-replicas",
            value: format!("{field}={count}"),
            warning: format!("{field} of {kind} {name} conflicts with the autoscaler; remove the field"),
        });
    }
    if settings.session_storage != UnsharedSessions::Ignore && sessions_at_risk(storage, maximum) {
        findings.push(Finding {
            annotation: "sessions-at-risk",
            value: format!("maximum={maximum}"),
            warning: format!(
                "replicas without Redis lose sessions; set spec.sessionStorage.provider of {kind} {name} to redis"
            ),
        });
    }
    findings
}
