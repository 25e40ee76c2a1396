//! Whose a workload is.

use std::borrow::Cow;

use mcp_scaling_rules::ServerKind;
use mcp_scaling_rules::server::MCP_SERVER;

use crate::request::{Labels, Metadata, OwnerReference};
use crate::view::{Field, Leaf, read};

/// The custom resource that a workload runs for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Server<'a> {
    pub(crate) kind: &'static ServerKind,
    pub(crate) name: Cow<'a, str>,
    /// The API version that the owner reference names; it may be one that is no longer served.
    pub(crate) api_version: Option<Cow<'a, str>>,
}

/// The custom resource that the workload with this metadata runs for, or `None` where it is not ToolHive's.
///
/// The controller owner decides where there is one: whatever the labels say, an object that something else controls is
/// not ours. Only where there is none do ToolHive's labels.
pub(crate) fn server<'a>(metadata: &Metadata<'a>) -> Option<Server<'a>> {
    let owners = metadata.owner_references.as_ref().optional().ok()?;
    let mut owners = owners.into_iter().flatten().filter_map(owner);
    match owners.find(|owner| owner.controller.json() == Some("true")) {
        Some(controller) => from_owner(&controller),
        None => from_labels(metadata.labels.as_ref().value()?),
    }
}

fn owner<'a>(reference: &Leaf<'a>) -> Option<OwnerReference<'a>> {
    let mut owner = Field::default();
    read(reference.json()?, &mut owner).ok()?;
    owner.value()
}

fn from_owner<'a>(owner: &OwnerReference<'a>) -> Option<Server<'a>> {
    let api_version = owner.api_version.text().value()?;
    let (group, _) = api_version.split_once('/')?;
    Some(Server {
        kind: ServerKind::from_name(group, &owner.kind.text().value()?)?,
        name: owner.name.text().value()?,
        api_version: Some(api_version),
    })
}

fn from_labels<'a>(labels: &Labels<'a>) -> Option<Server<'a>> {
    if labels.toolhive.text().value()? != "true" {
        return None;
    }
    let app_name = labels.app_name.text().value();
    Some(Server {
        kind: app_name
            .and_then(|label| ServerKind::from_label(&label))
            .unwrap_or(MCP_SERVER),
        name: labels.toolhive_name.text().value()?,
        api_version: None,
    })
}
