//! Lets operators before ToolHive v0.10.1 roll out a change although their resets of the count are undone.
//!
//! Such an operator sets the count of a Deployment back to 1 before it looks at anything else, and tries again as long as
//! another count is there. Only at 1 does it go on and write the whole spec, with a new image, say. An operator whose resets
//! are always undone therefore never rolls out anything.
//!
//! The annotation [`mcp_scaling_rules::labels::ROLLED_OUT`] on the Deployment says what the operator last rolled out: the server's generation,
//! the configuration that the server refers to, and the pod of the operator, since a new release of it rolls out a new proxy.
//! As long as that is current, a reset is undone. Once it is not, one reset is let through, and the count that it takes away
//! is kept in the annotation until the operator's next write, which gets it back.

use mcp_scaling_rules::{Owner, RolledOut, ServerKind, labels};
use serde_json::Value;

use crate::edit;
use crate::lookup::Found;
use crate::request::{Object, Request};

/// The count that operators reset to.
const RESET_TO: u32 = 1;

/// The API version of ToolHive's operators that reset counts.
const API_VERSION: &str = "toolhive.stacklok.dev/v1alpha1";

/// The annotation of the old or of the new object.
fn rolled_out(object: Option<&Object>) -> Option<RolledOut> {
    object?.annotation(labels::ROLLED_OUT).map(RolledOut::parse)
}

/// What an operator's write of a Deployment is, as far as resets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperatorWrite {
    /// It sets the count to 1 and changes nothing else of the spec.
    Reset,
    /// It changes nothing of the spec. Operators before v0.10.1 send such writes again and again, later ones never do.
    Nothing,
    /// It changes something else of the spec, and perhaps the count too.
    Rollout,
}

impl OperatorWrite {
    /// Tells by both specs.
    pub(crate) fn of(request: &Request<'_>, requested: u32, old: u32) -> Option<Self> {
        let (mut new_spec, old_spec) = specs(request)?;
        if new_spec == old_spec {
            return Some(Self::Nothing);
        }
        edit::apply(&mut new_spec, &["replicas"], Some(old.into()))?;
        let is_reset = requested == RESET_TO && old != RESET_TO && new_spec == old_spec;
        Some(if is_reset { Self::Reset } else { Self::Rollout })
    }
}

/// The new and the old spec.
fn specs(request: &Request<'_>) -> Option<(Value, Value)> {
    let spec = |mut object: Value| object.get_mut("spec").map(Value::take);
    Some((spec(request.object_value()?)?, spec(request.old_object_value()?)?))
}

/// What to do about an operator's write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The count to keep instead of the one that the operator writes.
    pub(crate) preserved: Option<u32>,
    /// The annotation to write, if any.
    pub(crate) annotation: Option<RolledOut>,
    /// Whether a reset is let through.
    pub(crate) lets_reset_through: bool,
}

/// Whether writes of this owner's operator can be those of a release that resets counts.
pub(crate) fn may_reset(owner: &Owner<'_>) -> bool {
    owner.kind == ServerKind::McpServer && owner.api_version.as_deref() == Some(API_VERSION)
}

/// Whether a write of such an operator that leaves the count as it is has to be looked at: it may get a count back, or tell
/// what was rolled out.
pub(crate) fn concerns_unchanged_count(request: &Request<'_>) -> bool {
    rolled_out(request.old_object()).is_some()
        || specs(request).is_some_and(|(new_spec, old_spec)| new_spec == old_spec)
}

/// Whether the Deployment is still to get back a count that a reset took away.
pub(crate) fn is_count_owed(request: &Request<'_>) -> bool {
    rolled_out(request.old_object()).is_some_and(|recorded| recorded.replicas_before_reset.is_some())
}

/// Decides about an operator's write that changes the count from `old` to `requested`, or leaves it. `server` declares no
/// count for the Deployment. `None` where the server has no generation, so that nothing can be said of what is pending.
pub(crate) fn decide(request: &Request<'_>, server: &Found, requested: u32, old: u32) -> Option<Decision> {
    let generation = server.generation?;
    let write = OperatorWrite::of(request, requested, old)?;
    let state = state(request, server, generation);
    // The old object has what the API server stored; some releases write the new one without annotations that they do not know.
    let recorded = rolled_out(request.old_object());
    let mut decision = decide_write(write, recorded, state, generation == 1, old);
    // Nothing is to be written where the annotation stays, or where the same request is evaluated again.
    let present = rolled_out(request.object());
    decision.annotation = decision.annotation.filter(|annotation| present.as_ref() != Some(annotation));
    Some(decision)
}

