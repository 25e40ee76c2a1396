//! The floor for a pod's termination grace period, so that open streams can end before the pod does.

/// The grace period of a pod whose template does not give one, in seconds.
///
/// Source: `DefaultTerminationGracePeriodSeconds` in `k8s.io/api/core/v1`.
pub const DEFAULT_GRACE_PERIOD: u8 = 30;

/// The floor in seconds. The grace period begins with the preStop hook, and `minimum` seconds should be left after the hook.
/// `added` is how long a hook sleeps that is added, and `present` how long one that is there already. Without a minimum, only
/// a hook that is added needs time.
pub fn floor(minimum: i64, added: i64, present: i64) -> i64 {
    let present = if minimum > 0 { present.max(0) } else { 0 };
    minimum.saturating_add(added).saturating_add(present)
}

/// The grace period, in seconds, to set on a pod template that asks for `requested`, or `None` if it can stay.
///
/// One shorter than `floor` becomes the floor; a longer one stays. An absent period is [`DEFAULT_GRACE_PERIOD`], and is written out if
/// there is a floor. A floor of 0 changes nothing. Kubernetes treats a negative period as a very short one, so it is raised too.
pub fn raised_to_floor(requested: Option<i64>, floor: i64) -> Option<i64> {
    let raised = requested.unwrap_or(DEFAULT_GRACE_PERIOD.into()).max(floor);
    (floor > 0 && requested != Some(raised)).then_some(raised)
}
