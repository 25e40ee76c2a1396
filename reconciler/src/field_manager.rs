//! The field manager that last wrote the count of a workload. Only `check` asks for it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

/// The field manager that last wrote `spec.replicas`, as `metadata.managedFields` tells.
pub(crate) fn last_writer(metadata: &ObjectMeta) -> Option<String> {
    let owns_count = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map_or(&Value::Null, |fields| &fields.0);
        !fields["f:spec"]["f:replicas"].is_null()
    };
    let entries = metadata.managed_fields.iter().flatten().filter(owns_count);
    entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?.manager.clone()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::last_writer;

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
        assert_eq!(last_writer(&metadata), Some("kubectl-edit".to_owned()));
        assert_eq!(last_writer(&Default::default()), None);
    }
}
