//! Waiting for something to become true.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mcp_scaling_rules::ConditionReason;

use crate::requests::{ApiClient, status_and_reason};

/// How long to wait. A Lease that its holder did not release expires after 15 s, and a machine may be slow.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

const INTERVAL: Duration = Duration::from_millis(100);

/// Waits until `read` returns the expected value; an error of `read` counts as another value.
///
/// # Errors
/// If it does not within [`TIMEOUT`]; the error tells the value or the error that was seen last.
pub async fn wait_for_value<T: Debug + PartialEq, F: Future<Output = Result<T>>>(
    what: &str,
    expected: &T,
    read: impl Fn() -> F,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let seen = read().await;
        if seen.as_ref().is_ok_and(|seen| seen == expected) {
            return Ok(());
        }
        if begun.elapsed() > TIMEOUT {
            let message = format!("{what}: expected {expected:?} within {} s", TIMEOUT.as_secs());
            let seen = seen.with_context(|| message.clone())?;
            bail!("{message}, last seen {seen:?}");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits until a condition holds, for which no value can be shown; an error counts as false.
///
/// # Errors
/// If it does not hold within [`TIMEOUT`].
pub async fn wait_until<F: Future<Output = Result<bool>>>(what: &str, holds: impl Fn() -> F) -> Result<()> {
    wait_for_value(what, &true, holds).await
}

/// Waits until an `MCPServer` has the condition that belongs to this reason.
///
/// # Errors
/// As [`wait_for_value`].
pub async fn wait_for_condition(
    client: &ApiClient,
    namespace: &str,
    name: &str,
    expected: ConditionReason,
) -> Result<()> {
    let type_ = expected.condition().type_.name();
    let what = format!("condition {type_} of MCPServer {namespace}/{name}");
    wait_for_value(&what, &status_and_reason(expected), || client.condition(namespace, name, type_)).await
}

/// Waits until a workload has this `spec.replicas`.
///
/// # Errors
/// As [`wait_for_value`].
pub async fn wait_for_replicas(
    client: &ApiClient,
    resource: &str,
    namespace: &str,
    name: &str,
    expected: u64,
) -> Result<()> {
    let what = format!("spec.replicas of {resource} {namespace}/{name}");
    wait_for_value(&what, &expected, || client.replicas(resource, namespace, name)).await
}
