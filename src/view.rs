//! Reads JSON from outside, without trust, into views that borrow from it.
//!
//! One pass over the text fills a tree of views; members that no view names are skipped unread. Reading fails on bad
//! syntax only. A value of the wrong type is kept as [`Field::Malformed`], since it is the API server's to refuse and no
//! reason to deny a request that has nothing to do with it. Where a name stands twice the last one counts, as it does for
//! the API server and the host.
//!
//! The readers are trait objects and not generic types, and nothing derives `Deserialize`: one copy of the reader serves
//! every view, which makes the module less than half as large.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A value of the wrong type or out of its range. The policy has no opinion on an object that holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A member of a JSON object. `null` counts as absent, as it does for the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Field<T> {
    /// Not there, or `null`.
    #[default]
    Absent,
    /// There, with the wrong type or out of range.
    Malformed,
    /// There and well-formed.
    Value(T),
}

impl<T> Field<T> {
    /// The value, where absent is fine and malformed is not.
    ///
    /// # Errors
    /// [`Malformed`] where the member is.
    pub(crate) fn optional(self) -> Result<Option<T>, Malformed> {
        match self {
            Self::Absent => Ok(None),
            Self::Malformed => Err(Malformed),
            Self::Value(value) => Ok(Some(value)),
        }
    }

    /// The value, where malformed is as good as absent.
    pub(crate) fn value(self) -> Option<T> {
        self.optional().unwrap_or_default()
    }

    /// The same member, borrowed.
    pub(crate) fn as_ref(&self) -> Field<&T> {
        match self {
            Self::Absent => Field::Absent,
            Self::Malformed => Field::Malformed,
            Self::Value(value) => Field::Value(value),
        }
    }
}

/// A JSON object of which some members are read.
pub(crate) trait View<'a> {
    /// Where to put the member of this name; `None` skips it.
    fn member(&mut self, name: &str) -> Option<Slot<'_, 'a>>;
}

/// Implements [`View`] for a struct: the name of each member, how it is read and the field it goes to.
macro_rules! view {
    ($type:ident { $($name:literal => $slot:ident($field:ident),)* }) => {
        impl<'a> $crate::view::View<'a> for $type<'a> {
            fn member(&mut self, name: &str) -> Option<$crate::view::Slot<'_, 'a>> {
                match name {
                    $($name => Some($crate::view::Slot::$slot(&mut self.$field)),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use view;

/// Where a member goes.
pub(crate) enum Slot<'s, 'a> {
    /// Its text is kept for later.
    Text(&'s mut Leaf<'a>),
    /// It is read on, in the same pass.
    Read(&'s mut dyn Target<'a>),
    /// Nowhere: what was read up to here is enough, and the rest of the text need not be looked at.
    Stop,
}

/// What a JSON value is read into. By default nothing is well-formed.
pub(crate) trait Target<'a> {
    /// The value is `null`.
    fn absent(&mut self);
    /// The value is of a type that does not fit.
    fn malformed(&mut self);
    /// The value is an object: the view to read it into, if it fits.
    fn object(&mut self) -> Option<&mut dyn View<'a>> {
        None
    }
    /// The value is a list: where to keep the texts of its elements, if it fits.
    fn list(&mut self) -> Option<&mut Vec<Leaf<'a>>> {
        None
    }
    /// The value is a string.
    fn string(&mut self, _: &str) {
        self.malformed();
    }
}

impl<'a, T: View<'a> + Default> Target<'a> for Field<T> {
    fn absent(&mut self) {
        *self = Self::Absent;
    }

    fn malformed(&mut self) {
        *self = Self::Malformed;
    }

    fn object(&mut self) -> Option<&mut dyn View<'a>> {
        *self = Self::Value(T::default());
        match self {
            Self::Value(view) => Some(view),
            Self::Absent | Self::Malformed => None,
        }
    }
}

