//! The kinds of autoscaler.

use crate::named::named;

/// The maximum that KEDA gives a ScaledObject without `maxReplicaCount`.
pub const KEDA_DEFAULT_MAXIMUM: u32 = 100;

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
