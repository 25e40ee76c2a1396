//! Reads the owner of an object out of its metadata, or out of a Scale.

use mcp_scaling_rules::owner::{OwnerLabels, controller};
use mcp_scaling_rules::{Owner, Workload};

use crate::request::Request;

/// The owner of the workload that the request is about, or `None` if it is not ToolHive's.
pub(crate) fn of_workload<'r>(request: &'r Request<'_>) -> Option<Owner<'r>> {
    let object = request.object()?;
    let metadata = object.metadata.get()?;
    let controller = controller(&metadata.owner_references).ok()?;
    // ToolHive names its workloads, so that one without a name, which gets one after admission, is not ToolHive's.
    Owner::of_workload(metadata.name.get()?, controller, OwnerLabels::read(|name| object.label(name).map(Into::into)))
}

/// The owner of the workload behind the Scale that the request is about, and which workload that is. `None` if the
/// workload is not ToolHive's.
///
/// A Scale has neither labels nor owners. The workload is told by the resource that the request goes to, the owner by the
/// label selector that the API server itself set on the old object; the client can write neither.
pub(crate) fn of_scale<'r>(request: &'r Request<'_>) -> Option<(Owner<'r>, Workload)> {
    let resource = request.resource.get()?;
    let workload = Workload::from_resource(resource.group.get()?, resource.resource.get()?)?;
    let selector = request.old_object()?.status.get()?.selector.get()?;
    let name = request.name.get()?;
    let owner = match workload {
        Workload::Deployment => Owner::of_deployment_selector(name, selector),
        Workload::StatefulSet => Owner::of_statefulset_selector(name.into(), selector),
    };
    Some((owner?, workload))
}
