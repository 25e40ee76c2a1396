//! Whose a workload is: the custom resource behind it.

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
    /// Whether the workload may as well be somebody else's: its name is all that speaks for ToolHive. Such a server is
    /// looked up once, and where it is not found nothing is said.
    pub(crate) is_guess: bool,
}

/// The server that the workload with this metadata runs for, or `None` where it is not ToolHive's.
///
/// The controller owner decides where there is one: whatever the labels say, an object that something else controls is
/// not ours. Only where there is none do ToolHive's labels.
pub(crate) fn of_workload<'a>(metadata: &Metadata<'a>) -> Option<Server<'a>> {
    let owners = metadata.owner_references.as_ref().optional().ok()?;
    let mut owners = owners.into_iter().flatten().filter_map(owner);
    match owners.find(|owner| owner.controller.json() == Some("true")) {
        Some(controller) => from_owner(&controller),
        None => from_labels(metadata.labels.as_ref().value()?),
    }
}

/// The server behind a Deployment with this label selector (`app=x,toolhive=true,…`, as a Scale gives it).
pub(crate) fn of_deployment_selector(selector: &str) -> Option<Server<'static>> {
    let value = |name| {
        let mut requirements = selector.split(',').filter_map(|requirement| requirement.split_once('='));
        requirements.find_map(|(label, value)| (label == name).then_some(value))
    };
    if value("toolhive")? != "true" {
        return None;
    }
    Some(named(value("app.kubernetes.io/name"), value("toolhive-name")?.to_owned().into()))
}

/// The server that may stand behind a StatefulSet of this name and label selector. All that ToolHive selects by is
/// `app=<name>`, and so do many others.
pub(crate) fn of_statefulset_selector<'a>(name: Cow<'a, str>, selector: &str) -> Option<Server<'a>> {
    (selector.strip_prefix("app=")? == name).then(|| guess(name))
}

/// The `MCPServer` that may stand behind a workload of this name: ToolHive names both alike.
pub(crate) fn guess(name: Cow<'_, str>) -> Server<'_> {
    Server { is_guess: true, ..named(None, name) }
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
        is_guess: false,
    })
}

fn from_labels<'a>(labels: &Labels<'a>) -> Option<Server<'a>> {
    if labels.toolhive.text().value()? != "true" {
        return None;
    }
    let app_name = labels.app_name.text().value();
    Some(named(app_name.as_deref(), labels.toolhive_name.text().value()?))
}

/// The server of this name, of the kind that the value of `app.kubernetes.io/name` tells. A StatefulSet does not have that
/// label, and only an `MCPServer` has a StatefulSet.
fn named<'a>(app_name: Option<&str>, name: Cow<'a, str>) -> Server<'a> {
    Server {
        kind: app_name.and_then(ServerKind::from_label).unwrap_or(MCP_SERVER),
        name,
        api_version: None,
        is_guess: false,
    }
}

#[cfg(test)]
mod tests {
    use super::{of_deployment_selector, of_statefulset_selector};

    #[test]
    fn deployment_selectors() {
        let server = |selector: &'static str| {
            of_deployment_selector(selector).map(|server| (server.kind.name, server.name.into_owned()))
        };
        let ours =
            "app=mcpserver,app.kubernetes.io/instance=x,app.kubernetes.io/name=mcpserver,toolhive=true,toolhive-name=x";
        assert_eq!(server(ours), Some(("MCPServer", "x".to_owned())));
        let virtual_server = "app.kubernetes.io/name=virtualmcpserver,toolhive=true,toolhive-name=y";
        assert_eq!(server(virtual_server), Some(("VirtualMCPServer", "y".to_owned())));
        for foreign in
            ["", "app=x", "toolhive=false,toolhive-name=x", "toolhive=true", "xtoolhive=true,toolhive-name=x"]
        {
            assert_eq!(server(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn statefulset_selectors() {
        let is_candidate =
            |selector| of_statefulset_selector("x".into(), selector).is_some_and(|server| server.is_guess);
        assert!(is_candidate("app=x"));
        for foreign in ["", "app=y", "app=x,tier=db", "name=x", "app in (x)"] {
            assert!(!is_candidate(foreign), "{foreign}");
        }
    }
}
