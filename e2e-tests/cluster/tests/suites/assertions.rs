//! Assertions whose failure tells what was expected and what was seen.

use std::fmt::Debug;

use anyhow::{Result, ensure};
use cluster_tests::ApiClient;

/// Fails if a value is not the expected one. `what` names the value.
pub(crate) fn expect_equal<T: Debug + PartialEq<U>, U: Debug>(what: &str, seen: T, expected: U) -> Result<()> {
    ensure!(seen == expected, "{what}: expected {expected:?}, got {seen:?}");
    Ok(())
}

/// Fails if no warning contains this text.
pub(crate) fn expect_warning(warnings: &[String], expected: &str) -> Result<()> {
    let has_warning = warnings.iter().any(|warning| warning.contains(expected));
    ensure!(has_warning, "expected a warning with {expected:?}, got {warnings:?}");
    Ok(())
}

/// Fails if the response has a warning.
pub(crate) fn expect_no_warning(warnings: &[String]) -> Result<()> {
    ensure!(warnings.is_empty(), "expected no warning, got {warnings:?}");
    Ok(())
}

/// Fails if a workload does not have this `spec.replicas`.
pub(crate) async fn expect_replicas(
    client: &ApiClient,
    resource: &str,
    namespace: &str,
    name: &str,
    expected: u64,
) -> Result<()> {
    let seen = client.replicas(resource, namespace, name).await?;
    expect_equal(&format!("spec.replicas of {resource} {namespace}/{name}"), seen, expected)
}
