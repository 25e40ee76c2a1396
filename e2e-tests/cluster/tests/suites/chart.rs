//! What Helm renders from the chart.

use std::process::Command;

use anyhow::{Context, Result, bail};
use cluster_tests::inputs::{helm, workspace_root};
use serde_json::Value;

/// The objects that Helm renders with these values, for a cluster of which nothing is known.
///
/// # Errors
/// If Helm is not installed or refuses the values.
pub(crate) fn render_chart(values: &[&str]) -> Result<Vec<Value>> {
    render_chart_for(&[], values)
}

/// The objects that Helm renders with these values for a cluster that serves these kinds, each as `group/version/Kind`.
///
/// # Errors
/// As [`render_chart`].
pub(crate) fn render_chart_for(served: &[String], values: &[&str]) -> Result<Vec<Value>> {
    let helm = helm()?;
    let mut command = Command::new(&helm);
    let chart = workspace_root().join("deploy/chart");
    command.args(["template", "mcpserver-scaling"]).arg(chart).args(["--namespace", "toolhive-system"]);
    for kind in served {
        command.args(["--api-versions", kind]);
    }
    for value in values {
        command.args(["--set", value]);
    }
    let output = command.output().with_context(|| format!("cannot run {}", helm.display()))?;
    if !output.status.success() {
        bail!("helm template with {values:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout)?)?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}
