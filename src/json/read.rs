//! One pass over the text fills a tree of views.
//!
//! A view names the members that it wants; all others are skipped unread. Where a name stands twice the last one counts, as
//! it does for the API server and the host. Views are trait objects and nothing derives `Deserialize`, so that one copy of
//! the reader serves them all: generic code made the module more than twice as large.

use std::fmt;

use mcp_scaling_rules::Field;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::text::JsonText;

/// A JSON object of which some members are read.
pub(crate) trait View<'a> {
    /// Where the member of this name goes; `None` skips it.
    fn member(&mut self, name: &str) -> Option<Destination<'_, 'a>>;
}

/// Implements [`View`] for a struct: the name of each member, how it is read and the struct's field that it goes to.
macro_rules! view {
    ($type:ident { $($name:pat => $destination:ident($field:ident),)* }) => {
        impl<'a> $crate::json::View<'a> for $type<'a> {
            fn member(&mut self, name: &str) -> Option<$crate::json::Destination<'_, 'a>> {
                match name {
                    $($name => Some($crate::json::Destination::$destination(&mut self.$field)),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use view;

/// Where the value of a member goes.
pub(crate) enum Destination<'d, 'a> {
    /// Its text is kept, to be converted where a decision needs it.
    Text(&'d mut JsonText<'a>),
    /// It is read in the same pass.
    Value(&'d mut dyn ReadValue<'a>),
}

/// What a JSON value is read into. By default no type fits.
pub(crate) trait ReadValue<'a> {
    /// The value is `null`.
    fn set_absent(&mut self);
    /// The value has a type that does not fit.
    fn set_malformed(&mut self);
    /// The value is an object: the view to read it into, if an object fits.
    fn begin_object(&mut self) -> Option<&mut dyn View<'a>> {
        None
    }
    /// The value is a list: where to keep the texts of its elements, if a list fits.
    fn begin_list(&mut self) -> Option<&mut Vec<JsonText<'a>>> {
        None
    }
    /// The value is a string.
    fn set_string(&mut self, _: &str) {
        self.set_malformed();
    }
}

impl<'a, T: View<'a> + Default> ReadValue<'a> for Field<T> {
    fn set_absent(&mut self) {
        *self = Self::Absent;
    }

    fn set_malformed(&mut self) {
        *self = Self::Malformed;
    }

    fn begin_object(&mut self) -> Option<&mut dyn View<'a>> {
        *self = Self::Value(T::default());
        match self {
            Self::Value(view) => Some(view),
            Self::Absent | Self::Malformed => None,
        }
    }
}

impl<'a> ReadValue<'a> for Field<Vec<JsonText<'a>>> {
    fn set_absent(&mut self) {
        *self = Self::Absent;
    }

    fn set_malformed(&mut self) {
        *self = Self::Malformed;
    }

    fn begin_list(&mut self) -> Option<&mut Vec<JsonText<'a>>> {
        *self = Self::Value(Vec::new());
        match self {
            Self::Value(elements) => Some(elements),
            Self::Absent | Self::Malformed => None,
        }
    }
}

impl ReadValue<'_> for Field<String> {
    fn set_absent(&mut self) {
        *self = Self::Absent;
    }

    fn set_malformed(&mut self) {
        *self = Self::Malformed;
    }

    fn set_string(&mut self, text: &str) {
        *self = Self::Value(text.to_owned());
    }
}

/// All members of an object, in their order.
#[derive(Default)]
pub(crate) struct Members<'a>(pub(crate) Vec<(String, JsonText<'a>)>);

impl<'a> View<'a> for Members<'a> {
    fn member(&mut self, name: &str) -> Option<Destination<'_, 'a>> {
        self.0.push((name.to_owned(), JsonText::default()));
        self.0.last_mut().map(|(_, value)| Destination::Text(value))
    }
}

/// Reads JSON text into a value.
///
/// # Errors
/// Where the text is not JSON. The error gives line and column, and quotes nothing of the text.
pub(crate) fn read<'a>(json: &'a str, value: &mut dyn ReadValue<'a>) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Reader(value).deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Reads one value.
struct Reader<'v, 'a>(&'v mut dyn ReadValue<'a>);

