//! Who owns the count of a workload: the autoscaler that is aimed at it, else the field manager that last wrote it. Only `check`
//! asks this.

use std::collections::HashMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use mcp_scaling_rules::Workload;
use serde_json::Value;

/// A kind of autoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AutoscalerKind {
    /// `HorizontalPodAutoscaler` of Kubernetes.
    Horizontal,
    /// `ScaledObject` of KEDA, which makes a `HorizontalPodAutoscaler` of its own.
    Keda,
}

impl AutoscalerKind {
    /// Both. A ScaledObject comes after the HorizontalPodAutoscaler that it makes, and replaces it as the owner.
    pub(crate) const ALL: [Self; 2] = [Self::Horizontal, Self::Keda];

    /// `kind`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Horizontal => "HorizontalPodAutoscaler",
            Self::Keda => "ScaledObject",
        }
    }

    /// The resource to list.
    pub(crate) fn resource(self) -> ApiResource {
        let (group, version) = match self {
            Self::Horizontal => ("autoscaling", "v2"),
            Self::Keda => ("keda.sh", "v1alpha1"),
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, self.name()))
    }
}

/// The owner of a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CountOwner {
    /// An autoscaler that is aimed at the workload.
    Autoscaler(AutoscalerKind, String),
    /// The field manager that last wrote the count.
    FieldManager(String),
}

/// A workload: its kind, namespace and name.
pub(crate) type WorkloadName = (Workload, String, String);

/// The owners of the counts that are known.
#[derive(Debug, Default)]
pub(crate) struct CountOwners {
    owners: HashMap<WorkloadName, CountOwner>,
}

impl CountOwners {
    /// The owner of a workload's count.
    pub(crate) fn get(&self, workload: Workload, namespace: &str, name: &str) -> Option<&CountOwner> {
        self.owners.get(&(workload, namespace.to_owned(), name.to_owned()))
    }

    /// Adds an autoscaler. One that is aimed at something else than a Deployment or StatefulSet is ignored.
    pub(crate) fn add_autoscaler(&mut self, kind: AutoscalerKind, object: &DynamicObject) {
        let target = &object.data["spec"]["scaleTargetRef"];
        let text = |field: &str, default| target[field].as_str().unwrap_or(default);
        // KEDA takes a target without a version or a kind for a Deployment.
        let (api_version, target_kind) = (text("apiVersion", "apps/v1"), text("kind", "Deployment"));
        let (group, _) = api_version.split_once('/').unwrap_or_default();
        let Some(workload) = Workload::from_kind(group, target_kind) else { return };
        let (Some(namespace), Some(name)) = (&object.metadata.namespace, &object.metadata.name) else { return };
        let owner = CountOwner::Autoscaler(kind, name.clone());
        self.owners.insert((workload, namespace.clone(), text("name", "").to_owned()), owner);
    }

    /// Adds the field manager that last wrote the count of a workload, unless an autoscaler is aimed at it.
    pub(crate) fn add_field_manager(&mut self, workload: WorkloadName, metadata: &ObjectMeta) {
        if let Some(manager) = last_writer(metadata) {
            self.owners.entry(workload).or_insert(CountOwner::FieldManager(manager));
        }
    }
}

/// The field manager that last wrote `spec.replicas`, as `metadata.managedFields` tells.
fn last_writer(metadata: &ObjectMeta) -> Option<String> {
    let owns_count = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map_or(&Value::Null, |fields| &fields.0);
        !fields["f:spec"]["f:replicas"].is_null()
    };
    let entries = metadata.managed_fields.iter().flatten().filter(owns_count);
    entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?.manager.clone()
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;
    use mcp_scaling_rules::Workload;
    use serde_json::{Value, json};

    use super::{AutoscalerKind, CountOwner, CountOwners};

    fn autoscaler(name: &str, target: Value) -> DynamicObject {
        let object = json!({"metadata": {"namespace": "default", "name": name}, "spec": {"scaleTargetRef": target}});
        serde_json::from_value(object).expect("is read")
    }

    #[test]
    fn finds_the_workload_that_an_autoscaler_is_aimed_at() {
        use AutoscalerKind::{Horizontal, Keda};
        for (kind, target, workload) in [
            (
                Horizontal,
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "github"}),
                Some(Workload::Deployment),
            ),
            (
                Horizontal,
                json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "github"}),
                Some(Workload::StatefulSet),
            ),
            (Keda, json!({"name": "github"}), Some(Workload::Deployment)),
            (Keda, json!({"kind": "StatefulSet", "name": "github"}), Some(Workload::StatefulSet)),
            (
                Horizontal,
                json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPServer", "name": "github"}),
                None,
            ),
            (Horizontal, json!("malformed"), None),
        ] {
            let mut owners = CountOwners::default();
            owners.add_autoscaler(kind, &autoscaler("scaler", target.clone()));
            for one in Workload::ALL {
                let expected = (Some(one) == workload).then(|| CountOwner::Autoscaler(kind, "scaler".to_owned()));
                assert_eq!(owners.get(one, "default", "github"), expected.as_ref(), "{target} {one:?}");
            }
            assert_eq!(owners.get(Workload::Deployment, "other", "github"), None);
        }
    }

    #[test]
    fn names_the_scaled_object_and_not_the_autoscaler_that_keda_made_for_it() {
        let mut owners = CountOwners::default();
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "github"});
        owners.add_autoscaler(AutoscalerKind::Horizontal, &autoscaler("keda-hpa-github", target.clone()));
        owners.add_autoscaler(AutoscalerKind::Keda, &autoscaler("github", target));
        let expected = CountOwner::Autoscaler(AutoscalerKind::Keda, "github".to_owned());
        assert_eq!(owners.get(Workload::Deployment, "default", "github"), Some(&expected));
    }

    #[test]
    fn finds_the_field_manager_that_last_wrote_the_count() {
        let entry = |manager: &str, time: &str, fields: Value| json!({"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields});
        let count = json!({"f:spec": {"f:replicas": {}}});
        let fields = json!([
            entry("thv-operator", "2026-11-20T10:00:00Z", count.clone()),
            entry("kubectl-edit", "2026-11-20T12:00:00Z", count),
            entry("kube-controller-manager", "2026-11-20T13:00:00Z", json!({"f:status": {"f:replicas": {}}})),
        ]);
        let metadata = serde_json::from_value(json!({"managedFields": fields})).expect("is read");
        let github = || (Workload::Deployment, "default".to_owned(), "github".to_owned());
        let mut owners = CountOwners::default();
        owners.add_field_manager(github(), &metadata);
        let expected = CountOwner::FieldManager("kubectl-edit".to_owned());
        assert_eq!(owners.get(Workload::Deployment, "default", "github"), Some(&expected));

        owners.add_field_manager(github(), &Default::default());
        assert_eq!(owners.get(Workload::Deployment, "default", "github"), Some(&expected));
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "github"});
        let mut owners = CountOwners::default();
        owners.add_autoscaler(AutoscalerKind::Horizontal, &autoscaler("scaler", target));
        owners.add_field_manager(github(), &metadata);
        let autoscaler = CountOwner::Autoscaler(AutoscalerKind::Horizontal, "scaler".to_owned());
        assert_eq!(owners.get(Workload::Deployment, "default", "github"), Some(&autoscaler));
    }
}
