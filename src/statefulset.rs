//! `StatefulSet`: the pods of an `MCPServer`'s backend.

use mcp_scaling_rules::{Malformed, Owner, Workload};

use crate::backend_template::{self, Kept};
use crate::lookup::ReadResources;
use crate::replicas::{self, ReplicasRequest};
use crate::request::{Object, Request};
use crate::requester::Requester;
use crate::settings::Settings;
use crate::verdict::Verdict;

/// Validates CREATE and UPDATE of a StatefulSet that runs for `owner`. The proxy runner sets its grace period.
///
/// # Errors
/// [`Malformed`] if a field that decides is malformed.
pub(crate) fn validate(
    owner: &Owner<'_>,
    request: &Request<'_>,
    settings: &Settings,
    get: &ReadResources<'_>,
) -> Result<Verdict, Malformed> {
    let requester = Requester::of(request, settings, Some(owner));
    let keeps = settings.keep_backends_on_scale && requester == Requester::ToolHive;
    let Kept { verdict, is_old_runner } =
        if keeps { backend_template::keep(request, settings) } else { Kept::default() };
    // The label of an old runner is as outdated as its count, and the one before it stays.
    let kept_label = request.old_object().filter(|_| is_old_runner).and_then(Object::transport_label);
    let label = kept_label.or_else(|| request.object()?.transport_label());
    let replicas = ReplicasRequest::of_workload(request, request.spec()?, requester, Workload::StatefulSet, label)?;
    let replicas = ReplicasRequest { is_old_runner, ..replicas };
    Ok(replicas::validate(verdict, owner, request, &replicas, settings, get))
}
