//! The plain manifests, and the parts of other files that repeat them: what Helm renders from the chart.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::files::{Files, root};

/// The line of a manifest after which all is written.
const WRITTEN: &str = "# `make generate` writes the rest from the chart.";

/// How a line begins that says which release of the chart an object is from.
const TRACES: [&str; 5] = [
    "# Source: ",
    "app.kubernetes.io/instance: ",
    "app.kubernetes.io/managed-by: ",
    "app.kubernetes.io/version: ",
    "helm.sh/chart: ",
];

/// A manifest with its objects, by kind and name.
type Manifest = (&'static str, &'static [(&'static str, &'static str)]);

const RECONCILER: &str = "mcpserver-scaling-reconciler";
const LEASE: &str = "mcpserver-scaling-reconciler-lease";
const POLICY_SERVER: &str = "mcpserver-scaling-policy";
const AUTOSCALERS: &str = "mcpserver-scaling-policy-autoscalers";
const AUDIT: &str = "mcpserver-scaling-audit";
const POLICY: &str = "ClusterAdmissionPolicy";

const POLICY_SERVER_OBJECTS: &[(&str, &str)] = &[("ClusterRole", POLICY_SERVER), ("ClusterRoleBinding", POLICY_SERVER)];

/// The manifests of what the chart renders with policy, guard and monitor.
const MANIFESTS: [Manifest; 7] = [
    (
        "deploy/reconciler.yaml",
        &[
            ("ServiceAccount", RECONCILER),
            ("ClusterRole", RECONCILER),
            ("ClusterRoleBinding", RECONCILER),
            ("Role", LEASE),
            ("RoleBinding", LEASE),
            ("ValidatingAdmissionPolicy", RECONCILER),
            ("ValidatingAdmissionPolicyBinding", RECONCILER),
            ("Deployment", RECONCILER),
        ],
    ),
    ("deploy/policy-server-rbac.yaml", POLICY_SERVER_OBJECTS),
    ("deploy/audit-scanner-rbac.yaml", &[("ClusterRole", AUDIT), ("ClusterRoleBinding", AUDIT)]),
    ("deploy/kubewarden/mcpserver-scaling.yaml", &[(POLICY, "mcpserver-scaling")]),
    ("deploy/kubewarden/mcpserver-scaling-autoscalers.yaml", &[(POLICY, "mcpserver-scaling-autoscalers")]),
    ("deploy/kubewarden/mcpserver-scaling-guard.yaml", &[(POLICY, "mcpserver-scaling-guard")]),
    ("deploy/kubewarden/mcpserver-scaling-monitor.yaml", &[(POLICY, "mcpserver-scaling-monitor")]),
];

/// Writes the manifests, and what metadata.yml and usage.md repeat of them.
///
/// # Errors
/// If Helm does not render the chart with an object, or a file does not have the lines around a part.
pub(crate) fn write(files: &mut Files, helm: &str) -> Result<()> {
    let chart = Chart::render(helm, &["guard.enabled=true", "monitor.enabled=true"])?;
    for (path, objects) in MANIFESTS {
        files.replace_rest(path, WRITTEN, &chart.manifest(objects)?)?;
    }
    let with_right = Chart::render(helm, &["policy.settings.readAutoscalers=true"])?;
    let objects = [("ClusterRole", AUTOSCALERS), ("ClusterRoleBinding", AUTOSCALERS)];
    files.replace_rest("deploy/policy-server-autoscalers-rbac.yaml", WRITTEN, &with_right.manifest(&objects)?)?;

    let policy = chart.object(POLICY, "mcpserver-scaling")?;
    let of_autoscalers = block(chart.object(POLICY, "mcpserver-scaling-autoscalers")?, "  rules:")?;
    let rules = format!("{}{of_autoscalers}", block(policy, "  rules:")?);
    files.replace(
        "metadata.yml",
        "make generate writes rules and",
        "mutating:",
        &format!("rules:\n{}", dedent(&rules)),
    )?;
    let resources = dedent(&block(policy, "  contextAwareResources:")?);
    files.replace("metadata.yml", "contextAwareResources:\n", "hostCapabilities:", &resources)?;

    let right = block(with_right.object("ClusterRole", AUTOSCALERS)?, "rules:")?;
    for (part, yaml) in [
        ("<!-- generated: right to read custom resources -->", chart.manifest(POLICY_SERVER_OBJECTS)?),
        ("<!-- generated: right to read autoscalers -->", right),
        ("<!-- generated: policy -->", format!("{policy}\n")),
    ] {
        let yaml = without_comments(&yaml);
        files.replace("usage.md", part, "<!-- end -->", &format!("\n```yaml\n{yaml}```\n\n"))?;
    }
    Ok(())
}

/// The objects that Helm renders, as text.
struct Chart(Vec<String>);

impl Chart {
    fn render(helm: &str, values: &[&str]) -> Result<Self> {
        let mut command = Command::new(helm);
        command.current_dir(root()).args([
            "template",
            "mcpserver-scaling",
            "deploy/chart",
            "--namespace",
            "toolhive-system",
        ]);
        let output = command.args(values.iter().flat_map(|value| ["--set", *value])).output();
        let output = output.with_context(|| format!("cannot run {helm}"))?;
        if !output.status.success() {
            bail!("{helm} cannot render the chart: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Self(String::from_utf8(output.stdout)?.split("---\n").map(without_traces_of_helm).collect()))
    }

    fn object(&self, kind: &str, name: &str) -> Result<&str> {
        let (kind_line, name_line) = (format!("kind: {kind}"), format!("  name: {name}"));
        let is_wanted = |object: &&String| {
            object.lines().find(|line| line.starts_with("kind: ")) == Some(kind_line.as_str())
                && object.lines().find(|line| line.starts_with("  name: ")) == Some(name_line.as_str())
        };
        let object = self.0.iter().find(is_wanted);
        object.map(String::as_str).with_context(|| format!("the chart renders no {kind} {name}"))
    }

    fn manifest(&self, objects: &[(&str, &str)]) -> Result<String> {
        let objects: Result<Vec<&str>> = objects.iter().map(|(kind, name)| self.object(kind, name)).collect();
        Ok(format!("{}\n", objects?.join("\n---\n")))
    }
}

/// An object without the comments and labels that say which release of the chart it is from.
fn without_traces_of_helm(object: &str) -> String {
    let is_trace = |line: &&str| {
        let line = line.trim_start();
        TRACES.iter().any(|trace| line.starts_with(trace))
    };
    let lines: Vec<&str> = object.trim_end().lines().filter(|line| !is_trace(line)).collect();
    lines.join("\n")
}

fn without_comments(yaml: &str) -> String {
    let lines = yaml.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The lines below the line `key` that are indented more than it is.
fn block(object: &str, key: &str) -> Result<String> {
    let indentation = " ".repeat(key.len() - key.trim_start().len() + 2);
    let mut lines = object.lines().skip_while(|line| *line != key);
    lines.next().with_context(|| format!("the chart renders an object without {key}"))?;
    Ok(lines.take_while(|line| line.starts_with(&indentation)).map(|line| format!("{line}\n")).collect())
}

/// The lines with an indentation that is less by two.
fn dedent(lines: &str) -> String {
    lines.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect()
}
