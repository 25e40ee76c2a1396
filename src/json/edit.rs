//! Sets values in the text of a JSON object and leaves every other byte as it is.
//!
//! The host compares the object it gets back with the one it sent and makes the patch from the difference. A round trip
//! through a type would drop fields that the type does not know, and the patch would remove them from the object.

use mcp_scaling_rules::Field;

use super::read::{Destination, Members, ReadValue, View, read};
use super::text::JsonText;
use super::write::{append, joined, object, quoted};

/// A change of one value in an object.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    /// Names of the members that lead to the value.
    pub(crate) path: &'static [&'static str],
    /// The new value, as JSON; `None` removes the member.
    pub(crate) json: Option<String>,
}

/// The object with all edits made. Members that are set are created where they are missing or `null`. `None` where a path
/// leads through something that is no object.
pub(crate) fn apply(object: &str, edits: &[Edit]) -> Option<String> {
    let mut edited = object.to_owned();
    for edit in edits {
        edited = match &edit.json {
            Some(json) => set(&edited, edit.path, json)?,
            None => remove(&edited, edit.path)?,
        };
    }
    Some(edited)
}

/// The object without one member. The members beside it keep their text, and the white space between them is lost.
fn remove(json: &str, path: &[&str]) -> Option<String> {
    let (name, rest) = path.split_first()?;
    if !rest.is_empty() {
        let mut member = Member::new(name);
        read(json, &mut member).ok()?;
        return match member.value.json() {
            Some(value) => set(json, &[name], &remove(value, rest)?),
            None => Some(json.to_owned()),
        };
    }
    let mut members = Field::<Members<'_>>::default();
    read(json, &mut members).ok()?;
    let members = members.value()?.0;
    let mut kept = String::from("{");
    for (other, value) in members.iter().filter(|(other, _)| other != name) {
        append(&mut kept, &joined(&[&quoted(other), ":", value.raw()?], ""), "{");
    }
    kept.push('}');
    Some(kept)
}

/// The object with one value set.
pub(super) fn set(object: &str, path: &[&str], json: &str) -> Option<String> {
    let (name, rest) = path.split_first()?;
    let mut member = Member::new(name);
    read(object, &mut member).ok()?;
    match member.is_in_object.then(|| member.value.raw())? {
        Some(value) => {
            let new = if value == "null" || rest.is_empty() { nested(rest, json) } else { set(value, rest, json)? };
            let at = offset_in(object, value)?;
            Some(joined(&[object.get(..at)?, &new, object.get(at + value.len()..)?], ""))
        }
        None => {
            let at = object.find('{')? + 1;
            let comma = if member.is_alone { "" } else { "," };
            let new = nested(path, json);
            // `nested` puts braces around the member; here it goes into the braces that are there.
            let new = new.strip_prefix('{')?.strip_suffix('}')?;
            Some(joined(&[object.get(..at)?, new, comma, object.get(at..)?], ""))
        }
    }
}

/// One member of an object, found by name.
struct Member<'n, 'a> {
    name: &'n str,
    value: JsonText<'a>,
    /// Whether the object has no other members.
    is_alone: bool,
    /// Whether the value that was read is an object at all.
    is_in_object: bool,
}

impl<'n> Member<'n, '_> {
    fn new(name: &'n str) -> Self {
        Self { name, value: JsonText::default(), is_alone: true, is_in_object: false }
    }
}

impl<'a> ReadValue<'a> for Member<'_, 'a> {
    fn set_absent(&mut self) {}

    fn set_malformed(&mut self) {}

    fn begin_object(&mut self) -> Option<&mut dyn View<'a>> {
        self.is_in_object = true;
        Some(self)
    }
}

impl<'a> View<'a> for Member<'_, 'a> {
    fn member(&mut self, name: &str) -> Option<Destination<'_, 'a>> {
        if name == self.name {
            return Some(Destination::Text(&mut self.value));
        }
        self.is_alone = false;
        None
    }
}

/// Where `part`, a slice of `whole`, begins in it.
fn offset_in(whole: &str, part: &str) -> Option<usize> {
    let offset = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    (offset + part.len() <= whole.len()).then_some(offset)
}

