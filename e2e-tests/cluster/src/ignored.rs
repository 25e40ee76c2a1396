//! The error of a test whose precondition is missing.

use std::fmt;

/// A test cannot run because something that it needs is missing here. The test is reported as ignored with this reason,
/// neither as passed nor as failed.
#[derive(Clone, Debug)]
pub struct Ignored(
    /// The reason, for the person who runs the tests.
    pub String,
);

impl fmt::Display for Ignored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Ignored {}
