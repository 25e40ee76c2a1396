//! The policy's answer to a request.

use std::collections::HashMap;

use mcp_scaling_rules::Workload;
use serde_json::Value;

use crate::edit::Edit;
use crate::memory::leave;
use crate::requester::Requester;
use crate::settings::{Corrections, Settings};

/// Longest warning in characters. The API server may cut longer ones.
const WARNING_LENGTH: usize = 120;

/// Longest name of an object in a warning or message, in characters, so that what follows the name is not cut off.
const NAME_LENGTH: usize = 30;

/// The response to a request. The default accepts it as it is.
#[derive(Debug, Default, PartialEq)]
pub struct Response {
    /// Why the request is refused; `None` if it is accepted.
    pub refusal: Option<Refusal>,
    /// The object of an accepted request, if it is changed.
    pub mutated_object: Option<Value>,
    /// What is added to the event in the API server's audit log.
    pub audit_annotations: HashMap<String, String>,
    /// What the person who makes the request is told, each in one line of at most 120 characters.
    pub warnings: Vec<String>,
}

/// Why a request is refused.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    /// The HTTP status code of the API server's response.
    pub code: u16,
    /// The text for the person who makes the request.
    pub message: String,
}

/// What the rules say about a request. The default accepts it as it is.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    edits: Vec<Edit>,
    warnings: Vec<String>,
    audit_annotations: HashMap<String, String>,
    refusal: Option<Refusal>,
}

/// Refused because of what the request asks for: change it and it is accepted.
pub(crate) const UNPROCESSABLE: u16 = 422;
/// Refused because something could not be read: the same request may be accepted later.
pub(crate) const UNAVAILABLE: u16 = 503;

