//! What an autoscaler scales, how far, and what people know it as.

use crate::facts::autoscaling::{
    AutoscalerKind, HPA_DEFAULT_MINIMUM, IDLE_REPLICA_COUNT, KEDA_DEFAULT_MAXIMUM, KEDA_DEFAULT_MINIMUM,
    NEVER_RAISING_FALLBACKS, PAUSED_REPLICAS,
};
use crate::facts::kind::{EMBEDDING_SERVER, GROUP, ServerKind};
use crate::facts::workload::Workload;
use crate::reading::field::{Field, Malformed, replica_count};

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
        // KEDA, which is written in Go, does not tell an empty text from an absent one.
        let or_default = |text: Field<_>, default| match (text.optional()?, autoscaler) {
            (Some(""), AutoscalerKind::ScaledObject) => Ok(default),
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

/// The counts that an autoscaler may request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The fewest replicas, and what says so.
    pub minimum: Minimum,
    /// The most replicas.
    pub maximum: u32,
}

/// The fewest replicas that an autoscaler may request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minimum {
    /// The count.
    pub count: u32,
    /// The name of the field or the annotation that decides, also if its default does.
    pub decided_by: &'static str,
}

/// What decides about the range, as it came. Each kind of autoscaler has only some of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawRange<'a> {
    /// `spec.minReplicas`, or `spec.minReplicaCount` of a ScaledObject.
    pub minimum: Field<u32>,
    /// `spec.idleReplicaCount` of a ScaledObject.
    pub idle: Field<u32>,
    /// `spec.maxReplicas`, or `spec.maxReplicaCount` of a ScaledObject.
    pub maximum: Field<u32>,
    /// `spec.fallback.replicas` of a ScaledObject: the count that KEDA sets while its triggers fail, whatever the maximum, unless the
    /// behavior or the types of its triggers exclude it.
    pub fallback: Field<u32>,
    /// `spec.fallback.behavior` of a ScaledObject.
    pub fallback_behavior: Option<&'a str>,
    /// Says whether a ScaledObject has triggers, and none of them is ever inactive.
    pub is_always_active: bool,
    /// The annotation [`PAUSED_REPLICAS`] of a ScaledObject.
    pub paused_replicas: Option<&'a str>,
    /// The annotation [`crate::facts::autoscaling::PAUSED`] of a ScaledObject.
    pub paused: Option<&'a str>,
}

/// What an autoscaler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// It scales within this range.
    Within(Range),
    /// Nothing, as long as KEDA's annotation [`crate::facts::autoscaling::PAUSED`] is there.
    Nothing,
    /// Nothing, because KEDA cannot read its annotation [`PAUSED_REPLICAS`].
    Unreadable,
}

impl Scales {
    /// Reads what an autoscaler does.
    ///
    /// # Errors
    /// [`Malformed`] if a field is malformed, or if a HorizontalPodAutoscaler lacks its maximum.
    pub fn read(autoscaler: AutoscalerKind, raw: RawRange<'_>) -> Result<Self, Malformed> {
        let within = |minimum, maximum| Self::Within(Range { minimum, maximum });
        let (minimum, maximum) = (raw.minimum.optional()?, raw.maximum.optional()?);
        if autoscaler == AutoscalerKind::HorizontalPodAutoscaler {
            let count = minimum.unwrap_or(HPA_DEFAULT_MINIMUM);
            return Ok(within(Minimum { count, decided_by: "minReplicas" }, maximum.ok_or(Malformed)?));
        }
        let (idle, fallback) = (raw.idle.optional()?, raw.fallback.optional()?);
        if let Some(text) = raw.paused_replicas {
            let count = text.parse().ok().and_then(replica_count);
            return Ok(match count {
                Some(count) => within(Minimum { count, decided_by: PAUSED_REPLICAS }, count),
                None => Self::Unreadable,
            });
        }
        if raw.paused.is_some_and(|text| !is_false(text)) {
            return Ok(Self::Nothing);
        }
        let (count, decided_by) = match idle {
            Some(idle) => (idle, IDLE_REPLICA_COUNT),
            None => (minimum.unwrap_or(KEDA_DEFAULT_MINIMUM), "minReplicaCount"),
        };
        let count = if raw.is_always_active { count.max(1) } else { count };
        let raises = raw.fallback_behavior.is_none_or(|behavior| !NEVER_RAISING_FALLBACKS.contains(&behavior));
        // KEDA has no fallback for triggers of these types.
        let fallback = fallback.filter(|_| raises && !raw.is_always_active);
        let maximum = maximum.unwrap_or(KEDA_DEFAULT_MAXIMUM).max(fallback.unwrap_or_default());
        Ok(within(Minimum { count, decided_by }, maximum))
    }
}

/// Returns whether KEDA, which is written in Go, reads this text as false. It takes what is no boolean for true.
fn is_false(text: &str) -> bool {
    matches!(text, "0" | "f" | "F" | "false" | "FALSE" | "False")
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
