//! A readable report of a verdict.

use std::fmt::Write;

use anyhow::Result;
use json_patch::PatchOperation;
use serde_json::Value;

use crate::admission::{AdmissionRequest, AdmissionResponse};

/// Describes a request and its response: one line each for the request and the verdict, then each change with the old and
/// the new value, the warnings and the audit annotations.
///
/// # Errors
/// If the patch in the response is not a JSON patch.
pub fn report(request: &AdmissionRequest, response: &AdmissionResponse) -> Result<String> {
    let mut text = format!("request   {}\n", headline(request));
    let patch = response.patch_operations()?;
    let verdict = match (response.allowed, patch.0.is_empty()) {
        (false, _) => "REJECTED",
        (true, true) => "accepted as it is",
        (true, false) => "accepted with changes",
    };
    writeln!(text, "verdict   {verdict}")?;
    if let Some(status) = &response.status {
        let code = status.code.map(|code| format!(" ({code})")).unwrap_or_default();
        writeln!(text, "reason    {}{code}", status.message.as_deref().unwrap_or("none given"))?;
    }
    for operation in &patch.0 {
        writeln!(text, "change    {}", change(operation, request.object.as_ref()))?;
    }
    for warning in response.warnings.iter().flatten() {
        writeln!(text, "warning   {warning}")?;
    }
    for (key, value) in response.audit_annotations.iter().flatten() {
        writeln!(text, "audit     {key}: {value}")?;
    }
    Ok(text)
}

fn headline(request: &AdmissionRequest) -> String {
    let AdmissionRequest { operation, kind, .. } = request;
    let group = if kind.group.is_empty() { "core" } else { &kind.group };
    let name = request.name.as_deref().unwrap_or("(no name yet)");
    let namespace = request.namespace.as_deref().unwrap_or("(no namespace)");
    let user = request.user_info.username.as_deref().unwrap_or("nobody");
    format!("{operation} {} ({group}/{}) {namespace}/{name} by {user}", kind.kind, kind.version)
}

fn change(operation: &PatchOperation, object: Option<&Value>) -> String {
    let path = operation.path();
    let old = object.and_then(|object| object.pointer(path.as_str()));
    let old = old.map_or_else(|| "absent".to_owned(), Value::to_string);
    let new = match operation {
        PatchOperation::Add(add) => add.value.to_string(),
        PatchOperation::Replace(replace) => replace.value.to_string(),
        PatchOperation::Remove(_) => "removed".to_owned(),
        other => other.to_string(),
    };
    format!("{path}: {old} -> {new}")
}