impl<'a> Target<'a> for Field<Vec<Leaf<'a>>> {
    fn absent(&mut self) {
        *self = Self::Absent;
    }

    fn malformed(&mut self) {
        *self = Self::Malformed;
    }

    fn list(&mut self) -> Option<&mut Vec<Leaf<'a>>> {
        *self = Self::Value(Vec::new());
        match self {
            Self::Value(elements) => Some(elements),
            Self::Absent | Self::Malformed => None,
        }
    }
}

impl Target<'_> for Field<String> {
    fn absent(&mut self) {
        *self = Self::Absent;
    }

    fn malformed(&mut self) {
        *self = Self::Malformed;
    }

    fn string(&mut self, text: &str) {
        *self = Self::Value(text.to_owned());
    }
}

/// The text of a JSON value that is looked at only when a decision needs it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Leaf<'a>(Option<&'a RawValue>);

impl<'a> Leaf<'a> {
    /// The text as it stands, or `None` where the member is missing.
    pub(crate) fn raw(&self) -> Option<&'a str> {
        self.0.map(RawValue::get)
    }

    /// The JSON text, or `None` where the member is missing or `null`.
    pub(crate) fn json(&self) -> Option<&'a str> {
        self.raw().filter(|json| *json != "null")
    }

    /// The value as a string.
    pub(crate) fn text(&self) -> Field<Cow<'a, str>> {
        let Some(json) = self.json() else {
            return Field::Absent;
        };
        match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            None => Field::Malformed,
            Some(text) if !text.contains('\\') => Field::Value(Cow::Borrowed(text)),
            Some(_) => {
                let mut unescaped = Field::<String>::Absent;
                // A lone surrogate is good syntax for a scanner and no string.
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

    /// The value as a count of replicas: an `int32` that is not negative.
    pub(crate) fn count(&self) -> Field<u32> {
        match self.integer() {
            Field::Value(number) => {
                i32::try_from(number).and_then(u32::try_from).map_or(Field::Malformed, Field::Value)
            }
            Field::Absent => Field::Absent,
            Field::Malformed => Field::Malformed,
        }
    }
}

/// Reads JSON text into a target.
///
/// # Errors
/// Where the text is not JSON; the error gives the place and quotes nothing of the text. Also where a view says
/// [`Slot::Stop`]: its owner knows that it did.
pub(crate) fn read<'a>(json: &'a str, target: &mut dyn Target<'a>) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Reader(target).deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Reads one value into its target.
struct Reader<'t, 'a>(&'t mut dyn Target<'a>);

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
        let Some(view) = self.0.object() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            self.0.malformed();
            return Ok(());
        };
        while let Some(slot) = map.next_key_seed(Name(&mut *view))? {
            match slot {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(Slot::Text(leaf)) => leaf.0 = Some(map.next_value()?),
                Some(Slot::Read(target)) => map.next_value_seed(Reader(target))?,
                // The only way out of a deserializer before the end of the text.
                Some(Slot::Stop) => return Err(serde::de::Error::custom("stopped")),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some(elements) = self.0.list() else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            self.0.malformed();
            return Ok(());
        };
        while let Some(element) = seq.next_element()? {
            elements.push(Leaf(Some(element)));
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.string(text);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.absent();
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.malformed();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.0.malformed();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.0.malformed();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.0.malformed();
        Ok(())
    }
}

/// Reads the name of a member and finds its slot.
struct Name<'v, 'a>(&'v mut dyn View<'a>);

