//! What an autoscaler scales, how far, and what people know it as.

use crate::autoscaling::{AutoscalerKind, KEDA_DEFAULT_MAXIMUM};
use crate::field::{Field, Malformed};
use crate::kind::{EMBEDDING_SERVER, GROUP, ServerKind};
use crate::workload::Workload;

/// The kind of object that an autoscaler scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A Deployment or StatefulSet, which may be ToolHive's.
    Workload(Workload),
    /// A custom resource of ToolHive's.
    CustomResource(ServerKind),
    /// An `EmbeddingServer`.
    EmbeddingServer,
    /// Something that ToolHive has nothing to do with.
    Other,
}

impl Target {
    /// Reads `apiVersion` and `kind` of a target. KEDA takes a target without them for a Deployment.
    ///
    /// # Errors
    /// [`Malformed`] if a field is malformed, or if a HorizontalPodAutoscaler lacks one.
    pub fn read(autoscaler: AutoscalerKind, api_version: Field<&str>, kind: Field<&str>) -> Result<Self, Malformed> {
        let or_default = |text: Field<_>, default| match (text.optional()?, autoscaler) {
            (Some(text), _) => Ok(text),
            (None, AutoscalerKind::ScaledObject) => Ok(default),
            (None, AutoscalerKind::HorizontalPodAutoscaler) => Err(Malformed),
        };
        let api_version = or_default(api_version, "apps/v1")?;
        let kind = or_default(kind, "Deployment")?;
        let (group, _) = api_version.split_once('/').unwrap_or_default();
        Ok(if let Some(workload) = Workload::from_kind(group, kind) {
            Self::Workload(workload)
        } else if let Some(kind) = ServerKind::from_kind(group, kind) {
            Self::CustomResource(kind)
        } else if group == GROUP && kind == EMBEDDING_SERVER {
            Self::EmbeddingServer
        } else {
            Self::Other
        })
    }
}

/// The most replicas that an autoscaler may request: `spec.maxReplicas`, or `spec.maxReplicaCount` of a ScaledObject.
///
/// # Errors
/// [`Malformed`] if the field is malformed, or if a HorizontalPodAutoscaler lacks it.
pub fn maximum(autoscaler: AutoscalerKind, field: Field<u32>) -> Result<u32, Malformed> {
    match (field.optional()?, autoscaler) {
        (Some(maximum), _) => Ok(maximum),
        (None, AutoscalerKind::ScaledObject) => Ok(KEDA_DEFAULT_MAXIMUM),
        (None, AutoscalerKind::HorizontalPodAutoscaler) => Err(Malformed),
    }
}

/// What people know a HorizontalPodAutoscaler of this name as: if KEDA made it for a ScaledObject, which is one of its `owners`
/// by kind and name, then by that.
pub fn known_as<N>(owners: impl IntoIterator<Item = (N, N)>, name: N) -> (AutoscalerKind, N)
where
    N: AsRef<str>,
{
    let kind = AutoscalerKind::ScaledObject;
    let scaled_object = owners.into_iter().find(|(owner_kind, _)| owner_kind.as_ref() == kind.name());
    scaled_object.map_or((AutoscalerKind::HorizontalPodAutoscaler, name), |(_, name)| (kind, name))
}
