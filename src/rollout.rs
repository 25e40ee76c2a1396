//! Reads what [`mcp_scaling_rules::resets`] decides on out of an operator's write of a Deployment.

use mcp_scaling_rules::resets::{self, OperatorWrite, ResetDecision};
use mcp_scaling_rules::{RolledOut, ServerKind, annotations};

use crate::edit;
use crate::lookup::Found;
use crate::pod_template;
use crate::request::{Object, Request};
use crate::settings::Settings;

/// The annotation of the old or of the new object.
fn rolled_out(object: Option<&Object>) -> Option<RolledOut> {
    object?.annotation(annotations::ROLLED_OUT).map(RolledOut::parse)
}

/// What the annotation says before the write. The old object has what the API server stored; some releases write the new one
/// without annotations that they do not know.
pub(crate) fn recorded(request: &Request<'_>) -> Option<RolledOut> {
    rolled_out(request.old_object())
}

/// Returns whether a write of an operator that may reset counts has to be looked at although it leaves the count as it is: it
/// may restore a count, or tell what was rolled out.
pub(crate) fn concerns_unchanged_count(request: &Request<'_>, settings: &Settings) -> bool {
    let leaves_count =
        || request.spec().ok().zip(request.old_spec()).is_some_and(|(new, old)| new.replicas == old.replicas);
    recorded(request).is_some() || leaves_count() && leaves_rest_of_spec(request, settings).unwrap_or_default()
}

/// Decides about an operator's write that changes the count from `old` to `requested`, or leaves it. `server` declares no
/// count for the Deployment. `None` if the server has no generation, so that nothing can be said of what is pending.
pub(crate) fn decide(
    request: &Request<'_>,
    settings: &Settings,
    server: &Found,
    recorded: Option<&RolledOut>,
    requested: u32,
    old: u32,
) -> Option<ResetDecision> {
    let generation = server.generation?;
    let write = OperatorWrite::of(requested, old, leaves_rest_of_spec(request, settings)?);
    let (tool_config, auth_config) = (server.tool_config_hash.as_deref(), server.external_auth_config_hash.as_deref());
    let state = RolledOut::state(generation, tool_config, auth_config, operator_pod(request));
    let mut decision = resets::decide(write, recorded, state, generation, old);
    // Nothing is to be written if the annotation stays, or if the same request is evaluated again.
    let present = rolled_out(request.object());
    decision.annotation = decision.annotation.filter(|annotation| present.as_ref() != Some(annotation));
    Some(decision)
}

/// Returns whether a write leaves the spec as it is apart from the count. What an operator leaves out of the pod template and the
/// policy keeps is no change.
fn leaves_rest_of_spec(request: &Request<'_>, settings: &Settings) -> Option<bool> {
    let (new, old) = request.whole_objects()?;
    let (new, old) = (new.get("spec")?, old.get("spec")?);
    // Only operators of this kind reset counts.
    let leaves_template = || pod_template::stays(ServerKind::McpServer, request, settings);
    Some(edit::is_same(new, old, &[&["replicas"], &["template"]]) && leaves_template())
}

/// The UID of the pod that the operator runs in, which the API server knows if the token is bound to it.
fn operator_pod<'r>(request: &'r Request<'_>) -> Option<&'r str> {
    request.user_info.get()?.extra.get()?.get("authentication.kubernetes.io/pod-uid")?.get(0)?.as_str()
}
