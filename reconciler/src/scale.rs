//! Corrects the replicas of a workload through its scale subresource.

use kube::api::Patch;
use kube::{Api, Client};
use mcp_scaling_rules::field::replica_count;
use mcp_scaling_rules::{Scaling, Workload};

use crate::client::patch_params;
use crate::error::ReconcileError;
use crate::plan::{Circumstances, correction};
use crate::server::Server;
use crate::workload::WorkloadObject;

/// A change of a workload's replicas, decided from its Scale as it was just read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScaleChange {
    /// The workload.
    pub(crate) workload: Workload,
    /// The replicas that it has.
    pub(crate) from: u32,
    /// The replicas to set.
    pub(crate) to: u32,
    /// `metadata.resourceVersion` of the Scale, which guards the write.
    pub(crate) resource_version: Option<String>,
}

/// Reads a workload's Scale. `None` where the workload is gone or needs no correction any more. `circumstances` are
/// those that the plan was made of.
///
/// # Errors
/// [`ReconcileError::Call`] where the Scale cannot be read.
pub(crate) async fn read_change(
    client: &Client,
    server: &Server,
    scaling: &Scaling,
    workload: Workload,
    circumstances: Circumstances,
) -> Result<Option<ScaleChange>, ReconcileError> {
    let scale = match api(client, server, workload).get_scale(server.name()).await {
        Ok(scale) => scale,
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
        Err(source) => return Err(ReconcileError::Call { action: "read the scale of a workload", source }),
    };
    // The API server leaves a count of 0 out of a Scale.
    let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or_default();
    let Some(from) = replica_count(replicas.into()) else { return Ok(None) };
    let resource_version = scale.metadata.resource_version;
    let to = correction(workload, scaling, circumstances.with_live(workload, from));
    Ok(to.map(|to| ScaleChange { workload, from, to, resource_version }))
}

/// Writes a change, unless the workload has changed since it was read.
///
/// # Errors
/// [`ReconcileError::Call`] where the Scale cannot be written; a conflict where the workload has changed.
pub(crate) async fn write_change(client: &Client, server: &Server, change: &ScaleChange) -> Result<(), ReconcileError> {
    let patch = serde_json::json!({
        "metadata": {"resourceVersion": change.resource_version},
        "spec": {"replicas": change.to},
    });
    let workloads = api(client, server, change.workload);
    let patched = workloads.patch_scale(server.name(), &patch_params(), &Patch::Merge(patch)).await;
    patched.map_err(|source| ReconcileError::Call { action: "scale a workload", source })?;
    Ok(())
}

fn api(client: &Client, server: &Server, workload: Workload) -> Api<WorkloadObject> {
    Api::namespaced_with(client.clone(), server.namespace(), &workload)
}
