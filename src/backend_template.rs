//! Keeps the pods of a backend running where a proxy runner's write of the StatefulSet changes nothing of them but the
//! generation of the server, as it does when only a count was edited.

use mcp_scaling_rules::applied_generation::{TemplateDecision, decide};
use mcp_scaling_rules::labels;

use crate::json::{Edit, JsonText, apply, quoted};
use crate::request::{Object, Request};
use crate::verdict::Verdict;

const TEMPLATE: &[&str] = &["spec", "template"];
const GENERATION: &[&str] = &["spec", "template", "metadata", "annotations", labels::MCPSERVER_GENERATION];
const GENERATION_IN_TEMPLATE: &[&str] = &["metadata", "annotations", labels::MCPSERVER_GENERATION];
const APPLIED_GENERATION: &[&str] = &["metadata", "annotations", labels::APPLIED_GENERATION];

/// Keeps the old generation or the old pod template, where the rules say so. `request` is one of ToolHive's. Nothing happens
/// where the old or the new template has no generation: runners before v0.24.1 write none, and compare none.
///
/// Whether the runner is from before an edit, so that its count is an old one too.
pub(crate) fn keep(verdict: &mut Verdict, request: &Request<'_>) -> bool {
    // Malformed text is the API server's to refuse, so that an absence of any part ends it.
    try_keep(verdict, request).unwrap_or_default()
}

fn try_keep(verdict: &mut Verdict, request: &Request<'_>) -> Option<bool> {
    let (new, old) = (request.object.as_ref().value()?, request.old_object.as_ref().value()?);
    let (written, stored) = (generation_in_template(new)?, generation_in_template(old)?);
    let recorded = old.annotations().and_then(|annotations| generation(&annotations.applied_generation));
    if written == stored && recorded.is_none() {
        return None;
    }
    let (new_template, old_template) = request.template_texts()?;
    let undo = Edit { path: GENERATION_IN_TEMPLATE, json: Some(quoted(&stored.to_string())) };
    let is_same = apply(new_template, &[undo])? == old_template;
    match decide(stored, recorded, written, is_same) {
        TemplateDecision::Accept => Some(false),
        TemplateDecision::KeepGeneration { applied } => {
            if written != stored {
                verdict.edit(GENERATION, quoted(&stored.to_string()));
                verdict.annotate("kept-generation", format!("{stored} applied={applied}"));
            }
            if applied != recorded.unwrap_or(stored) {
                verdict.edit(APPLIED_GENERATION, quoted(&applied.to_string()));
            }
            Some(written < applied)
        }
        TemplateDecision::KeepTemplate { applied } => {
            verdict.edit(TEMPLATE, old_template.to_owned());
            verdict.annotate("kept-template", format!("written={written} applied={applied}"));
            Some(true)
        }
    }
}

/// The generation that the pod template of a workload was made from.
fn generation_in_template(object: &Object<'_>) -> Option<i64> {
    let template = object.spec.as_ref().value()?.template.as_ref().value()?;
    let annotations = template.metadata.as_ref().value()?.annotations.as_ref().value()?;
    generation(&annotations.mcpserver_generation)
}

/// A generation in an annotation. Anybody may have edited it; what is no generation counts as none, as it does for ToolHive.
fn generation(annotation: &JsonText<'_>) -> Option<i64> {
    annotation.string().value()?.parse().ok().filter(|generation| *generation > 0)
}