impl<'de> DeserializeSeed<'de> for Reader<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some(view) = self.0.begin_object() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            self.0.set_malformed();
            return Ok(());
        };
        while let Some(destination) = map.next_key_seed(Name(&mut *view))? {
            match destination {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(Destination::Text(text)) => *text = JsonText::new(map.next_value()?),
                Some(Destination::Value(value)) => map.next_value_seed(Reader(value))?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some(elements) = self.0.begin_list() else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            self.0.set_malformed();
            return Ok(());
        };
        while let Some(element) = seq.next_element()? {
            elements.push(JsonText::new(element));
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.set_string(text);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.set_absent();
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.set_malformed();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.0.set_malformed();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.0.set_malformed();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.0.set_malformed();
        Ok(())
    }
}

/// Reads the name of a member and finds its destination.
struct Name<'v, 'a>(&'v mut dyn View<'a>);

impl<'de, 'v> DeserializeSeed<'de> for Name<'v, 'de> {
    type Value = Option<Destination<'v, 'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, 'v> Visitor<'de> for Name<'v, 'de> {
    type Value = Option<Destination<'v, 'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.member(name))
    }
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::Field;

    use super::read;
    use crate::json::JsonText;

    #[derive(Debug, Default)]
    struct Outer<'a> {
        text: JsonText<'a>,
        inner: Field<Inner<'a>>,
        list: Field<Vec<JsonText<'a>>>,
    }

    #[derive(Debug, Default)]
    struct Inner<'a> {
        a: JsonText<'a>,
        b: JsonText<'a>,
    }

    view!(Outer {
        "text" => Text(text),
        "inner" => Value(inner),
        "list" => Value(list),
    });

    view!(Inner {
        "a" => Text(a),
        "b" => Text(b),
    });

    fn outer(json: &str) -> Outer<'_> {
        let mut outer = Field::default();
        read(json, &mut outer).expect(json);
        outer.value().expect("is an object")
    }

    #[test]
    fn reads_named_members_and_skips_others() {
        let outer = outer(r#"{"x":{"text":9},"text": [1, {}] ,"inner":{"c":[],"a":1},"list":[true, "x"]}"#);
        assert_eq!(outer.text.json(), Some("[1, {}]"));
        let inner = outer.inner.value().expect("is an object");
        assert_eq!((inner.a.json(), inner.b.json()), (Some("1"), None));
        let list = outer.list.value().expect("is a list");
        let texts: Vec<_> = list.iter().map(JsonText::json).collect();
        assert_eq!(texts, [Some("true"), Some("\"x\"")]);
    }

    #[test]
    fn reads_null_as_absent_and_a_wrong_type_as_malformed() {
        assert!(matches!(outer(r#"{"inner":null}"#).inner, Field::Absent));
        for json in ["true", "1", "-1", "1.5", r#""x""#, r#""\n""#, "[]", "[1,2]"] {
            let json = format!(r#"{{"inner":{json},"text":1}}"#);
            let outer = outer(&json);
            assert!(matches!(outer.inner, Field::Malformed), "{json}");
            assert_eq!(outer.text.json(), Some("1"), "reading goes on after it");
        }
        for json in ["true", "1", r#""x""#, "{}", r#"{"a":1}"#] {
            let json = format!(r#"{{"list":{json}}}"#);
            assert!(matches!(outer(&json).list, Field::Malformed), "{json}");
        }
    }

    #[test]
    fn keeps_the_last_of_two_members_and_nothing_of_the_first() {
        let outer = outer(r#"{"text":1,"inner":{"a":1,"b":1},"text":2,"inner":{"a":2}}"#);
        assert_eq!(outer.text.json(), Some("2"));
        let inner = outer.inner.value().expect("is an object");
        assert_eq!((inner.a.json(), inner.b.json()), (Some("2"), None));
    }

    #[test]
    fn rejects_bad_syntax_without_quoting_it() {
        for json in ["", "{", r#"{"secret" 1}"#, r#"{"inner":{"a":secret}}"#, "{} {}", r#"{"inner":1e400}"#] {
            let error = read(json, &mut Field::<Outer<'_>>::default()).expect_err(json).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
