//! `StatefulSet`: the pods of an `MCPServer`'s backend.

use mcp_scaling_rules::Transport;

use crate::custom_resource::BACKEND_REPLICAS;
use crate::lookup::GetResource;
use crate::replicas::{self, Change};
use crate::request::Request;
use crate::requester::Requester;
use crate::server::Server;
use crate::settings::Settings;
use crate::verdict::Verdict;
use crate::view::Malformed;

/// Judges CREATE and UPDATE of a StatefulSet that runs for `server`. Its grace period is the proxy runner's to set.
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
    let requester = Requester::of(request, settings, Some(server));
    let transport = transport_label(request);
    let change = Change::of_workload(request, request.spec()?, requester, &BACKEND_REPLICAS, transport)?;
    replicas::judge(&mut verdict, server, request, &change, settings, get);
    Ok(verdict)
}

/// The transport that these pods run with, which ToolHive writes on the StatefulSet.
fn transport_label(request: &Request<'_>) -> Option<Transport> {
    let metadata = request.object.as_ref().value()?.metadata.as_ref().value()?;
    let label = metadata.labels.as_ref().value()?.toolhive_transport.text().value()?;
    Transport::from_name(&label)
}
