//! What is read of a Deployment or a StatefulSet, and whose it is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use mcp_scaling_rules::server::{GROUP, MCP_SERVER};
use serde::{Deserialize, Deserializer};

use crate::server::Lenient;

/// Which of the two workloads of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The proxy runner.
    Deployment,
    /// The backend.
    StatefulSet,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Deployment, Self::StatefulSet];

    /// `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
        }
    }

    /// The name of the resource in a path.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
        }
    }

    /// The label selector that leaves out what is not ToolHive's.
    pub fn selector(self) -> &'static str {
        match self {
            Self::Deployment => "app.kubernetes.io/name=mcpserver,toolhive=true",
            Self::StatefulSet => "toolhive=true",
        }
    }
}

/// A Deployment or StatefulSet, as far as scaling goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Of the metadata: name, namespace, resource version.
    pub meta: ObjectMeta,
    /// Whether it is that of the `MCPServer` of the same name: its controller says so or, where it has none, its label
    /// `toolhive-name`. What the operator makes bears the server's name.
    pub is_servers: bool,
    /// `spec.replicas`; the API server defaults an absent one to 1. `None` where it is no count.
    pub replicas: Option<u32>,
}

impl Resource for Workload {
    type DynamicType = Kind;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        Cow::Borrowed(kind.name())
    }
    fn group(_: &Kind) -> Cow<'_, str> {
        Cow::Borrowed("apps")
    }
    fn version(_: &Kind) -> Cow<'_, str> {
        Cow::Borrowed("v1")
    }
    fn plural(kind: &Kind) -> Cow<'_, str> {
        Cow::Borrowed(kind.plural())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[derive(Deserialize)]
struct RawWorkload {
    #[serde(default)]
    metadata: RawMetadata,
    spec: Option<Lenient<RawSpec>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawMetadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<RawOwner>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawOwner {
    api_version: String,
    kind: String,
    name: String,
    controller: Option<bool>,
}

#[derive(Deserialize)]
struct RawSpec {
    replicas: Option<Lenient<u32>>,
}

impl<'de> Deserialize<'de> for Workload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RawWorkload { metadata, spec } = RawWorkload::deserialize(deserializer)?;
        let replicas = match spec {
            Some(Lenient::Good(RawSpec { replicas: Some(count) })) => count.good(),
            Some(Lenient::Good(RawSpec { replicas: None })) | None => Some(1),
            Some(Lenient::Bad(_)) => None,
        };
        let is_servers = is_servers(&metadata);
        let RawMetadata { name, namespace, resource_version, .. } = metadata;
        let meta = ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() };
        Ok(Self { meta, is_servers, replicas })
    }
}

fn is_servers(metadata: &RawMetadata) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    match owners.find(|owner| owner.controller == Some(true)) {
        Some(owner) => {
            // Of any version: objects from before an upgrade keep the old one.
            let group = owner.api_version.split_once('/').map(|(group, _)| group);
            group == Some(GROUP) && owner.kind == MCP_SERVER.name && Some(&owner.name) == metadata.name.as_ref()
        }
        None => {
            let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key));
            label("toolhive").is_some_and(|value| value == "true") && label("toolhive-name") == metadata.name.as_ref()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Workload;

    fn read(metadata: Value, spec: Value) -> Workload {
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("reading never fails")
    }

    #[test]
    fn the_controller_decides_and_without_one_the_labels() {
        let labels = json!({"toolhive": "true", "toolhive-name": "github"});
        let owner = |api_version: &str, kind: &str, name: &str, controller: bool| json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": "u", "controller": controller}]);
        for (owners, labels, is_servers) in [
            (owner("toolhive.stacklok.dev/v1beta1", "MCPServer", "github", true), json!({}), true),
            (owner("toolhive.stacklok.dev/v1alpha1", "MCPServer", "github", true), json!({}), true),
            (owner("toolhive.stacklok.dev/v1alpha1", "VirtualMCPServer", "github", true), labels.clone(), false),
            (owner("other.dev/v1", "MCPServer", "github", true), labels.clone(), false),
            (owner("toolhive.stacklok.dev/v1beta1", "MCPServer", "other", true), labels.clone(), false),
            (owner("other.dev/v1", "Other", "other", false), labels.clone(), true),
            (json!([]), labels, true),
            (json!([]), json!({"toolhive": "true", "toolhive-name": "other"}), false),
            (json!([]), json!({"toolhive-name": "github"}), false),
            (json!(null), json!(null), false),
        ] {
            let metadata = json!({"name": "github", "labels": labels, "ownerReferences": owners});
            assert_eq!(read(metadata.clone(), json!({})).is_servers, is_servers, "{metadata}");
        }
    }

    #[test]
    fn replicas() {
        for (spec, count) in [
            (json!({"replicas": 3}), Some(3)),
            (json!({"replicas": 0}), Some(0)),
            (json!({}), Some(1)),
            (json!({"replicas": null}), Some(1)),
            (json!(null), Some(1)),
            (json!({"replicas": -1}), None),
            (json!({"replicas": "3"}), None),
            (json!("x"), None),
        ] {
            assert_eq!(read(json!({"name": "x"}), spec.clone()).replicas, count, "{spec}");
        }
    }
}