impl<'de, 'v> DeserializeSeed<'de> for Name<'v, 'de> {
    type Value = Option<Slot<'v, 'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, 'v> Visitor<'de> for Name<'v, 'de> {
    type Value = Option<Slot<'v, 'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.member(name))
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, Leaf, read};

    #[derive(Debug, Default)]
    struct Outer<'a> {
        leaf: Leaf<'a>,
        inner: Field<Inner<'a>>,
        list: Field<Vec<Leaf<'a>>>,
    }

    #[derive(Debug, Default)]
    struct Inner<'a> {
        a: Leaf<'a>,
        b: Leaf<'a>,
    }

    view!(Outer {
        "leaf" => Text(leaf),
        "inner" => Read(inner),
        "list" => Read(list),
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

    fn leaf(json: &str) -> Leaf<'_> {
        let mut list = Field::<Vec<Leaf<'_>>>::default();
        read(json, &mut list).expect(json);
        list.value().expect("is a list")[0]
    }

    #[test]
    fn members_are_read_and_others_skipped() {
        let outer = outer(r#"{"x":{"leaf":9},"leaf": [1, {}] ,"inner":{"c":[],"a":1},"list":[true, "x"]}"#);
        assert_eq!(outer.leaf.json(), Some("[1, {}]"));
        let inner = outer.inner.value().expect("is an object");
        assert_eq!((inner.a.json(), inner.b.json()), (Some("1"), None));
        let list = outer.list.value().expect("is a list");
        let texts: Vec<_> = list.iter().map(Leaf::json).collect();
        assert_eq!(texts, [Some("true"), Some("\"x\"")]);
    }

    #[test]
    fn what_is_no_object_is_malformed_and_null_is_absent() {
        assert!(matches!(outer(r#"{"inner":null}"#).inner, Field::Absent));
        for json in ["true", "1", "-1", "1.5", r#""x""#, r#""\n""#, "[]", "[1,2]"] {
            let json = format!(r#"{{"inner":{json},"leaf":1}}"#);
            let outer = outer(&json);
            assert!(matches!(outer.inner, Field::Malformed), "{json}");
            assert_eq!(outer.leaf.json(), Some("1"), "reading goes on behind it");
        }
        for json in ["true", "1", r#""x""#, "{}", r#"{"a":1}"#] {
            let json = format!(r#"{{"list":{json}}}"#);
            assert!(matches!(outer(&json).list, Field::Malformed), "{json}");
        }
    }

    #[test]
    fn of_two_the_last_one_counts_and_nothing_of_the_first_is_left() {
        let outer = outer(r#"{"leaf":1,"inner":{"a":1,"b":1},"leaf":2,"inner":{"a":2}}"#);
        assert_eq!(outer.leaf.json(), Some("2"));
        let inner = outer.inner.value().expect("is an object");
        assert_eq!((inner.a.json(), inner.b.json()), (Some("2"), None));
    }

    #[test]
    fn bad_syntax_is_an_error_that_quotes_nothing() {
        for json in ["", "{", r#"{"secret" 1}"#, r#"{"inner":{"a":secret}}"#, "{} {}", r#"{"inner":1e400}"#] {
            let error = read(json, &mut Field::<Outer<'_>>::default()).expect_err(json).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn counts() {
        assert_eq!(leaf("[null]").count(), Field::Absent);
        for (json, count) in [("[0]", 0), ("[1]", 1), ("[2147483647]", 2_147_483_647)] {
            assert_eq!(leaf(json).count(), Field::Value(count));
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
            assert_eq!(leaf(json).count(), Field::Malformed, "{json}");
        }
    }

    #[test]
    fn texts() {
        assert_eq!(leaf("[null]").text(), Field::Absent);
        assert_eq!(leaf(r#"["stdio"]"#).text(), Field::Value("stdio".into()));
        assert_eq!(leaf(r#"["std\u0069o"]"#).text(), Field::Value("stdio".into()));
        assert_eq!(leaf(r#"[""]"#).text(), Field::Value("".into()));
        assert_eq!(leaf(r#"["\""]"#).text(), Field::Value("\"".into()));
        for json in ["[1]", "[[]]", "[{}]", "[true]", r#"["\ud800"]"#] {
            assert_eq!(leaf(json).text(), Field::Malformed, "{json}");
        }
    }
}
