//! Takes the place of the crate oci-spec, which kubewarden-policy-sdk 0.17 depends on without a feature to leave it out.
//!
//! The SDK names three of its types in functions that ask a registry for an image. This policy never calls them, and the real
//! crate brings 22 others, such as regex and derive_builder: a fifth of the time of `make run`. The types here have no values,
//! so that calling those functions can only end in their error for an unexpected response.
//! `Cargo.toml` of the workspace puts this crate in place; delete both when the SDK has such a feature.

/// The types of the OCI image specification.
pub mod image {
    use serde::{Deserialize, Serialize};

    /// The manifest of an image.
    #[derive(Clone, Debug, Deserialize, Serialize)]
    pub enum ImageManifest {}

    /// The manifest of an image for several platforms.
    #[derive(Clone, Debug, Deserialize, Serialize)]
    pub enum ImageIndex {}

    /// The configuration of an image.
    #[derive(Clone, Debug, Deserialize, Serialize)]
    pub enum ImageConfiguration {}
}
