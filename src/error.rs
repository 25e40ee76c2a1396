//! What is wrong with a payload from the host. No text quotes the payload, which may hold secrets.

use std::fmt::{self, Debug, Display, Formatter};

use thiserror::Error;

/// Why a request cannot be validated. The host denies it with this text.
#[derive(Error)]
pub enum RequestError {
    /// The payload is not UTF-8.
    #[error("the payload is not UTF-8")]
    NotUtf8,
    /// The payload is not JSON; the text gives line and column.
    #[error("the payload is not JSON: {0}")]
    NotJson(String),
    /// A part of the payload, which is named, has to be an object and is not.
    #[error("{0} is not an object")]
    NotAnObject(&'static str),
    /// A part of the payload, which is named, has to be a string and is not.
    #[error("{0} is not a string")]
    NotAString(&'static str),
    /// A part of the payload, which is named, is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The settings are not those that `validate_settings` accepts.
    #[error("{0}")]
    Settings(SettingsError),
}

/// Why settings are refused. The text names the key.
#[derive(Error)]
pub enum SettingsError {
    /// They are not UTF-8.
    #[error("the settings are not UTF-8")]
    NotUtf8,
    /// They are not JSON; the text gives line and column.
    #[error("the settings are not JSON: {0}")]
    NotJson(String),
    /// They are JSON and no object.
    #[error("the settings are not an object")]
    NotAnObject,
    /// There is no setting of this name.
    #[error("unknown setting \"{key}\": the settings are {known}")]
    Unknown {
        /// The name.
        key: String,
        /// The names of all settings.
        known: String,
    },
    /// A setting has a value that it does not take.
    #[error("setting \"{key}\" must be {expected}")]
    Invalid {
        /// The name of the setting.
        key: String,
        /// What it takes.
        expected: String,
    },
}

// waPC wants `Debug` of an error. The derived one would be some kilobytes of the module and tell no more.

impl Debug for RequestError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, formatter)
    }
}

impl Debug for SettingsError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, formatter)
    }
}
