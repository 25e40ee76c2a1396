//! Changes values in the text of a JSON object and leaves every other byte as it is.
//!
//! The host compares the object it gets back with the one it sent and makes the patch from the difference. A round trip
//! through a type would drop fields that the type does not know, and the patch would remove them from the object.

use crate::view::{Leaf, Slot, Target, View, read};

/// A value to set in an object.
#[derive(Clone, Debug)]
pub(crate) struct Edit<'a> {
    /// Names of the members that lead to the value.
    pub(crate) path: &'static [&'static str],
    /// The value that is there now, as it was read from the object's text, if it was.
    pub(crate) current: Leaf<'a>,
    /// The new value, as JSON.
    pub(crate) json: String,
}

/// The object with all values set, members created where they are missing or `null`. `None` where a path leads through
/// something that is no object.
pub(crate) fn apply(object: &str, edits: &[Edit<'_>]) -> Option<String> {
    // A value that was read is where its text is.
    let mut known = Vec::new();
    for edit in edits {
        if let Some(current) = edit.current.raw() {
            known.push((offset_in(object, current)?, current.len(), &edit.json));
        }
    }
    let mut edited = String::with_capacity(object.len() + 64);
    let mut copied = 0;
    // There are at most three; a sort would be a twentieth of the module.
    while let Some((at, length, json)) = known.iter().filter(|(at, ..)| *at >= copied).min_by_key(|(at, ..)| *at) {
        edited.push_str(object.get(copied..*at)?);
        edited.push_str(json);
        copied = at + length;
    }
    edited.push_str(object.get(copied..)?);
    for edit in edits.iter().filter(|edit| edit.current.raw().is_none()) {
        let (at, length, text) = find(&edited, edit.path, &edit.json)?;
        edited = [edited.get(..at)?, &text, edited.get(at + length..)?].concat();
    }
    Some(edited)
}

/// Where to set the value at a path that was not read: at which place, how much to replace there, and with what.
fn find(object: &str, path: &[&str], json: &str) -> Option<(usize, usize, String)> {
    let (name, rest) = path.split_first()?;
    let mut member = Member::new(name);
    read(object, &mut member).ok()?;
    match member.is_in_object.then(|| member.value.raw())? {
        Some(value) if value == "null" || rest.is_empty() => {
            Some((offset_in(object, value)?, value.len(), nested(rest, json)))
        }
        Some(value) => {
            let (at, length, text) = find(value, rest, json)?;
            Some((offset_in(object, value)? + at, length, text))
        }
        None => {
            let comma = if member.is_alone { "" } else { "," };
            Some((object.find('{')? + 1, 0, format!("{}:{}{comma}", quoted(name), nested(rest, json))))
        }
    }
}

/// One member of an object, found by name.
struct Member<'n, 'a> {
    name: &'n str,
    value: Leaf<'a>,
    /// Whether there are no others.
    is_alone: bool,
    /// Whether the value that was read is an object at all.
    is_in_object: bool,
}

impl<'n> Member<'n, '_> {
    fn new(name: &'n str) -> Self {
        Self { name, value: Leaf::default(), is_alone: true, is_in_object: false }
    }
}

impl<'a> Target<'a> for Member<'_, 'a> {
    fn absent(&mut self) {}

    fn malformed(&mut self) {}

    fn object(&mut self) -> Option<&mut dyn View<'a>> {
        self.is_in_object = true;
        Some(self)
    }
}

impl<'a> View<'a> for Member<'_, 'a> {
    fn member(&mut self, name: &str) -> Option<Slot<'_, 'a>> {
        if name == self.name {
            return Some(Slot::Text(&mut self.value));
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
    path.iter().rev().fold(json.to_owned(), |inner, name| format!("{{{}:{inner}}}", quoted(name)))
}

/// A string as JSON.
pub(crate) fn quoted(text: &str) -> String {
    // Writing a string to memory cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Edit, apply, quoted};
    use crate::view::{Field, Leaf, read};

    const REPLICAS: &[&str] = &["spec", "replicas"];

    fn edit<'a>(path: &'static [&'static str], current: Leaf<'a>, json: &str) -> Edit<'a> {
        let json = json.to_owned();
        Edit { path, current, json }
    }

    fn set(object: &str, path: &'static [&'static str], json: &str) -> Option<String> {
        apply(object, &[edit(path, Leaf::default(), json)])
    }

    #[test]
    fn a_value_is_replaced_in_place() {
        let object = r#"{ "spec" : {"x":1, "replicas" : 3 ,"y":[1.0,{"replicas":9}]}, "z":"ü" }"#;
        let expected = r#"{ "spec" : {"x":1, "replicas" : 1 ,"y":[1.0,{"replicas":9}]}, "z":"ü" }"#;
        assert_eq!(set(object, REPLICAS, "1").as_deref(), Some(expected));
    }

    #[test]
    fn a_missing_value_is_inserted() {
        assert_eq!(set(r#"{"spec":{"x":1}}"#, REPLICAS, "1").as_deref(), Some(r#"{"spec":{"replicas":1,"x":1}}"#));
        assert_eq!(set(r#"{"spec":{ }}"#, REPLICAS, "1").as_deref(), Some(r#"{"spec":{"replicas":1 }}"#));
    }

    #[test]
    fn null_is_as_good_as_missing_at_every_level() {
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
    fn the_last_of_two_is_the_one_that_counts() {
        assert_eq!(
            set(r#"{"spec":{"replicas":2,"replicas":3}}"#, REPLICAS, "1").as_deref(),
            Some(r#"{"spec":{"replicas":2,"replicas":1}}"#)
        );
    }

    #[test]
    fn names_are_compared_unescaped() {
        assert_eq!(
            set(r#"{"sp\u0065c":{"replicas":3}}"#, REPLICAS, "1").as_deref(),
            Some(r#"{"sp\u0065c":{"replicas":1}}"#)
        );
    }

    #[test]
    fn a_path_through_no_object_is_not_followed() {
        for object in [r#"{"spec":[]}"#, r#"{"spec":"x"}"#, r#"{"spec":7}"#, "[]", "null", ""] {
            assert_eq!(set(object, REPLICAS, "1"), None, "{object}");
        }
    }

    #[test]
    fn values_that_were_read_are_replaced_where_they_are() {
        let object = "[1,22,333]";
        let mut list = Field::<Vec<Leaf<'_>>>::default();
        read(object, &mut list).expect("is JSON");
        let list = list.value().expect("is a list");
        let edits = [edit(&[], list[0], "4444"), edit(&[], list[2], "5"), edit(&[], list[1], "666")];
        assert_eq!(apply(object, &edits).as_deref(), Some("[4444,666,5]"));
        assert_eq!(apply("another text", &edits), None);
    }

    #[test]
    fn known_and_unknown_places_mix() {
        let object = r#"{"a":{"b":1}}"#;
        let mut member = super::Member::new("a");
        read(object, &mut member).expect("is JSON");
        let edits = [edit(&["c"], Leaf::default(), "2"), edit(&["a"], member.value, "3")];
        assert_eq!(apply(object, &edits).as_deref(), Some(r#"{"c":2,"a":3}"#));
    }

    #[test]
    fn quoting() {
        assert_eq!(quoted("a\"b\\\n"), r#""a\"b\\\n""#);
    }
}
