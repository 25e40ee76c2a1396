//! The kinds of autoscaler.

use crate::named::named;

/// The maximum that KEDA gives a ScaledObject without `maxReplicaCount`.
pub const KEDA_DEFAULT_MAXIMUM: u32 = 100;

/// The minimum that KEDA gives a ScaledObject without `minReplicaCount`.
pub const KEDA_DEFAULT_MINIMUM: u32 = 0;

/// The minimum that Kubernetes gives a HorizontalPodAutoscaler without `minReplicas`.
pub const HPA_DEFAULT_MINIMUM: u32 = 1;

/// KEDA's annotation on a ScaledObject with the count that it scales to, whatever the minimum and the maximum are. It scales to
/// nothing else until the annotation is removed, whatever [`PAUSED`] says.
pub const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";

/// KEDA's annotation on a ScaledObject that stops it from scaling at all, unless it is false.
pub const PAUSED: &str = "autoscaling.keda.sh/paused";

/// The types of trigger that KEDA leaves to its HorizontalPodAutoscaler. They are never inactive, so that a ScaledObject with no
/// others keeps at least one replica.
///
/// Source: KEDA's documents of the scalers "cpu" and "memory".
pub const ALWAYS_ACTIVE_TRIGGERS: [&str; 2] = ["cpu", "memory"];

/// The values of `spec.fallback.behavior` with which KEDA keeps the present count while triggers fail, or goes below it.
///
/// Source: KEDA's documents of the ScaledObject, from 2.17 on; older releases have no behavior.
pub const NEVER_RAISING_FALLBACKS: [&str; 2] = ["currentReplicas", "currentReplicasIfLower"];

named! {
    /// A kind of autoscaler.
    #[derive(PartialOrd, Ord)]
    pub enum AutoscalerKind {
        /// `HorizontalPodAutoscaler`, `autoscaling/v1` or `v2`.
        HorizontalPodAutoscaler,
        /// KEDA's `ScaledObject`, `keda.sh/v1alpha1`. KEDA makes a HorizontalPodAutoscaler for each.
        ScaledObject,
    }
}

impl AutoscalerKind {
    /// The autoscaler of this `kind` in this API group.
    pub fn from_kind(group: &str, kind: &str) -> Option<Self> {
        Self::from_name(kind).filter(|kind| kind.group() == group)
    }

    /// The API group of the kind.
    pub fn group(self) -> &'static str {
        match self {
            Self::HorizontalPodAutoscaler => "autoscaling",
            Self::ScaledObject => "keda.sh",
        }
    }
}

/// The field of a ScaledObject with the count while no trigger is active.
pub const IDLE_REPLICA_COUNT: &str = "idleReplicaCount";
