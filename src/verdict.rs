//! The policy's answer to a request, and how it is written for the host.

use crate::json::{self, Edit, joined, quoted};
use crate::requester::Requester;
use crate::settings::{Corrections, Settings};

/// Longest warning in characters. The API server may cut longer ones.
const WARNING_LENGTH: usize = 120;

/// Longest name of an object in a warning or message, in characters, so that what follows the name is not cut off.
const NAME_LENGTH: usize = 30;

/// The policy's answer to a request. The default accepts it as it is.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    edits: Vec<Edit>,
    warnings: Vec<String>,
    audit_annotations: Vec<(&'static str, String)>,
    refusal: Option<Refusal>,
}

#[derive(Debug)]
struct Refusal {
    code: u16,
    message: String,
}

/// Refused because of what the request asks for: change it and it is accepted.
pub(crate) const UNPROCESSABLE: u16 = 422;
/// Refused because something could not be read: the same request may be accepted later.
pub(crate) const UNAVAILABLE: u16 = 503;

impl Verdict {
    /// Changes the object: sets the value at `path`.
    pub(crate) fn edit(&mut self, path: &'static [&'static str], json: String) {
        self.edits.push(Edit { path, json: Some(json) });
    }

    /// Changes the object: removes the member at `path`.
    pub(crate) fn remove(&mut self, path: &'static [&'static str]) {
        self.edits.push(Edit { path, json: None });
    }

    /// Changes the object as [`Self::edit`] does. With `corrections: reject` it refuses the request instead, with `reason`, or
    /// leaves it as it is where it can never be refused. Whether it refuses the request.
    pub(crate) fn correct(
        &mut self,
        settings: &Settings,
        path: &'static [&'static str],
        json: String,
        can_be_refused: bool,
        reason: &dyn Fn() -> String,
    ) -> bool {
        let is_refused = settings.corrections == Corrections::Reject && can_be_refused;
        if settings.corrections == Corrections::Apply {
            self.edit(path, json);
        } else if can_be_refused {
            self.refuse(UNPROCESSABLE, &reason());
        }
        is_refused
    }

    /// Warns the person who makes the request, in one line of at most 120 characters: the API server drops a warning with a
    /// line break.
    pub(crate) fn warn(&mut self, warning: &str) {
        self.warnings.push(line(warning, WARNING_LENGTH));
    }

    /// Adds to the event in the API server's audit log. There the webhook's name stands before the key.
    /// A key that is there already gets both values.
    pub(crate) fn annotate(&mut self, key: &'static str, value: String) {
        match self.audit_annotations.iter_mut().find(|(other, _)| *other == key) {
            Some((_, values)) => {
                values.push(',');
                values.push_str(&value);
            }
            None => self.audit_annotations.push((key, value)),
        }
    }

    /// Adds to the audit log, and warns a person.
    pub(crate) fn report(&mut self, requester: Requester, key: &'static str, value: String, warning: &str) {
        self.annotate(key, value);
        if requester == Requester::Person {
            self.warn(warning);
        }
    }

    /// Refuses the request. Where there are several reasons the message gives them all, and the code is that of the first.
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

    /// The response to the host, as JSON. `object` gives the text of the request's object; it is called only where there are
    /// edits to make.
    pub(crate) fn into_response<'a>(self, object: impl FnOnce() -> Option<&'a str>) -> Vec<u8> {
        let mut members = vec![("accepted", self.refusal.is_none().to_string())];
        if let Some(refusal) = &self.refusal {
            members.push(("message", quoted(&refusal.message)));
            members.push(("code", refusal.code.to_string()));
        }
        if !self.audit_annotations.is_empty() {
            let annotations = self.audit_annotations.iter().map(|(key, value)| (*key, quoted(value)));
            members.push(("audit_annotations", json::object(&annotations.collect::<Vec<_>>())));
        }
        if !self.warnings.is_empty() {
            members.push(("warnings", json::list(&self.warnings)));
        }
        let changes = self.refusal.is_none() && !self.edits.is_empty();
        if changes && let Some(object) = object().and_then(|object| json::apply(object, &self.edits)) {
            members.push(("mutated_object", object));
        }
        json::object(&members).into_bytes()
    }
}

/// A field with its count, as an audit annotation has it.
pub(crate) fn assignment(field: &str, count: u32) -> String {
    joined(&[field, "=", &count.to_string()], "")
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
    // Most texts are such a line already, and looking at bytes is cheaper than at characters.
    if text.len() <= length && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    text.chars().filter(|character| !character.is_control()).take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::{Verdict, shortened};

    fn response(verdict: Verdict) -> String {
        let object = Some(r#"{"spec":{"replicas":3}}"#);
        String::from_utf8(verdict.into_response(|| object)).expect("is UTF-8")
    }

    #[test]
    fn accepts_by_default() {
        assert_eq!(response(Verdict::default()), r#"{"accepted":true}"#);
    }

    #[test]
    fn writes_warnings_annotations_and_the_changed_object() {
        let mut verdict = Verdict::default();
        verdict.warn("careful");
        verdict.annotate("a", "1".to_owned());
        verdict.annotate("b", "2".to_owned());
        verdict.annotate("a", "3".to_owned());
        verdict.edit(&["spec", "replicas"], "1".to_owned());
        verdict.edit(&["spec", "x"], "true".to_owned());
        assert_eq!(
            response(verdict),
            concat!(
                r#"{"accepted":true,"audit_annotations":{"a":"1,3","b":"2"},"warnings":["careful"],"#,
                r#""mutated_object":{"spec":{"x":true,"replicas":1}}}"#
            )
        );
    }

    #[test]
    fn refuses_with_every_reason_and_without_changes() {
        let mut verdict = Verdict::default();
        verdict.edit(&["spec", "replicas"], "1".to_owned());
        verdict.refuse(422, "too many");
        verdict.refuse(503, "too late");
        assert_eq!(response(verdict), r#"{"accepted":false,"message":"too many; too late","code":422}"#);
    }

    #[test]
    fn keeps_warnings_to_one_short_line() {
        let mut verdict = Verdict::default();
        verdict.warn(&format!("a\nb\u{7}{}", "ü".repeat(200)));
        let expected = format!("ab{}", "ü".repeat(118));
        assert_eq!(verdict.warnings, [expected]);
    }

    #[test]
    fn shortens_long_names() {
        assert_eq!(shortened("git\nhub"), "github");
        assert_eq!(shortened(&"n".repeat(30)), "n".repeat(30));
        assert_eq!(shortened(&"ü".repeat(31)), format!("{}…", "ü".repeat(30)));
    }
}
