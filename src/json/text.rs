//! The text of a JSON value, converted where a decision needs it.

use std::borrow::Cow;

use mcp_scaling_rules::Field;
use mcp_scaling_rules::field::replica_count;
use serde_json::value::RawValue;

use super::read::read;

/// The text of a JSON value, or nothing where the member is missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JsonText<'a>(Option<&'a RawValue>);

impl<'a> JsonText<'a> {
    pub(super) fn new(text: &'a RawValue) -> Self {
        Self(Some(text))
    }

    /// The text as it stands, or `None` where the member is missing.
    pub(crate) fn raw(&self) -> Option<&'a str> {
        self.0.map(RawValue::get)
    }

    /// The text, or `None` where the member is missing or `null`.
    pub(crate) fn json(&self) -> Option<&'a str> {
        self.raw().filter(|json| *json != "null")
    }

    /// The value as a string.
    pub(crate) fn string(&self) -> Field<Cow<'a, str>> {
        let Some(json) = self.json() else {
            return Field::Absent;
        };
        match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            None => Field::Malformed,
            Some(text) if !text.contains('\\') => Field::Value(Cow::Borrowed(text)),
            Some(_) => {
                let mut unescaped = Field::<String>::Absent;
                // Half of a surrogate pair passes the check of the syntax and is no string.
                match read(json, &mut unescaped).map(|()| unescaped) {
                    Ok(Field::Value(text)) => Field::Value(Cow::Owned(text)),
                    Ok(Field::Absent | Field::Malformed) | Err(_) => Field::Malformed,
                }
            }
        }
    }

    /// The value as an integer. A number with a fraction or an exponent is malformed even where its value is whole, as it
    /// is for Kubernetes' typed decoders.
    pub(crate) fn integer(&self) -> Field<i64> {
        match self.json() {
            None => Field::Absent,
            Some(json) => json.parse().map_or(Field::Malformed, Field::Value),
        }
    }

    /// The value as a count of replicas.
    pub(crate) fn count(&self) -> Field<u32> {
        self.integer().and_then(replica_count)
    }
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::Field;

    use super::JsonText;
    use crate::json::read;

    fn only_element(json: &str) -> JsonText<'_> {
        let mut list = Field::<Vec<JsonText<'_>>>::default();
        read(json, &mut list).expect(json);
        list.value().expect("is a list")[0]
    }

    #[test]
    fn converts_counts() {
        assert_eq!(only_element("[null]").count(), Field::Absent);
        for (json, count) in [("[0]", 0), ("[1]", 1), ("[2147483647]", 2_147_483_647)] {
            assert_eq!(only_element(json).count(), Field::Value(count));
        }
        for json in [
            "[-1]",
            "[2147483648]",
            "[1e400]",
            "[1e0]",
            "[1.0]",
            "[1.5]",
            r#"["3"]"#,
            "[[]]",
            "[{}]",
            "[true]",
            "[99999999999999999999]",
        ] {
            assert_eq!(only_element(json).count(), Field::Malformed, "{json}");
        }
    }

    #[test]
    fn converts_strings() {
        assert_eq!(only_element("[null]").string(), Field::Absent);
        assert_eq!(only_element(r#"["stdio"]"#).string(), Field::Value("stdio".into()));
        assert_eq!(only_element(r#"["std\u0069o"]"#).string(), Field::Value("stdio".into()));
        assert_eq!(only_element(r#"[""]"#).string(), Field::Value("".into()));
        assert_eq!(only_element(r#"["\""]"#).string(), Field::Value("\"".into()));
        for json in ["[1]", "[[]]", "[{}]", "[true]", r#"["\ud800"]"#] {
            assert_eq!(only_element(json).string(), Field::Malformed, "{json}");
        }
    }
}
