//! Takes the place of the crate num, of which kubewarden-policy-sdk 0.17 uses one trait.
//!
//! The real crate exports this same trait from num-traits, and brings five others with big, complex and rational numbers, which take
//! 4 s to compile. `Cargo.toml` of the workspace puts this crate in place; delete both when the SDK depends on num-traits alone.

pub use num_traits::ToPrimitive;
