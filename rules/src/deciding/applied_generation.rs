//! Which generation of an `MCPServer` its StatefulSet was last written from, if the pod template tells an older one.
//!
//! From v0.24.1 on a proxy runner writes the server's generation into the pod template of the StatefulSet, so that a change of
//! a count alone restarts every pod of the backend. It skips its write if the generation that is stored there is greater
//! than its own, so that a runner from before an edit cannot undo it (`shouldSkipStatefulSetApply` in
//! `pkg/container/kubernetes/client.go`). The policy keeps the older generation in the template if nothing else changes,
//! records the newer one in [`crate::facts::annotations::APPLIED_GENERATION`], and takes over the runner's check for the generations in
//! between.

/// What happens to the pod template that a proxy runner writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateDecision {
    /// It is stored as it is.
    Accept,
    /// The old generation stays in it, and `applied` is recorded: the pods do not restart.
    KeepGeneration {
        /// The newest generation that was written.
        applied: i64,
    },
    /// The old template stays: a runner from before an edit must not undo it.
    KeepTemplate {
        /// The newest generation that was written.
        applied: i64,
    },
}

/// Decides about a pod template with the generation `written`, if the old one has `stored` and the StatefulSet has
/// `recorded`. `is_same` tells whether the templates differ in nothing but the generation.
///
/// A generation is kept only if it follows the newest one. So each generation between the stored and the newest one was
/// written with this same template, and a runner of one of those, which passes the runners' own check, brings nothing older
/// with it: neither a template nor the Services that it writes afterwards.
pub fn decide(stored: i64, recorded: Option<i64>, written: i64, is_same: bool) -> TemplateDecision {
    let applied = recorded.unwrap_or(stored).max(stored);
    let follows = written <= applied.saturating_add(1);
    match is_same {
        true if follows => TemplateDecision::KeepGeneration { applied: applied.max(written) },
        false if written < applied => TemplateDecision::KeepTemplate { applied },
        true | false => TemplateDecision::Accept,
    }
}
