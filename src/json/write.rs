//! Writes JSON. Few shapes are needed, and serde's generic code for them would be some kilobytes of the module.

/// An object of these members, each a name and the JSON text of its value.
pub(crate) fn object<N: AsRef<str>, V: AsRef<str>>(members: impl IntoIterator<Item = (N, V)>) -> String {
    let mut object = String::from("{");
    for (name, value) in members {
        if object.len() > 1 {
            object.push(',');
        }
        object.push_str(&quoted(name.as_ref()));
        object.push(':');
        object.push_str(value.as_ref());
    }
    object.push('}');
    object
}

/// A list of these strings.
pub(crate) fn list<T: AsRef<str>>(strings: &[T]) -> String {
    let quoted: Vec<String> = strings.iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", joined(&quoted, ","))
}

/// The texts with a separator between them. In the module this is a tenth of the size of `join` and `concat`.
pub(crate) fn joined<T: AsRef<str>>(texts: &[T], separator: &str) -> String {
    let mut joined = String::new();
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text.as_ref());
    }
    joined
}

/// A string as JSON.
pub(crate) fn quoted(text: &str) -> String {
    // Writing a string to memory cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{list, object, quoted};

    #[test]
    fn quotes_strings() {
        assert_eq!(quoted("a\"b\\\n"), r#""a\"b\\\n""#);
    }

    #[test]
    fn writes_objects_and_lists() {
        assert_eq!(object([("a", "1"), ("b\"", "[]")]), r#"{"a":1,"b\"":[]}"#);
        assert_eq!(object([("", ""); 0]), "{}");
        assert_eq!(list(&["a", "\""]), r#"["a","\""]"#);
        assert_eq!(list(&[""; 0]), "[]");
    }
}
