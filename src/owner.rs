//! Reads the owner of an object out of its metadata, or out of a Scale.

use mcp_scaling_rules::labels::{APP_NAME, TOOLHIVE, TOOLHIVE_NAME};
use mcp_scaling_rules::owner::{OwnerLabels, OwnerReference};
use mcp_scaling_rules::{Field, Owner, Workload};

use crate::request::{Metadata, Request};

/// The owner of the workload that the request is about, or `None` if it is not ToolHive's.
pub(crate) fn of_workload<'r>(request: &'r Request<'_>) -> Option<Owner<'r>> {
    let object = request.object()?;
    let label = |name| object.label(name).map(Into::into);
    let labels =
        OwnerLabels { toolhive: label(TOOLHIVE), toolhive_name: label(TOOLHIVE_NAME), app_name: label(APP_NAME) };
    Owner::of_workload(controller(object.metadata.get()?)?, labels)
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
    let owner = match workload {
        Workload::Deployment => Owner::of_deployment_selector(selector),
        Workload::StatefulSet => Owner::of_statefulset_selector(request.name.get()?.into(), selector),
    };
    Some((owner?, workload))
}

/// The owner reference with `controller: true`, `Some(None)` if there is none, and `None` if the list is malformed.
pub(crate) fn controller(metadata: &Metadata) -> Option<Option<OwnerReference<'_>>> {
    let references = metadata.owner_references.as_ref().optional().ok()?;
    let mut references = references.into_iter().flatten().filter_map(Field::get);
    let Some(controller) = references.find(|reference| reference.controller == Field::Value(true)) else {
        return Some(None);
    };
    Some(Some(OwnerReference {
        api_version: controller.api_version.get()?.into(),
        kind: controller.kind.get()?.into(),
        name: controller.name.get()?.into(),
    }))
}
