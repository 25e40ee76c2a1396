//! What a reset is, and what is done about one.
//!
//! An operator before ToolHive v0.10.1 sets the count of a Deployment back to 1 before it looks at anything else, and tries
//! again as long as another count is there. Only at 1 does it go on and write the whole spec, with a new image, say. An
//! operator whose resets are always undone therefore never rolls out anything.
//!
//! The annotation [`crate::facts::annotations::ROLLED_OUT`] on the Deployment says what the operator last rolled out. As long as that
//! is current, a reset is undone. Once it is not, one reset is let through, and the count that it takes away is recorded in the
//! annotation until the operator's next write, which restores it.

use crate::facts::kind::{ServerKind, V1ALPHA1};
use crate::facts::transport::{Transport, exceeds_stdio_cap};
use crate::reading::owner::Owner;
use crate::reading::rolled_out::RolledOut;

/// The count that operators reset to.
const RESET_TO: u32 = 1;

/// Returns whether writes of this owner's operator can be those of a release that resets counts. Those have only `v1alpha1`.
pub fn may_reset(owner: &Owner<'_>) -> bool {
    owner.kind == ServerKind::McpServer && owner.api_version.as_deref() == Some(V1ALPHA1)
}

/// The count that a reset took away from a Deployment, if it is still to be restored: with any other count than the one of the
/// reset, somebody has scaled the Deployment since.
pub fn count_taken_away(before_reset: Option<u32>, count: u32) -> Option<u32> {
    before_reset.filter(|_| count == RESET_TO)
}

/// Returns whether a write of such an operator is judged by [`decide`]: if the spec declares no count and the cap does not lower the
/// old one, or if the annotation still records a count to restore, which is outdated then. Otherwise the old count is preserved unless
/// another rule applies.
pub fn concerns(transport: Transport, declared: Option<u32>, old: u32, recorded: Option<&RolledOut>) -> bool {
    let is_restoring = recorded.is_some_and(|recorded| recorded.replicas_before_reset.is_some());
    declared.is_none() && (is_restoring || !exceeds_stdio_cap(transport, old))
}

/// What an operator's write of a Deployment is, as far as resets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorWrite {
    /// It sets the count to 1 and changes nothing else of the spec.
    Reset,
    /// It changes nothing of the spec. Operators before v0.10.1 send such writes again and again, later ones never do.
    Nothing,
    /// Any other write: it changes something else of the spec, or sets another count than 1.
    Rollout,
}

impl OperatorWrite {
    /// Tells by the counts, and by whether the rest of the spec stays.
    pub fn of(requested: u32, old: u32, leaves_rest: bool) -> Self {
        if leaves_rest && requested == old {
            Self::Nothing
        } else if leaves_rest && requested == RESET_TO {
            Self::Reset
        } else {
            Self::Rollout
        }
    }
}

/// What is done about an operator's write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetDecision {
    /// The count to preserve instead of the one that the operator writes.
    pub preserved: Option<u32>,
    /// What the annotation should say, if anything.
    pub annotation: Option<RolledOut>,
    /// Says whether a reset is let through.
    pub lets_reset_through: bool,
}

/// Decides about an operator's write to a Deployment that has `old` replicas and no declared count. `recorded` is what its
/// annotation says, and `state` is what the operator would roll out now, of a server of this generation.
pub fn decide(
    write: OperatorWrite,
    recorded: Option<&RolledOut>,
    state: String,
    generation: i64,
    old: u32,
) -> ResetDecision {
    let current = RolledOut { state, replicas_before_reset: None };
    let is_current = match recorded {
        Some(recorded) => *recorded == current,
        // Nothing was changed since the operator made the Deployment.
        None => generation == 1,
    };
    let taken_away = recorded.and_then(|recorded| count_taken_away(recorded.replicas_before_reset, old));
    let (preserved, annotation) = match (write, recorded) {
        (OperatorWrite::Reset, _) if is_current => (Some(old), Some(current)),
        (OperatorWrite::Reset, _) => (None, Some(RolledOut { replicas_before_reset: Some(old), ..current })),
        (OperatorWrite::Nothing, _) | (OperatorWrite::Rollout, Some(_)) => (taken_away.or(Some(old)), Some(current)),
        (OperatorWrite::Rollout, None) => (Some(old), None),
    };
    ResetDecision { preserved, annotation, lets_reset_through: preserved.is_none() }
}
