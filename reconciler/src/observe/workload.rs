//! The slim type that a Deployment or a StatefulSet is read into.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use mcp_scaling_rules::field::replica_count;
use mcp_scaling_rules::grace_period::DEFAULT_GRACE_PERIOD;
use mcp_scaling_rules::owner::{OwnerLabels, RawOwnerReference};
use mcp_scaling_rules::workload::DEFAULT_REPLICAS;
use mcp_scaling_rules::{Field, Owner, RolledOut, ServerKind, Workload, annotations, labels, owner};
use serde::{Deserialize, Deserializer};

/// A Deployment or StatefulSet.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadObject {
    /// Of the metadata: name, namespace, resource version.
    pub(crate) meta: ObjectMeta,
    /// Says whether its owner is the `MCPServer` of the same name: ToolHive gives both workloads the server's name.
    pub(crate) is_owned_by_server: bool,
    /// The count that a reset by ToolHive's operator took away, which the policy recorded and nobody has restored yet.
    pub replicas_before_reset: Option<u32>,
    /// The count that it had before the reconciler scaled it to 0 with its proxies, as our annotation says.
    pub replicas_before_zero: Option<u32>,
    /// `spec.replicas`, 1 if it is absent (the API server's default), `None` if it is no count.
    pub replicas: Option<u32>,
    /// The pods that are left of a workload that is set to 0 replicas.
    pub pods_left: PodsLeft,
}

/// The pods that are left of a workload that is set to 0 replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PodsLeft {
    /// None are left, or no controller has ever created one.
    #[default]
    None,
    /// Some have not been told to end yet, or are known to be ending.
    Some,
    /// Some may be ending, which takes at most this long.
    Ending(Duration),
}

/// How much longer than its grace period the end of a pod may take: the kubelet has to notice it, and to kill it at last.
const END_OF_POD: Duration = Duration::from_secs(5);

/// The label selector that leaves out the workloads of other programs.
pub(crate) fn selector(workload: Workload) -> String {
    let toolhive = format!("{}={}", labels::TOOLHIVE, labels::TOOLHIVE_VALUE);
    match workload {
        Workload::Deployment => format!("{}={},{toolhive}", labels::APP_NAME, ServerKind::McpServer.app_name()),
        Workload::StatefulSet => toolhive,
    }
}

impl Resource for WorkloadObject {
    type DynamicType = Workload;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(workload: &Workload) -> Cow<'_, str> {
        Cow::Borrowed(workload.kind())
    }
    fn group(_: &Workload) -> Cow<'_, str> {
        Cow::Borrowed("apps")
    }
    fn version(_: &Workload) -> Cow<'_, str> {
        Cow::Borrowed("v1")
    }
    fn plural(workload: &Workload) -> Cow<'_, str> {
        Cow::Borrowed(workload.resource())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Field<Spec>,
    #[serde(default)]
    status: Field<Status>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Field<Vec<Field<RawOwnerReference>>>,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    replicas: Field<i64>,
    #[serde(default)]
    template: Field<Template>,
}

#[derive(Deserialize)]
struct Template {
    #[serde(default)]
    spec: Field<PodSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    termination_grace_period_seconds: Field<u32>,
}

/// The status that the controller of the workload writes.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    observed_generation: Option<i64>,
    /// Pods that have not been told to end.
    replicas: u32,
    /// Pods that are ending. Kubernetes before v1.35 does not tell.
    ///
    /// Source: `DeploymentStatus` in `k8s.io/api/apps/v1`, feature gate `DeploymentReplicaSetTerminatingReplicas`.
    terminating_replicas: Option<u32>,
}

