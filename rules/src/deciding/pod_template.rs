//! What may be corrected in a pod template: whatever differs from the template before restarts every pod.

/// How the pod template of a request compares with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TemplateChange {
    /// There was none before: the request creates the workload.
    New,
    /// It is the same, so that no pod restarts.
    None,
    /// It lacks only what a policy sets, which the one before has.
    Undone,
    /// It has another difference, for which all pods restart.
    Other,
    /// Nothing can be told of it, because the one before cannot be read.
    Unknown,
}

/// What is done about a pod template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TemplateCorrection {
    /// It is set as the settings say.
    Correct,
    /// It stays as it was before the request.
    Keep,
    /// Nothing.
    None,
}

/// Decides what is done about a pod template, so that no pod restarts for a correction alone.
///
/// Controllers do not ask for what they leave out: ToolHive's operator writes whole templates as it makes them. A person who
/// takes something away asks for other pods, which then are as the settings say.
pub fn correction(change: TemplateChange, is_by_person: bool) -> TemplateCorrection {
    match change {
        TemplateChange::Undone if !is_by_person => TemplateCorrection::Keep,
        TemplateChange::New | TemplateChange::Undone | TemplateChange::Other => TemplateCorrection::Correct,
        TemplateChange::None | TemplateChange::Unknown => TemplateCorrection::None,
    }
}
