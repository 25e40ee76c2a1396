//! The floor under a pod's termination grace period, so that open streams can end before the pod does.

/// The grace period, in seconds, to set on a pod template that asks for `asked`, or `None` where it can stay.
///
/// An absent period or one shorter than `floor` comes to the floor; a longer one stays. A floor of 0 changes nothing.
/// Kubernetes takes a negative period for a very short one, so it is raised too.
pub fn raised_to_floor(asked: Option<i64>, floor: i64) -> Option<i64> {
    let short = asked.is_none_or(|seconds| seconds < floor);
    (floor > 0 && short).then_some(floor)
}
