//! `Deployment`: the pods of the proxy runner, or of a `VirtualMCPServer` or `MCPRemoteProxy`.

use mcp_scaling_rules::{Malformed, Owner, Workload};

use crate::lookup::ReadResources;
use crate::pod_template;
use crate::replicas::{self, ReplicasRequest};
use crate::request::Request;
use crate::requester::Requester;
use crate::settings::Settings;
use crate::verdict::Verdict;

/// Validates CREATE and UPDATE of a Deployment that runs for `owner`.
///
/// # Errors
/// [`Malformed`] if a field that decides is malformed.
pub(crate) fn validate(
    owner: &Owner<'_>,
    request: &Request<'_>,
    settings: &Settings,
    get: &ReadResources<'_>,
) -> Result<Verdict, Malformed> {
    let spec = request.spec()?;
    let requester = Requester::of(request, settings, Some(owner));
    let replicas = ReplicasRequest::of_workload(request, spec, requester, Workload::Deployment, None)?;
    let pod = pod_template::pod(spec)?;
    let mut verdict = replicas::validate(Verdict::default(), owner, request, &replicas, settings, get);
    pod_template::validate(&mut verdict, owner.kind, request, pod, requester, settings)?;
    Ok(verdict)
}
