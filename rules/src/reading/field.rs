//! A field of an object that came from outside and was not validated.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;

/// A value of the wrong type or out of range. The API server is the one to refuse an object that holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("malformed")
    }
}

impl std::error::Error for Malformed {}

impl Error for Malformed {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// A field of a JSON object. `null` counts as absent, as it does for the API server.
///
/// Deserializing one fails for bad syntax only. A value that `T` does not take is [`Field::Malformed`], so that it does not
/// make the object around it unreadable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Not there, or `null`.
    #[default]
    Absent,
    /// There, with the wrong type or out of range.
    Malformed,
    /// There and well-formed.
    Value(T),
}

impl<T> Field<T> {
    /// The value, or `None` if the field is absent.
    ///
    /// # Errors
    /// [`Malformed`] if the field is malformed.
    pub fn optional(self) -> Result<Option<T>, Malformed> {
        match self {
            Self::Absent => Ok(None),
            Self::Malformed => Err(Malformed),
            Self::Value(value) => Ok(Some(value)),
        }
    }

    /// The value, or `None` if the field is absent or malformed.
    pub fn value(self) -> Option<T> {
        self.optional().unwrap_or_default()
    }

    /// The value, borrowed, or `None` if the field is absent or malformed.
    pub fn get(&self) -> Option<&T> {
        self.as_ref().value()
    }

    /// The same field, borrowed.
    pub fn as_ref(&self) -> Field<&T> {
        match self {
            Self::Absent => Field::Absent,
            Self::Malformed => Field::Malformed,
            Self::Value(value) => Field::Value(value),
        }
    }

    /// The field with its value converted, malformed if `convert` gives `None`.
    pub fn and_then<U>(self, convert: impl FnOnce(T) -> Option<U>) -> Field<U> {
        match self {
            Self::Absent => Field::Absent,
            Self::Malformed => Field::Malformed,
            Self::Value(value) => convert(value).map_or(Field::Malformed, Field::Value),
        }
    }
}

impl Field<i64> {
    /// The number as a count of replicas.
    pub fn count(self) -> Field<u32> {
        self.and_then(replica_count)
    }
}

/// A number as a count of replicas: Kubernetes stores counts as `int32`, and a negative one is refused.
pub fn replica_count(number: i64) -> Option<u32> {
    i32::try_from(number).ok().and_then(|number| u32::try_from(number).ok())
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> FieldVisitor<T> {
    fn read<D: Deserializer<'de>>(deserializer: D) -> Field<T> {
        T::deserialize(deserializer).map_or(Field::Malformed, Field::Value)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Field::Absent)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Self::read(IntoDeserializer::<Malformed>::into_deserializer(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Self::read(IntoDeserializer::<Malformed>::into_deserializer(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Self::read(IntoDeserializer::<Malformed>::into_deserializer(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Self::read(IntoDeserializer::<Malformed>::into_deserializer(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Self::read(IntoDeserializer::<Malformed>::into_deserializer(value)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut is_read = false;
        match T::deserialize(MapAccessDeserializer::new(Noted { access: &mut map, is_read: &mut is_read })) {
            Ok(value) => Ok(Field::Value(value)),
            Err(error) if is_read => Err(error),
            Err(_) => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Field::Malformed)
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut is_read = false;
        match T::deserialize(List(Noted { access: &mut seq, is_read: &mut is_read })) {
            Ok(value) => Ok(Field::Value(value)),
            Err(error) if is_read => Err(error),
            Err(_) => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Field::Malformed)
            }
        }
    }
}

/// Access to an object or a list that notes whether any of it was read. An error before that says that `T` takes neither; one
/// after it is about what was read, and reading cannot go on.
struct Noted<'r, A> {
    access: A,
    is_read: &'r mut bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Noted<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        *self.is_read = true;
        self.access.next_key_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.access.next_value_seed(seed)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Noted<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        *self.is_read = true;
        self.access.next_element_seed(seed)
    }
}

/// Deserializes a list for what is a list. serde's derived structs would take one for their fields in order.
struct List<A>(A);

impl<'de, A: SeqAccess<'de>> Deserializer<'de> for List<A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        Err(Error::invalid_type(Unexpected::Seq, &visitor))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_seq(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}