impl Verdict {
    /// Changes the object.
    pub(crate) fn edit(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    /// Changes the object as [`Self::edit`] does. With `corrections: reject` it refuses the request instead, with `reason`, or
    /// leaves it as it is if it can never be refused.
    pub(crate) fn correct(
        &mut self,
        settings: &Settings,
        edit: Edit,
        can_be_refused: bool,
        reason: impl FnOnce() -> String,
    ) {
        if settings.corrections == Corrections::Apply {
            self.edit(edit);
        } else if can_be_refused {
            self.refuse(UNPROCESSABLE, &reason());
        }
    }

    /// Warns the person who makes the request, in one line of at most 120 characters: the API server drops a warning with a
    /// line break, and shows the same one only once. A request that is refused gets its message alone, since warnings tell what an
    /// accepted one leads to.
    pub(crate) fn warn(&mut self, warning: &str) {
        let warning = line(warning, WARNING_LENGTH);
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Warns with a text that is never cut, such as one with a command, or else with `otherwise`: a command that is cut does
    /// something else than the whole one.
    pub(crate) fn warn_in_full(&mut self, warning: Option<String>, otherwise: &str) {
        let fits = |warning: &String| warning.chars().nth(WARNING_LENGTH).is_none();
        self.warn(warning.filter(fits).as_deref().unwrap_or(otherwise));
    }

    /// Adds to the event in the API server's audit log. There the webhook's name stands before the key.
    /// A key that is there already gets both values.
    pub(crate) fn annotate(&mut self, key: &'static str, value: String) {
        self.audit_annotations
            .entry(key.to_owned())
            .and_modify(|values| {
                values.push(',');
                values.push_str(&value);
            })
            .or_insert_with(|| value.clone());
    }

    /// Adds to the audit log, and warns a person.
    pub(crate) fn report(&mut self, requester: Requester, key: &'static str, value: String, warning: &str) {
        self.annotate(key, value);
        if requester == Requester::Person {
            self.warn(warning);
        }
    }

    /// Refuses the request. If there are several reasons the message gives them all, and the code is that of the first.
    pub(crate) fn refuse(&mut self, code: u16, reason: &str) {
        match &mut self.refusal {
            None => {
                self.refusal = Some(Refusal { code, message: reason.to_owned() });
            }
            Some(refusal) => {
                refusal.message.push_str("; ");
                refusal.message.push_str(reason);
            }
        }
    }

    /// The response. `objects` gives the request's object and the one before; it is called only if there are edits to
    /// make.
    pub(crate) fn into_response(mut self, objects: impl FnOnce() -> Option<(Value, Value)>) -> Response {
        let changes = self.refusal.is_none() && !self.edits.is_empty();
        let edits = std::mem::take(&mut self.edits);
        let mutated_object = changes.then(objects).flatten().and_then(|(object, old)| changed(object, old, edits));
        if changes && mutated_object.is_none() {
            // The object is malformed: nothing is said of a change that is not made.
            self = Self::default();
        }
        if self.refusal.is_some() {
            self.warnings.clear();
        }
        let Self { edits: _, warnings, audit_annotations, refusal } = self;
        Response { refusal, mutated_object, audit_annotations, warnings }
    }
}

/// The object with these edits. `None` if one of them cannot be made.
fn changed(mut object: Value, mut old: Value, edits: Vec<Edit>) -> Option<Value> {
    for edit in edits {
        edit.apply(&mut object, &mut old)?;
    }
    leave(old);
    Some(object)
}

/// A field with its count, as an audit annotation has it.
pub(crate) fn assignment(field: &str, count: u32) -> String {
    format!("{field}={count}")
}

/// The command that scales a workload, which can be copied as it is. `None` if it cannot: the object gets its name after
/// admission, or has a name that Kubernetes will refuse and a shell may not take for one word.
pub(crate) fn scale_command(workload: Workload, namespace: &str, name: &str, count: u32) -> Option<String> {
    let is_plain = |name: &str| {
        let is_of_name = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        name.bytes().next().is_some_and(|first| first != b'-') && name.bytes().all(is_of_name)
    };
    let short_kind = match workload {
        Workload::Deployment => "deploy",
        Workload::StatefulSet => "sts",
    };
    (is_plain(namespace) && is_plain(name))
        .then(|| format!("kubectl -n {namespace} scale {short_kind} {name} --replicas={count}"))
}

/// The name of an object, short enough for a warning and without line breaks. Names come from the request.
pub(crate) fn shortened(name: &str) -> String {
    let mut shortened = line(name, NAME_LENGTH);
    if shortened.len() < line(name, NAME_LENGTH + 1).len() {
        shortened.push('…');
    }
    shortened
}

/// The text without line breaks and other control characters, at most `length` characters of it.
fn line(text: &str, length: usize) -> String {
    text.chars().filter(|character| !character.is_control()).take(length).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use mcp_scaling_rules::Workload;

    use super::{Edit, Refusal, Response, Verdict, scale_command, shortened};

    fn response(verdict: Verdict) -> Response {
        let old = json!({"spec": {"template": {"a": 1}}});
        verdict.into_response(|| Some((json!({"spec": {"replicas": 3, "list": [{}]}}), old)))
    }

    #[test]
    fn accepts_by_default() {
        assert_eq!(response(Verdict::default()), Response::default());
    }

    #[test]
    fn gives_warnings_annotations_and_the_changed_object() {
        let mut verdict = Verdict::default();
        verdict.warn("careful");
        verdict.annotate("a", "1".to_owned());
        verdict.annotate("b", "2".to_owned());
        verdict.annotate("a", "3".to_owned());
        verdict.edit(Edit::set(&["spec", "replicas"], 1));
        verdict.edit(Edit::set_in_item(&["spec", "list"], 0, &["x", "y"], true));
        verdict.edit(Edit::restore(&["spec", "template"]));
        let object = json!({"spec": {"replicas": 1, "list": [{"x": {"y": true}}], "template": {"a": 1}}});
        let expected = Response {
            refusal: None,
            mutated_object: Some(object),
            audit_annotations: [("a", "1,3"), ("b", "2")].map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            warnings: vec!["careful".to_owned()],
        };
        assert_eq!(response(verdict), expected);
    }

    #[test]
    fn refuses_with_every_reason_and_without_changes_and_warnings() {
        let mut verdict = Verdict::default();
        verdict.edit(Edit::set(&["spec", "replicas"], 1));
        verdict.warn("careful");
        verdict.refuse(422, "too many");
        verdict.refuse(503, "too late");
        let refusal = Some(Refusal { code: 422, message: "too many; too late".to_owned() });
        assert_eq!(response(verdict), Response { refusal, ..Response::default() });
    }

    #[test]
    fn says_nothing_of_changes_that_cannot_be_made() {
        let mut verdict = Verdict::default();
        verdict.annotate("a", "1".to_owned());
        verdict.edit(Edit::set(&["spec", "replicas", "x"], 1));
        assert_eq!(response(verdict), Response::default());
    }

    #[test]
    fn keeps_warnings_to_one_short_line() {
        let mut verdict = Verdict::default();
        verdict.warn(&format!("a\nb\u{7}{}", "ü".repeat(200)));
        let expected = format!("ab{}", "ü".repeat(118));
        assert_eq!(verdict.warnings, [expected]);
    }

    #[test]
    fn never_cuts_a_command() {
        let warning = |length| {
            let mut verdict = Verdict::default();
            verdict.warn_in_full(Some("ü".repeat(length)), "otherwise");
            verdict.warnings
        };
        assert_eq!(warning(120), ["ü".repeat(120)]);
        assert_eq!(warning(121), ["otherwise"]);
        let mut verdict = Verdict::default();
        verdict.warn_in_full(None, "otherwise");
        assert_eq!(verdict.warnings, ["otherwise"]);
    }

    #[test]
    fn gives_a_command_for_names_of_kubernetes_only() {
        let command = |namespace, name| scale_command(Workload::StatefulSet, namespace, name, 2);
        assert_eq!(
            command("toolhive-system", "my.server-2").as_deref(),
            Some("kubectl -n toolhive-system scale sts my.server-2 --replicas=2")
        );
        for name in ["", "a b", "a;b", "$(a)", "A", "a\nb", "-f", "a/b", "ü"] {
            assert_eq!((command("default", name), command(name, "github")), (None, None), "{name:?}");
        }
    }

    #[test]
    fn shortens_long_names() {
        assert_eq!(shortened("git\nhub"), "github");
        assert_eq!(shortened(&"n".repeat(30)), "n".repeat(30));
        assert_eq!(shortened(&"ü".repeat(31)), format!("{}…", "ü".repeat(30)));
    }
}
