//! `HorizontalPodAutoscaler` and KEDA's `ScaledObject`: warns about what will happen when they scale.

use std::borrow::Cow;

use mcp_scaling_rules::kind::{EMBEDDING_SERVER, GROUP};
use mcp_scaling_rules::{Malformed, Owner, Scaling, ServerKind, Workload, exceeds_stdio_cap, sessions_at_risk};

use crate::lookup::{self, Fields, GetResource, Lookup};
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
    let findings = match target(autoscaler, spec)? {
        Target::Workload(workload, name) => {
            let maximum = autoscaler.maximum(spec)?;
            match lookup_owner(workload, &name, request, get) {
                Some((owner, scaling)) => findings(&owner, workload, &scaling, maximum, settings),
                None if runs_embedding_server(workload, &name, request, get) => vec![embedding_server(&name)],
                None => Vec::new(),
            }
        }
        Target::CustomResource(kind, name) => vec![not_scalable(kind, &name)],
        Target::EmbeddingServer(name) => vec![embedding_server(&name)],
        Target::Other => Vec::new(),
    };
    let by_person = Requester::of(request, settings, None) == Requester::Person;
    for finding in findings {
        verdict.annotate(finding.annotation, finding.value);
        if by_person {
            verdict.warn(&finding.warning);
        }
    }
    Ok(verdict)
}

/// What an autoscaler scales.
enum Target<'a> {
    /// A Deployment or StatefulSet of this name, which may be ToolHive's.
    Workload(Workload, Cow<'a, str>),
    /// A custom resource of ToolHive's.
    CustomResource(ServerKind, Cow<'a, str>),
    /// An `EmbeddingServer` of this name.
    EmbeddingServer(Cow<'a, str>),
    /// Something that ToolHive has nothing to do with.
    Other,
}

fn target<'a>(autoscaler: &Autoscaler, spec: &Spec<'a>) -> Result<Target<'a>, Malformed> {
    let target = spec.scale_target_ref.as_ref().optional()?.ok_or(Malformed)?;
    let api_version = target.api_version.string().optional()?;
    let kind = target.kind.string().optional()?;
    let name = target.name.string().optional()?.ok_or(Malformed)?;
    let (api_version, kind) = match autoscaler {
        Autoscaler::Horizontal => (api_version.ok_or(Malformed)?, kind.ok_or(Malformed)?),
        // KEDA takes a target without a kind for a Deployment.
        Autoscaler::Keda => (api_version.unwrap_or("apps/v1".into()), kind.unwrap_or("Deployment".into())),
    };
    let (group, _) = api_version.split_once('/').unwrap_or_default();
    Ok(match (Workload::from_kind(group, &kind), ServerKind::from_name(group, &kind)) {
        (Some(workload), _) => Target::Workload(workload, name),
        (None, Some(kind)) => Target::CustomResource(kind, name),
        (None, None) if group == GROUP && kind == EMBEDDING_SERVER => Target::EmbeddingServer(name),
        (None, None) => Target::Other,
    })
}

/// The custom resource that a workload of this name may run for: the first of the kinds with such a workload that has one.
fn lookup_owner<'a>(
    workload: Workload,
    name: &'a str,
    request: &Request<'_>,
    get: &GetResource<'_>,
) -> Option<(Owner<'a>, Scaling)> {
    workload.owner_kinds().iter().find_map(|kind| {
        let owner = Owner { kind: *kind, ..Owner::by_name(name.into()) };
        match lookup::find(&owner, Fields::Scaling, request, get) {
            Lookup::Found(found) => Some((owner, found.scaling)),
            Lookup::NotFound | Lookup::Failed => None,
        }
    })
}

/// Whether the workload of this name runs for an `EmbeddingServer`.
fn runs_embedding_server(workload: Workload, name: &str, request: &Request<'_>, get: &GetResource<'_>) -> bool {
    workload == Workload::StatefulSet && lookup::exists(EMBEDDING_SERVER, name, request, get)
}

/// A reason why the autoscaler will not work as intended.
struct Finding {
    annotation: &'static str,
    value: String,
    warning: String,
}

/// The custom resources have no subresource `scale`, so that no autoscaler can scale them.
fn not_scalable(kind: ServerKind, name: &str) -> Finding {
    let (kind, name) = (kind.name(), shortened(name));
    Finding {
        annotation: "not-scalable",
        value: format!("{kind}/{name}"),
        warning: format!("{kind} {name} cannot be scaled by an autoscaler; target its Deployment instead"),
    }
}

/// ToolHive's operator sets the count of an `EmbeddingServer` back, whether it is declared or not.
fn embedding_server(name: &str) -> Finding {
    let name = shortened(name);
    Finding {
        annotation: "not-scalable",
        value: format!("{EMBEDDING_SERVER}/{name}"),
        warning: format!(
            "the count of {EMBEDDING_SERVER} {name} is its spec.replicas; ToolHive undoes an autoscaler's"
        ),
    }
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
            warning: format!("{kind} {name} does not store sessions in Redis; more than 1 replica loses sessions"),
        });
    }
    findings
}
