//! A field of an object that came from outside and was not validated.

/// A value of the wrong type or out of range. The API server is the one to refuse an object that holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A field of a JSON object. `null` counts as absent, as it does for the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// The value, or `None` where the field is absent.
    ///
    /// # Errors
    /// [`Malformed`] where the field is malformed.
    pub fn optional(self) -> Result<Option<T>, Malformed> {
        match self {
            Self::Absent => Ok(None),
            Self::Malformed => Err(Malformed),
            Self::Value(value) => Ok(Some(value)),
        }
    }

    /// The value, or `None` where the field is absent or malformed.
    pub fn value(self) -> Option<T> {
        self.optional().unwrap_or_default()
    }

    /// The same field, borrowed.
    pub fn as_ref(&self) -> Field<&T> {
        match self {
            Self::Absent => Field::Absent,
            Self::Malformed => Field::Malformed,
            Self::Value(value) => Field::Value(value),
        }
    }

    /// The field with its value converted, malformed where `convert` gives `None`.
    pub fn and_then<U>(self, convert: impl FnOnce(T) -> Option<U>) -> Field<U> {
        match self {
            Self::Absent => Field::Absent,
            Self::Malformed => Field::Malformed,
            Self::Value(value) => convert(value).map_or(Field::Malformed, Field::Value),
        }
    }
}

/// A number as a count of replicas: Kubernetes stores counts as `int32`, and a negative one is refused.
pub fn replica_count(number: i64) -> Option<u32> {
    i32::try_from(number).ok().and_then(|number| u32::try_from(number).ok())
}