/// `json` inside an object for each name of the path.
fn nested(path: &[&str], json: &str) -> String {
    path.iter().rev().fold(json.to_owned(), |inner, name| object(&[(*name, inner)]))
}

#[cfg(test)]
mod tests {
    use super::{Edit, apply, set};

    const REPLICAS: &[&str] = &["spec", "replicas"];

    #[test]
    fn replaces_a_value_in_place() {
        let object = r#"{ "spec" : {"x":1, "replicas" : 3 ,"y":[1.0,{"replicas":9}]}, "z":"ü" }"#;
        let expected = r#"{ "spec" : {"x":1, "replicas" : 1 ,"y":[1.0,{"replicas":9}]}, "z":"ü" }"#;
        assert_eq!(set(object, REPLICAS, "1").as_deref(), Some(expected));
    }

    #[test]
    fn inserts_a_missing_value() {
        assert_eq!(set(r#"{"spec":{"x":1}}"#, REPLICAS, "1").as_deref(), Some(r#"{"spec":{"replicas":1,"x":1}}"#));
        assert_eq!(set(r#"{"spec":{ }}"#, REPLICAS, "1").as_deref(), Some(r#"{"spec":{"replicas":1 }}"#));
    }

    #[test]
    fn treats_null_as_missing_at_every_level() {
        for (object, expected) in [
            (r#"{"spec":{"replicas":null}}"#, r#"{"spec":{"replicas":1}}"#),
            (r#"{"spec":null}"#, r#"{"spec":{"replicas":1}}"#),
            (r#"{"a":2}"#, r#"{"spec":{"replicas":1},"a":2}"#),
            ("{}", r#"{"spec":{"replicas":1}}"#),
        ] {
            assert_eq!(set(object, REPLICAS, "1").as_deref(), Some(expected));
        }
    }

    #[test]
    fn replaces_the_last_of_two_members() {
        assert_eq!(
            set(r#"{"spec":{"replicas":2,"replicas":3}}"#, REPLICAS, "1").as_deref(),
            Some(r#"{"spec":{"replicas":2,"replicas":1}}"#)
        );
    }

    #[test]
    fn compares_names_unescaped() {
        assert_eq!(
            set(r#"{"sp\u0065c":{"replicas":3}}"#, REPLICAS, "1").as_deref(),
            Some(r#"{"sp\u0065c":{"replicas":1}}"#)
        );
    }

    #[test]
    fn leaves_a_value_that_is_no_object_alone() {
        for object in [r#"{"spec":[]}"#, r#"{"spec":"x"}"#, r#"{"spec":7}"#, "[]", "null", ""] {
            assert_eq!(set(object, REPLICAS, "1"), None, "{object}");
        }
    }

    #[test]
    fn applies_several_edits() {
        let edit = |path, json: &str| Edit { path, json: Some(json.to_owned()) };
        let edits = [edit(&["a", "b"], "2"), edit(&["c"], "3"), edit(&["a", "d", "e"], "4")];
        let edited = apply(r#"{"a":{"b":1}}"#, &edits);
        assert_eq!(edited.as_deref(), Some(r#"{"c":3,"a":{"d":{"e":4},"b":2}}"#));
        assert_eq!(apply("{}", &[]).as_deref(), Some("{}"));
    }

    #[test]
    fn removes_a_member_and_keeps_the_others() {
        let removed = |object: &str, path| apply(object, &[Edit { path, json: None }]);
        let object = r#"{"x": [1.0], "a":{"b":1, "c": {"b":2},"d":"\u00fc"}}"#;
        let expected = r#"{"x": [1.0], "a":{"c":{"b":2},"d":"\u00fc"}}"#;
        assert_eq!(removed(object, &["a", "b"]).as_deref(), Some(expected));
        assert_eq!(removed(r#"{"a":{"b":1}}"#, &["a", "b"]).as_deref(), Some(r#"{"a":{}}"#));
        for unchanged in ["{}", r#"{"a":null}"#, r#"{"a":{"c":1}}"#] {
            assert_eq!(removed(unchanged, &["a", "b"]).as_deref(), Some(unchanged));
        }
        assert_eq!(removed(r#"{"a":[]}"#, &["a", "b"]), None);
    }
}
