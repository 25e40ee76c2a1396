//! Reading fields that may be malformed: one malformed object must not fail the list or the watch that it is part of.

use mcp_scaling_rules::Field;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// A value of the expected type, or any other value.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Lenient<T> {
    /// The expected type.
    Valid(T),
    /// Any other type.
    Invalid(IgnoredAny),
}

impl<T> Lenient<T> {
    /// The value, if it has the expected type.
    pub(crate) fn valid(self) -> Option<T> {
        match self {
            Self::Valid(value) => Some(value),
            Self::Invalid(_) => None,
        }
    }
}

/// Reads a [`Field`]. Fails only where the input is no JSON. Needs `#[serde(default)]` for a field that is absent.
pub(crate) fn lenient<'de, T, D>(deserializer: D) -> Result<Field<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let value = Option::<Lenient<T>>::deserialize(deserializer)?;
    Ok(value.map_or(Field::Absent, |value| value.valid().map_or(Field::Malformed, Field::Value)))
}
