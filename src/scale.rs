//! `Scale`: what `kubectl scale` and autoscalers write to `deployments/scale` and `statefulsets/scale`.

use mcp_scaling_rules::{Malformed, Owner, Workload};

use crate::lookup::ReadResources;
use crate::replicas::{self, ReplicasRequest};
use crate::request::Request;
use crate::requester::Requester;
use crate::settings::Settings;
use crate::verdict::Verdict;

/// Validates UPDATE of the Scale of a workload that runs for `owner`.
///
/// # Errors
/// [`Malformed`] if the count is malformed.
pub(crate) fn validate(
    owner: &Owner<'_>,
    workload: Workload,
    request: &Request<'_>,
    settings: &Settings,
    get: &ReadResources<'_>,
) -> Result<Verdict, Malformed> {
    let replicas = ReplicasRequest {
        // The API server leaves a count of 0 out of a Scale.
        requested: request.spec()?.replicas.count().optional()?.unwrap_or_default(),
        old: request.old_spec().map(|spec| spec.replicas.count().value().unwrap_or_default()),
        requester: Requester::of(request, settings, Some(owner)),
        is_update: request.is_update(),
        workload,
        is_scale: true,
        transport_label: None,
        is_old_runner: false,
    };
    Ok(replicas::validate(Verdict::default(), owner, request, &replicas, settings, get))
}
