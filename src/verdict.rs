//! What the policy says of a request, and how it is written for the host.

use serde::{Serialize, Serializer};

use crate::edit::{self, Edit};
use crate::view::Leaf;

/// Longest warning in characters. The API server may cut longer ones.
const WARNING_LENGTH: usize = 120;

/// What the policy says of a request. The default accepts it as it is.
#[derive(Debug, Default)]
pub(crate) struct Verdict<'a> {
    edits: Vec<Edit<'a>>,
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

impl<'a> Verdict<'a> {
    /// Changes the object: the value at `path`, of which `current` is what was read there.
    pub(crate) fn edit(&mut self, path: &'static [&'static str], current: Leaf<'a>, json: String) {
        self.edits.push(Edit { path, current, json });
    }

    /// Tells the person behind the request. Kept to one line of at most 120 characters: a line break would make the API
    /// server drop it.
    pub(crate) fn warn(&mut self, warning: &str) {
        let line = warning.chars().filter(|character| !character.is_control());
        self.warnings.push(line.take(WARNING_LENGTH).collect());
    }

    /// Writes to the API server's audit log. Keys get the webhook's name in front there.
    pub(crate) fn annotate(&mut self, key: &'static str, value: String) {
        self.audit_annotations.push((key, value));
    }

    /// Refuses the request. Where there are several reasons the message gives them all, with the code of the first.
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

    /// The response to the host. `object` gives the text of the request's object; it is asked for only where there are
    /// edits to make in it.
    pub(crate) fn into_response(self, object: impl FnOnce() -> Option<&'a str>) -> serde_json::Result<Vec<u8>> {
        #[derive(Serialize)]
        struct Response<'r> {
            accepted: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'r str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            code: Option<u16>,
            #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "as_map")]
            audit_annotations: &'r [(&'static str, String)],
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            warnings: &'r [String],
        }

        let mut response = serde_json::to_vec(&Response {
            accepted: self.refusal.is_none(),
            message: self.refusal.as_ref().map(|refusal| refusal.message.as_str()),
            code: self.refusal.as_ref().map(|refusal| refusal.code),
            audit_annotations: &self.audit_annotations,
            warnings: &self.warnings,
        })?;
        let changes = self.refusal.is_none() && !self.edits.is_empty();
        if changes && let Some(object) = object().and_then(|object| edit::apply(object, &self.edits)) {
            // The object is JSON already; it goes in as it is, as the last member.
            response.pop();
            response.extend_from_slice(b",\"mutated_object\":");
            response.extend_from_slice(object.as_bytes());
            response.push(b'}');
        }
        Ok(response)
    }
}

fn as_map<S: Serializer>(pairs: &&[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

#[cfg(test)]
mod tests {
    use super::Verdict;
    use crate::view::Leaf;

    fn response(verdict: Verdict<'_>) -> String {
        let object = Some(r#"{"spec":{"replicas":3}}"#);
        String::from_utf8(verdict.into_response(|| object).expect("serializes")).expect("is UTF-8")
    }

    #[test]
    fn nothing_to_say() {
        assert_eq!(response(Verdict::default()), r#"{"accepted":true}"#);
    }

    #[test]
    fn everything_to_say() {
        let mut verdict = Verdict::default();
        verdict.warn("careful");
        verdict.annotate("a", "1".to_owned());
        verdict.annotate("b", "2".to_owned());
        verdict.edit(&["spec", "replicas"], Leaf::default(), "1".to_owned());
        verdict.edit(&["spec", "x"], Leaf::default(), "true".to_owned());
        assert_eq!(
            response(verdict),
            concat!(
                r#"{"accepted":true,"audit_annotations":{"a":"1","b":"2"},"warnings":["careful"],"#,
                r#""mutated_object":{"spec":{"x":true,"replicas":1}}}"#
            )
        );
    }

    #[test]
    fn a_refusal_changes_nothing_and_gives_every_reason() {
        let mut verdict = Verdict::default();
        verdict.edit(&["spec", "replicas"], Leaf::default(), "1".to_owned());
        verdict.refuse(422, "too many");
        verdict.refuse(503, "too late");
        assert_eq!(response(verdict), r#"{"accepted":false,"message":"too many; too late","code":422}"#);
    }

    #[test]
    fn warnings_are_one_short_line() {
        let mut verdict = Verdict::default();
        verdict.warn(&format!("a\nb\u{7}{}", "ü".repeat(200)));
        let expected = format!("ab{}", "ü".repeat(118));
        assert_eq!(verdict.warnings, [expected]);
    }
}
