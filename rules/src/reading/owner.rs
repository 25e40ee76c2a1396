//! Which custom resource a workload runs for.

use std::borrow::Cow;

use serde::Deserialize;

use crate::facts::kind::ServerKind;
use crate::facts::labels;
use crate::reading::field::{Field, Malformed};

/// The custom resource that a workload runs for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Its kind.
    pub kind: ServerKind,
    /// Its name; the namespace is the workload's.
    pub name: Cow<'a, str>,
    /// The API version that the owner reference names, which may no longer be served. `None` if labels told the owner.
    pub api_version: Option<Cow<'a, str>>,
    /// Says whether the name alone speaks for ToolHive, so that the workload may belong to something else. Such an owner has to
    /// be looked up before anything is said of it.
    pub is_by_name_only: bool,
}

/// An entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerReference<'a> {
    /// `apiVersion`.
    pub api_version: Cow<'a, str>,
    /// `kind`.
    pub kind: Cow<'a, str>,
    /// `name`.
    pub name: Cow<'a, str>,
}

/// The labels of a workload that tell its owner, `None` if a label is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerLabels<'a> {
    /// [`labels::TOOLHIVE`].
    pub toolhive: Option<Cow<'a, str>>,
    /// [`labels::TOOLHIVE_NAME`].
    pub toolhive_name: Option<Cow<'a, str>>,
    /// [`labels::APP_NAME`].
    pub app_name: Option<Cow<'a, str>>,
}

impl<'a> OwnerLabels<'a> {
    /// The labels of an object, of which `value` gives one by its name.
    pub fn read(value: impl Fn(&str) -> Option<Cow<'a, str>>) -> Self {
        Self {
            toolhive: value(labels::TOOLHIVE),
            toolhive_name: value(labels::TOOLHIVE_NAME),
            app_name: value(labels::APP_NAME),
        }
    }
}

/// An entry of `metadata.ownerReferences` as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RawOwnerReference {
    /// `apiVersion`.
    pub api_version: Field<String>,
    /// `kind`.
    pub kind: Field<String>,
    /// `name`.
    pub name: Field<String>,
    /// `controller`.
    pub controller: Field<bool>,
}

/// The controller of an object with these `metadata.ownerReferences`: the one with `controller: true`.
///
/// # Errors
/// [`Malformed`] if the list is malformed, or the entry of the controller.
pub fn controller(references: &Field<Vec<Field<RawOwnerReference>>>) -> Result<Option<OwnerReference<'_>>, Malformed> {
    let references = references.as_ref().optional()?;
    let mut references = references.into_iter().flatten().filter_map(Field::get);
    let Some(controller) = references.find(|reference| reference.controller == Field::Value(true)) else {
        return Ok(None);
    };
    Ok(Some(OwnerReference {
        api_version: controller.api_version.get().ok_or(Malformed)?.into(),
        kind: controller.kind.get().ok_or(Malformed)?.into(),
        name: controller.name.get().ok_or(Malformed)?.into(),
    }))
}

impl<'a> Owner<'a> {
    /// The owner of the workload of this name with this controller (the owner reference with `controller: true`) and these
    /// labels, or `None` if the workload is not ToolHive's.
    ///
    /// The controller decides if there is one: an object that something else controls is not ToolHive's, whatever its
    /// labels say. The labels decide only if there is no controller.
    pub fn of_workload(name: &str, controller: Option<OwnerReference<'a>>, labels: OwnerLabels<'a>) -> Option<Self> {
        let owner = match controller {
            Some(controller) => Self::from_controller(controller),
            None => Self::from_labels(labels),
        };
        owner.filter(|owner| owner.names(name))
    }

    /// The owner of the Deployment of this name with this label selector, in the form that a Scale has
    /// (`app=x,toolhive=true,…`).
    pub fn of_deployment_selector(name: &str, selector: &str) -> Option<Owner<'static>> {
        let value = |name: &str| {
            let mut requirements = selector.split(',').filter_map(|requirement| requirement.split_once('='));
            requirements.find_map(|(label, value)| (label == name).then(|| Cow::Owned(value.to_owned())))
        };
        Owner::from_labels(OwnerLabels::read(value)).filter(|owner| owner.names(name))
    }

    /// Returns whether ToolHive gives this name to a workload of this owner: its own. A workload with another name is a copy that
    /// somebody made, with the labels and owner reference of the original. Flagger copies too (`NAME-primary`).
    ///
    /// Source: `deploymentForMCPServer`, `deploymentForVirtualMCPServer` and `deploymentForMCPRemoteProxy` in
    /// `cmd/thv-operator/controllers`, and `DeployWorkload` in `pkg/container/kubernetes/client.go`.
    fn names(&self, workload: &str) -> bool {
        self.name == workload
    }

    /// The possible owner of a StatefulSet with this name and label selector. ToolHive selects by `app=<name>` alone, and
    /// so do many others.
    pub fn of_statefulset_selector(name: Cow<'a, str>, selector: &str) -> Option<Self> {
        let (label, value) = selector.split_once('=')?;
        (label == labels::APP && value == name).then(|| Self::by_name(name))
    }

    /// The `MCPServer` that may own a workload of this name: both of its workloads bear its name.
    pub fn by_name(name: Cow<'a, str>) -> Self {
        Self { kind: ServerKind::McpServer, name, api_version: None, is_by_name_only: true }
    }

    fn from_controller(controller: OwnerReference<'a>) -> Option<Self> {
        let (group, _) = controller.api_version.split_once('/')?;
        Some(Self {
            kind: ServerKind::from_kind(group, &controller.kind)?,
            name: controller.name,
            api_version: Some(controller.api_version),
            is_by_name_only: false,
        })
    }

    fn from_labels(labels: OwnerLabels<'a>) -> Option<Self> {
        if labels.toolhive? != labels::TOOLHIVE_VALUE {
            return None;
        }
        // A StatefulSet does not have this label, and only an MCPServer has a StatefulSet.
        let kind = labels.app_name.and_then(|app_name| ServerKind::from_app_name(&app_name));
        Some(Self {
            kind: kind.unwrap_or(ServerKind::McpServer),
            name: labels.toolhive_name?,
            api_version: None,
            is_by_name_only: false,
        })
    }
}