impl<'de> Deserialize<'de> for WorkloadObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object { metadata, spec, status } = Object::deserialize(deserializer)?;
        let (replicas, grace_period) = match spec {
            Field::Absent => (Field::Absent, None),
            Field::Malformed => (Field::Malformed, None),
            Field::Value(Spec { replicas, template }) => (replicas.count(), grace_period(template)),
        };
        let replicas = replicas.optional().map_or(None, |count| Some(count.unwrap_or(DEFAULT_REPLICAS)));
        let status = status.value().unwrap_or_default();
        let pods_left = match replicas {
            Some(0) => pods_left(
                metadata.generation,
                &status,
                grace_period.unwrap_or(Duration::from_secs(DEFAULT_GRACE_PERIOD.into())),
            ),
            Some(_) | None => PodsLeft::None,
        };
        let is_owned_by_server = is_owned_by_server(&metadata);
        let annotation = |name| metadata.annotations.as_ref().and_then(|annotations| annotations.get(name));
        let rolled_out = annotation(annotations::ROLLED_OUT).map(|text| RolledOut::parse(text));
        let replicas_before_reset = rolled_out.and_then(|rolled_out| rolled_out.replicas_before_reset);
        let before_zero = annotation(annotations::REPLICAS_BEFORE_ZERO).and_then(|text| text.parse().ok());
        let replicas_before_zero = before_zero.and_then(|count| replica_count(count).filter(|count| *count > 0));
        let Metadata { name, namespace, resource_version, .. } = metadata;
        Ok(Self {
            meta: ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() },
            is_owned_by_server,
            replicas_before_reset,
            replicas_before_zero,
            replicas,
            pods_left,
        })
    }
}

fn grace_period(template: Field<Template>) -> Option<Duration> {
    let seconds = template.value()?.spec.value()?.termination_grace_period_seconds.value()?;
    Some(Duration::from_secs(seconds.into()))
}

/// The pods that are left of a workload of this generation that is set to 0 replicas.
fn pods_left(generation: Option<i64>, status: &Status, grace_period: Duration) -> PodsLeft {
    let Status { observed_generation, replicas, terminating_replicas } = *status;
    match terminating_replicas {
        _ if observed_generation.is_none() => PodsLeft::None,
        _ if observed_generation < generation || replicas > 0 => PodsLeft::Some,
        Some(0) => PodsLeft::None,
        Some(_) => PodsLeft::Some,
        None => PodsLeft::Ending(grace_period + END_OF_POD),
    }
}

fn is_owned_by_server(metadata: &Metadata) -> bool {
    let Ok(controller) = owner::controller(&metadata.owner_references) else { return false };
    let labels = OwnerLabels::read(|name| Some(Cow::Borrowed(metadata.labels.as_ref()?.get(name)?.as_str())));
    let name = metadata.name.as_deref().unwrap_or_default();
    Owner::of_workload(name, controller, labels).is_some_and(|owner| owner.kind == ServerKind::McpServer)
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::Workload;
    use serde_json::{Value, json};

    use super::{WorkloadObject, selector};

    fn read(metadata: Value, spec: Value) -> WorkloadObject {
        serde_json::from_value(json!({"metadata": metadata, "spec": spec}))
            .expect("a malformed field does not fail the object")
    }

    #[test]
    fn takes_the_controller_as_owner_and_without_one_the_labels() {
        let labels = json!({"toolhive": "true", "toolhive-name": "github"});
        let owner = |api_version: &str, kind: &str, name: &str, controller: bool| json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": "u", "controller": controller}]);
        for (owners, labels, is_owned) in [
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
            assert_eq!(read(metadata.clone(), json!({})).is_owned_by_server, is_owned, "{metadata}");
        }
    }

    #[test]
    fn reads_replicas() {
        for (spec, count) in [
            (json!({"replicas": 3}), Some(3)),
            (json!({"replicas": 0}), Some(0)),
            (json!({}), Some(1)),
            (json!({"replicas": null}), Some(1)),
            (json!(null), Some(1)),
            (json!({"replicas": -1}), None),
            (json!({"replicas": "3"}), None),
            (json!({"replicas": 3_000_000_000_u64}), None),
            (json!("x"), None),
        ] {
            assert_eq!(read(json!({"name": "x"}), spec.clone()).replicas, count, "{spec}");
        }
    }

    #[test]
    fn selects_the_workloads_of_toolhive() {
        assert_eq!(selector(Workload::Deployment), "app.kubernetes.io/name=mcpserver,toolhive=true");
        assert_eq!(selector(Workload::StatefulSet), "toolhive=true");
    }
}
