//! Keeps the pods of a backend running if a proxy runner's write of the StatefulSet changes nothing of them but the
//! generation of the server, as it does when only a count was edited.

use mcp_scaling_rules::applied_generation::{TemplateDecision, decide};
use mcp_scaling_rules::{Transport, annotations, labels};

use crate::edit::{self, Edit, Path};
use crate::request::{self, Object, Request};
use crate::settings::{Corrections, Settings};
use crate::verdict::Verdict;

const TEMPLATE: Path = &["spec", "template"];
const GENERATION: Path = &["spec", "template", "metadata", "annotations", annotations::MCPSERVER_GENERATION];
const GENERATION_IN_TEMPLATE: Path = &["metadata", "annotations", annotations::MCPSERVER_GENERATION];
const APPLIED_GENERATION: Path = &["metadata", "annotations", annotations::APPLIED_GENERATION];
const TRANSPORT_LABEL: Path = &["metadata", "labels", labels::TOOLHIVE_TRANSPORT];

/// What is kept of the backend.
#[derive(Default)]
pub(crate) struct Kept {
    /// The verdict with the edits for it.
    pub(crate) verdict: Verdict,
    /// Says whether the runner is from before an edit, so that its count is an old one too.
    pub(crate) is_old_runner: bool,
    /// The transport label before an old runner's write, which is kept. `None` if the written label stays.
    pub(crate) transport_label: Option<Transport>,
}

/// Keeps the old generation or the old pod template, if the rules say so, and the transport label if the runner is an old one.
/// `request` is one of ToolHive's. Nothing happens if the old or the new template has no generation: runners before v0.24.1 write
/// none, and compare none.
/// With `corrections: reject` everything stays as it is written, and the verdict has only the audit annotations.
pub(crate) fn keep(request: &Request<'_>, settings: &Settings) -> Kept {
    // A malformed field is the API server's to refuse, so that an absence of any part ends it.
    try_keep(request, settings).unwrap_or_default()
}

fn try_keep(request: &Request<'_>, settings: &Settings) -> Option<Kept> {
    let (new, old) = (request.object()?, request.old_object()?);
    let (written, stored) = (generation_in_template(new)?, generation_in_template(old)?);
    let recorded = recorded_generation(old);
    // No runner writes the record: if it is a newer one, this request was evaluated before, and its generation was put back.
    let is_evaluated = recorded_generation(new) > recorded;
    if written == stored && (recorded.is_none() || is_evaluated) {
        return None;
    }
    let (written_label, stored_label) = (new.transport_label(), old.transport_label());
    let (new, old) = request.whole_objects()?;
    let (new_template, old_template) = (new.pointer("/spec/template")?, old.pointer("/spec/template")?);
    let is_same = edit::is_same(new_template, old_template, &[GENERATION_IN_TEMPLATE]);
    let mut verdict = Verdict::default();
    // ToolHive's own requests are never refused, so that there is no message.
    let correct = |verdict: &mut Verdict, edit| verdict.correct(settings, edit, false, String::new);
    let is_old_runner = match decide(stored, recorded, written, is_same) {
        TemplateDecision::Accept => false,
        TemplateDecision::KeepGeneration { applied } => {
            if written != stored {
                correct(&mut verdict, Edit::set(GENERATION, stored.to_string()));
                verdict.annotate("kept-generation", format!("{stored} applied={applied}"));
            }
            if applied != recorded.unwrap_or(stored) {
                correct(&mut verdict, Edit::set(APPLIED_GENERATION, applied.to_string()));
            }
            written < applied
        }
        TemplateDecision::KeepTemplate { applied } => {
            correct(&mut verdict, Edit::restore(TEMPLATE));
            verdict.annotate("kept-template", format!("written={written} applied={applied}"));
            true
        }
    };
    let is_old_runner = is_old_runner && settings.corrections == Corrections::Apply;
    // The label of an old runner is as outdated as its count, and would decide about every later request.
    let transport_label = stored_label.filter(|_| is_old_runner);
    if transport_label.is_some() && transport_label != written_label {
        verdict.edit(Edit::restore(TRANSPORT_LABEL));
    }
    Some(Kept { verdict, is_old_runner, transport_label })
}

/// The generation that the pod template of a workload was made from.
fn generation_in_template(object: &Object) -> Option<i64> {
    let metadata = object.spec.get()?.template.get()?.metadata.get()?;
    generation(request::text(&metadata.annotations, annotations::MCPSERVER_GENERATION)?)
}

/// The newest generation that was recorded on a StatefulSet.
fn recorded_generation(object: &Object) -> Option<i64> {
    object.annotation(annotations::APPLIED_GENERATION).and_then(generation)
}

/// A generation in an annotation. Anybody may have edited it; what is no generation counts as none, as it does for ToolHive.
fn generation(annotation: &str) -> Option<i64> {
    annotation.parse().ok().filter(|generation| *generation > 0)
}
