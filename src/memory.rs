//! What the guest does with memory that it no longer needs.

/// Drops the value. In the guest it is never freed: a fresh instance serves each request, and freeing the objects of a changed
/// Deployment would be a fifth of the work.
pub(crate) fn leave<T>(value: T) {
    if cfg!(target_family = "wasm") {
        std::mem::forget(value);
    }
}
