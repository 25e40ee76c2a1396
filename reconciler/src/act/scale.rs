//! Writes the replicas of a workload through its scale subresource, and preserves a count in an annotation of its StatefulSet.

use k8s_openapi::api::autoscaling::v1::Scale;
use kube::api::Patch;
use kube::{Api, Client};
use mcp_scaling_rules::field::replica_count;
use mcp_scaling_rules::{Workload, annotations};

use crate::client::patch_params;
use crate::decide::events::ScaleChange;
use crate::decide::machine::CurrentScale;
use crate::error::ReconcileError;
use crate::observe::server::Server;
use crate::observe::workload::WorkloadObject;

/// Reads a workload's Scale. `None` if the workload is gone.
///
/// # Errors
/// [`ReconcileError::Call`] if the Scale cannot be read.
pub(crate) async fn read_scale(
    client: &Client,
    server: &Server,
    workload: Workload,
) -> Result<Option<CurrentScale>, ReconcileError> {
    let scale = match api(client, server, workload).get_scale(server.name()).await {
        Ok(scale) => scale,
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
        Err(source) => return Err(ReconcileError::Call { action: "read the scale of a workload", source }),
    };
    let resource_version = scale.metadata.resource_version.clone();
    let replicas = replica_count(stored_count(scale).into());
    Ok(replicas.map(|replicas| CurrentScale { replicas, resource_version }))
}

/// The count in a Scale. The API server leaves out a count of 0.
fn stored_count(scale: Scale) -> i32 {
    scale.spec.and_then(|spec| spec.replicas).unwrap_or_default()
}

/// Writes a change, unless the workload has changed since it was read. Returns the count that the API server stored, which is
/// another one if a mutating webhook changed the write on its way.
///
/// # Errors
/// [`ReconcileError::Call`] if the Scale cannot be written; a conflict if the workload has changed.
pub(crate) async fn write_change(
    client: &Client,
    server: &Server,
    change: &ScaleChange,
) -> Result<i32, ReconcileError> {
    let patch = serde_json::json!({
        "metadata": {"resourceVersion": change.resource_version},
        "spec": {"replicas": change.to},
    });
    let workloads = api(client, server, change.workload);
    let patched = workloads.patch_scale(server.name(), &patch_params(), &Patch::Merge(patch)).await;
    let scale = patched.map_err(|source| ReconcileError::Call { action: "scale a workload", source })?;
    Ok(stored_count(scale))
}

/// Reads the StatefulSet of a server. `None` if there is none.
///
/// # Errors
/// [`ReconcileError::Call`] if it cannot be read.
pub(crate) async fn read_statefulset(
    client: &Client,
    server: &Server,
) -> Result<Option<WorkloadObject>, ReconcileError> {
    let statefulset = api(client, server, Workload::StatefulSet).get_opt(server.name()).await;
    statefulset.map_err(|source| ReconcileError::Call { action: "read the StatefulSet", source })
}

/// Preserves a count in the annotation of a StatefulSet, or removes it, unless the StatefulSet has changed since it was read.
///
/// # Errors
/// [`ReconcileError::Call`] if the StatefulSet cannot be written; a conflict if it has changed.
pub(crate) async fn write_preserved_count(
    client: &Client,
    server: &Server,
    count: Option<u32>,
    resource_version: Option<String>,
) -> Result<(), ReconcileError> {
    let annotation = count.map(|count| count.to_string());
    let patch = serde_json::json!({"metadata": {
        "resourceVersion": resource_version,
        "annotations": {annotations::REPLICAS_BEFORE_ZERO: annotation},
    }});
    let statefulsets = api(client, server, Workload::StatefulSet);
    let patched = statefulsets.patch_metadata(server.name(), &patch_params(), &Patch::Merge(patch)).await;
    patched.map_err(|source| ReconcileError::Call { action: "annotate the StatefulSet", source })?;
    Ok(())
}

fn api(client: &Client, server: &Server, workload: Workload) -> Api<WorkloadObject> {
    Api::namespaced_with(client.clone(), server.namespace(), &workload)
}
