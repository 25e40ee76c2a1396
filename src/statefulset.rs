//! `StatefulSet`: the pods of an `MCPServer`'s backend.

use mcp_scaling_rules::{Malformed, Owner, Workload};

use crate::backend_template::{self, Kept};
use crate::lookup::ReadResources;
use crate::replicas::{self, ReplicasRequest};
use crate::request::Request;
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
    let Kept { verdict, is_old_runner, transport_label } =
        if keeps { backend_template::keep(request, settings) } else { Kept::default() };
    let label = transport_label.or_else(|| request.object()?.transport_label());
    let replicas = ReplicasRequest::of_workload(request, request.spec()?, requester, Workload::StatefulSet, label)?;
    let replicas = ReplicasRequest { is_old_runner, ..replicas };
    Ok(replicas::validate(verdict, owner, request, &replicas, settings, get))
}
