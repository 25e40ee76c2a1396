//! Acts: makes the calls that the machine decides on.

pub mod driver;
mod publish;
mod scale;
pub mod status;
