//! `StatefulSet`: the pods of an `MCPServer`'s backend.

use mcp_scaling_rules::{Malformed, Owner, Transport, Workload, labels};

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
    let label = transport_label(request);
    let replicas = ReplicasRequest::of_workload(request, request.spec()?, requester, Workload::StatefulSet, label)?;
    let keeps = settings.keep_backends_on_scale && requester == Requester::ToolHive;
    let Kept { verdict, is_old_runner } = if keeps { backend_template::keep(request) } else { Kept::default() };
    let replicas = ReplicasRequest { is_old_runner, ..replicas };
    Ok(replicas::validate(verdict, owner, request, &replicas, settings, get))
}

/// The transport that the StatefulSet's label names.
fn transport_label(request: &Request<'_>) -> Option<Transport> {
    Transport::from_name(request.object()?.label(labels::TOOLHIVE_TRANSPORT)?)
}
