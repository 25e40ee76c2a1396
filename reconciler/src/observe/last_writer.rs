//! Who last wrote the count of a workload. Only `check` asks for it.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use crate::client::FIELD_MANAGER;

/// Who last wrote `spec.replicas`, as far as `metadata.managedFields` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LastWriter {
    /// This field manager.
    Manager(String),
    /// The reconciler's own field manager. A mutating webhook that changes the reconciler's write changes it in the name of the
    /// reconciler, so that the writer of a wrong count is not known.
    Reconciler,
    /// No field manager has the field. After an apply of ToolHive's, which leaves the count out, a writer through the scale
    /// subresource gets no entry for it.
    Unnamed,
}

impl LastWriter {
    /// Reads it from the metadata of a workload.
    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        let owns_count = |entry: &&ManagedFieldsEntry| {
            let fields = entry.fields_v1.as_ref().map_or(&Value::Null, |fields| &fields.0);
            !fields["f:spec"]["f:replicas"].is_null()
        };
        let entries = metadata.managed_fields.iter().flatten().filter(owns_count);
        let last = entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
        match last.and_then(|entry| entry.manager.as_deref()) {
            Some(FIELD_MANAGER) => Self::Reconciler,
            Some(manager) => Self::Manager(manager.to_owned()),
            None => Self::Unnamed,
        }
    }
}

impl fmt::Display for LastWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manager(manager) => write!(f, "set by field manager {manager}"),
            Self::Reconciler => f.write_str("last written by this reconciler, whose write a webhook may have changed"),
            Self::Unnamed => f.write_str("set by a writer that managedFields does not name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::LastWriter;

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
        assert_eq!(LastWriter::of(&metadata), LastWriter::Manager("kubectl-edit".to_owned()));
        assert_eq!(LastWriter::of(&Default::default()), LastWriter::Unnamed);
        let ours = json!([entry(
            "mcpserver-scaling-reconciler",
            "2026-11-20T10:00:00Z",
            json!({"f:spec": {"f:replicas": {}}})
        )]);
        let metadata = serde_json::from_value(json!({"managedFields": ours})).expect("is read");
        assert_eq!(LastWriter::of(&metadata), LastWriter::Reconciler);
    }
}
