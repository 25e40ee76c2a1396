//! Reads the owner of an object out of its metadata, or out of a Scale.

use mcp_scaling_rules::owner::{OwnerLabels, OwnerReference};
use mcp_scaling_rules::{Field, Owner, Workload};

use crate::json::{JsonText, read};
use crate::request::{self, Labels, Metadata, Request};

/// The owner of the workload that the request is about, or `None` where it is not ToolHive's.
pub(crate) fn of_workload<'a>(request: &Request<'a>) -> Option<Owner<'a>> {
    let metadata = request.object.as_ref().value()?.metadata.as_ref().value()?;
    Owner::of_workload(controller(metadata)?, metadata.labels.as_ref().value().map(owner_labels).unwrap_or_default())
}

/// The owner of the workload behind the Scale that the request is about, and which workload that is. `None` where the
/// workload is not ToolHive's.
///
/// A Scale has neither labels nor owners. The workload is told by the resource that the request goes to, the owner by the
/// label selector that the API server itself set on the old object; the client can write neither.
pub(crate) fn of_scale<'a>(request: &Request<'a>) -> Option<(Owner<'a>, Workload)> {
    let resource = request.resource.as_ref().value()?;
    let workload = Workload::from_resource(&resource.group.string().value()?, &resource.resource.string().value()?)?;
    let old = request.old_object.as_ref().value()?;
    let selector = old.status.as_ref().value()?.selector.string().value()?;
    let owner = match workload {
        Workload::Deployment => Owner::of_deployment_selector(&selector),
        Workload::StatefulSet => Owner::of_statefulset_selector(request.name.string().value()?, &selector),
    };
    Some((owner?, workload))
}

/// The owner reference with `controller: true`, `Some(None)` where there is none, and `None` where the list is malformed.
pub(crate) fn controller<'a>(metadata: &Metadata<'a>) -> Option<Option<OwnerReference<'a>>> {
    let references = metadata.owner_references.as_ref().optional().ok()?;
    let mut references = references.into_iter().flatten().filter_map(owner_reference);
    match references.find(|reference| reference.controller.json() == Some("true")) {
        None => Some(None),
        Some(controller) => Some(Some(OwnerReference {
            api_version: controller.api_version.string().value()?,
            kind: controller.kind.string().value()?,
            name: controller.name.string().value()?,
        })),
    }
}

fn owner_reference<'a>(json: &JsonText<'a>) -> Option<request::OwnerReference<'a>> {
    let mut reference = Field::default();
    read(json.json()?, &mut reference).ok()?;
    reference.value()
}

fn owner_labels<'a>(labels: &Labels<'a>) -> OwnerLabels<'a> {
    OwnerLabels {
        toolhive: labels.toolhive.string().value(),
        toolhive_name: labels.toolhive_name.string().value(),
        app_name: labels.app_name.string().value(),
    }
}