fn decide_write(
    write: OperatorWrite,
    recorded: Option<RolledOut>,
    state: String,
    is_first_generation: bool,
    old: u32,
) -> Decision {
    let current = RolledOut { state, replicas_before_reset: None };
    let is_current = match &recorded {
        Some(recorded) => *recorded == current,
        // Nothing was changed since the operator made the Deployment.
        None => is_first_generation,
    };
    let (preserved, record) = match (write, &recorded) {
        (OperatorWrite::Reset, _) if is_current => (Some(old), current),
        (OperatorWrite::Reset, _) => (None, RolledOut { replicas_before_reset: Some(old), ..current }),
        // With any other count than the one of the reset, somebody has scaled the Deployment since.
        (_, Some(RolledOut { replicas_before_reset: Some(replicas), .. })) if old == RESET_TO => {
            (Some(*replicas), current)
        }
        (OperatorWrite::Nothing, _) | (OperatorWrite::Rollout, Some(_)) => (Some(old), current),
        (OperatorWrite::Rollout, None) => {
            return Decision { preserved: Some(old), annotation: None, lets_reset_through: false };
        }
    };
    let lets_reset_through = record.replicas_before_reset.is_some();
    Decision { preserved, annotation: Some(record), lets_reset_through }
}

/// What the operator would roll out now.
fn state(request: &Request<'_>, server: &Found, generation: i64) -> String {
    let mut state = format!("generation={generation}");
    for (name, value) in [
        ("tool-config", server.tool_config_hash.as_deref()),
        ("external-auth-config", server.external_auth_config_hash.as_deref()),
        ("operator", operator_pod(request)),
    ] {
        if let Some(value) = value {
            state.push_str(&format!(" {name}={value}"));
        }
    }
    state
}

/// The UID of the pod that the operator runs in, which the API server knows where the token is bound to it.
fn operator_pod<'r>(request: &'r Request<'_>) -> Option<&'r str> {
    request.user_info.get()?.extra.get()?.get("authentication.kubernetes.io/pod-uid")?.get(0)?.as_str()
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::RolledOut;

    use super::{Decision, OperatorWrite, decide_write};

    fn decide(write: OperatorWrite, recorded: Option<&str>, now: &str, generation: i64) -> Decision {
        decide_with(3, write, recorded, now, generation)
    }

    fn decide_with(old: u32, write: OperatorWrite, recorded: Option<&str>, now: &str, generation: i64) -> Decision {
        decide_write(write, recorded.map(RolledOut::parse), now.to_owned(), generation == 1, old)
    }

    fn decision(preserved: Option<u32>, annotation: Option<&str>, lets_reset_through: bool) -> Decision {
        Decision { preserved, annotation: annotation.map(RolledOut::parse), lets_reset_through }
    }

    #[test]
    fn undoes_a_reset_while_nothing_is_pending() {
        let now = "generation=2";
        assert_eq!(decide(OperatorWrite::Reset, Some(now), now, 2), decision(Some(3), Some(now), false));
        let first = "generation=1";
        assert_eq!(decide(OperatorWrite::Reset, None, first, 1), decision(Some(3), Some(first), false));
    }

    #[test]
    fn lets_one_reset_through_while_something_is_pending() {
        let now = "generation=2 operator=b";
        let pending = "generation=2 operator=b replicas=3";
        for recorded in [None, Some("generation=1"), Some("generation=2 operator=a"), Some("generation=1 replicas=5")] {
            let expected = decision(None, Some(pending), true);
            assert_eq!(decide(OperatorWrite::Reset, recorded, now, 2), expected, "{recorded:?}");
        }
        assert_eq!(
            decide(OperatorWrite::Reset, Some(pending), now, 2),
            decision(None, Some(pending), true),
            "it crashed"
        );
    }

    #[test]
    fn gives_the_count_back_with_the_next_write() {
        let now = "generation=2";
        for write in [OperatorWrite::Rollout, OperatorWrite::Nothing] {
            for (old, count) in [(1, 5), (0, 0), (2, 2)] {
                let expected = decision(Some(count), Some(now), false);
                assert_eq!(decide_with(old, write, Some("generation=2 replicas=5"), now, 2), expected, "{old}");
            }
        }
    }

    #[test]
    fn records_what_is_rolled_out_only_where_an_operator_resets() {
        let now = "generation=2";
        assert_eq!(decide(OperatorWrite::Nothing, None, now, 2), decision(Some(3), Some(now), false));
        assert_eq!(decide(OperatorWrite::Rollout, Some("generation=1"), now, 2), decision(Some(3), Some(now), false));
        assert_eq!(decide(OperatorWrite::Rollout, None, now, 2), decision(Some(3), None, false));
        assert_eq!(decide(OperatorWrite::Nothing, Some(now), now, 2), decision(Some(3), Some(now), false));
    }
}
