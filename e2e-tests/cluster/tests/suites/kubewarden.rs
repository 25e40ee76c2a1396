//! Kubewarden's own controller and audit scanner with the policies of this repository.

use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use cluster_tests::accounts::OPERATOR;
use cluster_tests::kubewarden::AuditResult;
use cluster_tests::objects::{deployment, statefulset};
use cluster_tests::requests::text;
use cluster_tests::setup::Setup;
use cluster_tests::toolhive_crds::crd_path;
use cluster_tests::toolhive_crds::{NEWEST, WITHOUT_COUNTS};
use cluster_tests::webhook::{read_policy, webhook_configuration};
use cluster_tests::{Ignored, Kubewarden, TestCluster, ToolHiveCrds};
use mcp_scaling_rules::kind::GROUP;
use serde_json::{Value, json};

use crate::assertions::expect_equal;
use crate::chart::render_chart_for;
use crate::harness::{Test, suite};

const SETUP: Setup = Setup { webhook: false, reconciler: false, crds: Some(NEWEST) };
/// A release of ToolHive that serves `v1alpha1` only.
const ONLY_V1ALPHA1: Setup = Setup { crds: Some(WITHOUT_COUNTS), ..SETUP };

const MANIFESTS: [&str; 4] =
    ["mcpserver-scaling", "mcpserver-scaling-autoscalers", "mcpserver-scaling-guard", "mcpserver-scaling-monitor"];

/// The values with which the chart renders all four policies.
const ALL_POLICIES: [&str; 2] = ["guard.enabled=true", "monitor.enabled=true"];

pub(crate) fn tests() -> Vec<Test> {
    [
        suite!(
            "kubewarden",
            SETUP,
            [
                makes_webhooks_of_manifests,
                makes_webhooks_of_chart,
                copies_only_match_expressions_of_namespace_selector,
                rejects_change_from_protect_to_monitor,
                reports_without_keda,
                reports_with_keda_and_both_versions,
                reports_with_v1beta1_only,
            ]
        ),
        suite!("kubewarden", ONLY_V1ALPHA1, [reports_with_v1alpha1_only]),
    ]
    .concat()
}

/// Kubewarden, which is looked for once.
fn kubewarden() -> Result<&'static Kubewarden> {
    static FOUND: OnceLock<Result<Kubewarden, Ignored>> = OnceLock::new();
    if FOUND.get().is_none() {
        let found = match Kubewarden::find() {
            Ok(kubewarden) => Ok(kubewarden),
            Err(error) => Err(error.downcast::<Ignored>()?),
        };
        let _ = FOUND.set(found);
    }
    let found = FOUND.get().context("Kubewarden was not looked for")?;
    Ok(found.as_ref().map_err(Ignored::clone)?)
}

/// Installs Kubewarden and these policies. Returns the webhook configurations that its controller makes of them.
async fn activate(cluster: &mut TestCluster, policies: &[Value]) -> Result<Vec<Value>> {
    cluster.require_kubewarden(kubewarden()?).await?;
    cluster.activate_policies(policies).await
}

fn manifests() -> Result<Vec<Value>> {
    MANIFESTS.into_iter().map(read_policy).collect()
}

/// The policies among the objects that the chart renders for this cluster.
async fn policies_of_chart(cluster: &TestCluster, values: &[&str]) -> Result<Vec<Value>> {
    let group = cluster.admin.get_path(&format!("/apis/{GROUP}")).await?.success()?.body;
    let versions = group["versions"].as_array().into_iter().flatten();
    let served: Vec<String> = versions.map(|version| format!("{}/MCPServer", text(&version["groupVersion"]))).collect();
    ensure!(!served.is_empty(), "expected the cluster to serve ToolHive's kinds, it serves none");
    let objects = render_chart_for(&served, values)?;
    Ok(objects.into_iter().filter(|object| object["kind"] == "ClusterAdmissionPolicy").collect())
}

/// The members of a webhook that come from the policy, or that this repository relies on.
fn expect_same_webhook(seen: &Value, policy: &Value) -> Result<()> {
    let expected = webhook_configuration(policy);
    let name = text(&expected["metadata"]["name"]);
    expect_equal(&format!("the kind of {name}"), &seen["kind"], &expected["kind"])?;
    let (seen, expected) = (&seen["webhooks"][0], &expected["webhooks"][0]);
    for (member, value) in expected.as_object().into_iter().flatten() {
        let mut seen = seen[member].clone();
        // The API server adds the default scope.
        for rule in seen.as_array_mut().into_iter().flatten().filter(|rule| rule["operations"].is_array()) {
            rule.as_object_mut().and_then(|rule| rule.remove("scope"));
        }
        expect_equal(&format!("{member} of the webhook {name}"), &seen, value)?;
    }
    // The policies are written for one version of a kind, and apply to all.
    expect_equal(&format!("matchPolicy of the webhook {name}"), &seen["matchPolicy"], "Equivalent")
}

async fn makes_webhooks_of_manifests(cluster: &mut TestCluster) -> Result<()> {
    let policies = manifests()?;
    let made = activate(cluster, &policies).await?;
    for (made, policy) in made.iter().zip(&policies) {
        expect_same_webhook(made, policy)?;
    }
    // What the documentation says of the policy that corrects counts.
    let webhook = &made[0]["webhooks"][0];
    expect_equal("its failurePolicy", &webhook["failurePolicy"], "Fail")?;
    expect_equal("its timeoutSeconds", &webhook["timeoutSeconds"], 10)?;
    let resources = webhook["rules"].as_array().into_iter().flatten().map(|rule| rule["resources"].clone());
    let expected = json!([
        ["mcpservers", "virtualmcpservers", "mcpremoteproxies"],
        ["deployments", "statefulsets"],
        ["deployments/scale", "statefulsets/scale"],
    ]);
    expect_equal("its resources", Value::Array(resources.collect()), expected)?;
    for autoscalers_and_later in &made[1..] {
        let webhook = &autoscalers_and_later["webhooks"][0];
        expect_equal(&format!("failurePolicy of {}", webhook["name"]), &webhook["failurePolicy"], "Ignore")?;
    }
    Ok(())
}

async fn makes_webhooks_of_chart(cluster: &mut TestCluster) -> Result<()> {
    let values = [
        &ALL_POLICIES[..],
        &[
            "policy.namespaceSelector.matchExpressions[0].key=mcp-scaling",
            "policy.namespaceSelector.matchExpressions[0].operator=In",
            "policy.namespaceSelector.matchExpressions[0].values[0]=enforced",
        ],
    ];
    let policies = policies_of_chart(cluster, &values.concat()).await?;
    expect_equal("the policies of the chart", policies.len(), MANIFESTS.len())?;
    let made = activate(cluster, &policies).await?;
    for (made, policy) in made.iter().zip(&policies) {
        expect_same_webhook(made, policy)?;
        let expected = json!([
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kubewarden"]},
            {"key": "mcp-scaling", "operator": "In", "values": ["enforced"]},
        ]);
        let seen = &made["webhooks"][0]["namespaceSelector"]["matchExpressions"];
        expect_equal("the namespaces of the webhook", seen, &expected)?;
    }
    Ok(())
}

/// The reason why the chart refuses `matchLabels`. A release of Kubewarden in which this fails makes that needless.
async fn copies_only_match_expressions_of_namespace_selector(cluster: &mut TestCluster) -> Result<()> {
    let mut policy = read_policy("mcpserver-scaling")?;
    policy["spec"]["namespaceSelector"] = json!({"matchLabels": {"mcp-scaling": "enforced"}});
    let made = activate(cluster, &[policy]).await?;
    let expected = json!({"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kubewarden"]},
    ]});
    expect_equal("namespaceSelector of the webhook", &made[0]["webhooks"][0]["namespaceSelector"], &expected)
}

async fn rejects_change_from_protect_to_monitor(cluster: &mut TestCluster) -> Result<()> {
    let mut policy = read_policy("mcpserver-scaling")?;
    activate(cluster, &[policy.clone()]).await?;
    policy["spec"]["mode"] = "monitor".into();
    let error = cluster.activate_policies(&[policy]).await.err().context("the controller accepts the change")?;
    let (message, expected) = (format!("{error:#}"), "field cannot transition from protect to monitor");
    ensure!(message.contains(expected), "expected {expected:?}, got {message}");
    Ok(())
}

/// Creates two servers with their workloads: "stdio" has 3 replicas and breaks the rules, "sse" has 1 and does not. Returns
/// whether this release has the field that declares the 3 replicas.
async fn create_audited_servers(cluster: &TestCluster, namespace: &str) -> Result<bool> {
    cluster.create_namespace(namespace).await?;
    let operator = cluster.client_of(OPERATOR).await?;
    let mut declares = false;
    for (name, spec, count) in
        [("stdio", json!({"transport": "stdio", "replicas": 3}), 3), ("sse", json!({"transport": "sse"}), 1)]
    {
        let server = cluster.create_mcp_server(namespace, name, spec).await?.body;
        declares |= server["spec"]["replicas"] == 3;
        operator.create("deployments", namespace, &deployment(&server, count)).await?.success()?;
        operator.create("statefulsets", namespace, &statefulset(name, name, count)).await?.success()?;
    }
    Ok(declares)
}

/// Lets the audit scanner evaluate a namespace with the monitor and the guard among these policies. Returns kind and name of
/// each object with the policy, where they passed and where they failed.
async fn audit(cluster: &mut TestCluster, namespace: &str, policies: Vec<Value>) -> Result<[Vec<String>; 2]> {
    activate(cluster, &policies).await?;
    let results = cluster.audit(kubewarden()?, namespace).await?;
    let with = |expected: &str| {
        let results = results.iter().filter(|result| result.result == expected);
        results.map(|AuditResult { kind, name, policy, .. }| format!("{kind} {name}: {policy}")).collect()
    };
    let errors: Vec<&AuditResult> = results.iter().filter(|result| result.result == "error").collect();
    ensure!(errors.is_empty(), "expected no error in the reports, got {errors:?}");
    Ok([with("pass"), with("fail")])
}

/// What the reports say of the workloads, in every cluster.
fn expect_reports_of_workloads([passed, failed]: &[Vec<String>; 2]) -> Result<()> {
    let mut expected = [Vec::new(), Vec::new()];
    for kind in ["Deployment", "StatefulSet"] {
        for policy in ["mcpserver-scaling-guard", "mcpserver-scaling-monitor"] {
            expected[0].push(format!("{kind} sse: {policy}"));
            expected[1].push(format!("{kind} stdio: {policy}"));
        }
    }
    let is_of_workload = |report: &&String| !report.starts_with("MCPServer ");
    let of_workloads = [passed, failed].map(|list| list.iter().filter(is_of_workload).cloned().collect::<Vec<_>>());
    expect_equal("what passes and what fails in the reports of workloads", of_workloads, expected)
}

/// What the reports say of the `MCPServer`s: the guard lets a declared count be, the monitor does not.
fn expect_reports_of_servers([passed, failed]: &[Vec<String>; 2], declares: bool) -> Result<()> {
    let of_servers =
        |list: &[String]| list.iter().filter(|report| report.starts_with("MCPServer ")).cloned().collect::<Vec<_>>();
    let mut expected_to_pass = vec![
        "MCPServer sse: mcpserver-scaling-guard",
        "MCPServer sse: mcpserver-scaling-monitor",
        "MCPServer stdio: mcpserver-scaling-guard",
    ];
    let mut expected_to_fail = Vec::new();
    let list = if declares { &mut expected_to_fail } else { &mut expected_to_pass };
    list.push("MCPServer stdio: mcpserver-scaling-monitor");
    expect_equal("the reports of MCPServers that pass", of_servers(passed), expected_to_pass)?;
    expect_equal("the reports of MCPServers that fail", of_servers(failed), expected_to_fail)
}

/// Audits a namespace with the plain manifests and with the chart for this cluster.
async fn expect_reports(cluster: &mut TestCluster, namespace: &str) -> Result<()> {
    let declares = create_audited_servers(cluster, namespace).await?;
    let reports = audit(cluster, namespace, manifests()?).await?;
    expect_reports_of_workloads(&reports)?;
    let of_servers = reports.concat().into_iter().filter(|report| report.starts_with("MCPServer "));
    expect_equal("reports of MCPServers with the plain manifests", of_servers.count(), 0)?;
    let policies = policies_of_chart(cluster, &ALL_POLICIES).await?;
    let reports = audit(cluster, namespace, policies).await?;
    expect_reports_of_workloads(&reports)?;
    expect_reports_of_servers(&reports, declares)
}

async fn reports_without_keda(cluster: &mut TestCluster) -> Result<()> {
    expect_reports(cluster, "audit-without-keda").await?;
    // The reason why monitor and guard have no rules for autoscalers.
    let mut policy = read_policy("mcpserver-scaling-monitor")?;
    policy["metadata"]["name"] = "with-keda".into();
    let keda = json!({
        "apiGroups": ["keda.sh"], "apiVersions": ["v1alpha1"], "resources": ["scaledobjects"], "operations": ["CREATE"],
    });
    policy["spec"]["rules"].as_array_mut().context("the policy has no rules")?.push(keda);
    let [passed, failed] = audit(cluster, "audit-without-keda", vec![policy]).await?;
    let of_policy = passed.iter().chain(&failed).filter(|report| report.ends_with("with-keda")).count();
    expect_equal("reports of a policy with a rule for KEDA in a cluster without it", of_policy, 0)
}

async fn reports_with_v1alpha1_only(cluster: &mut TestCluster) -> Result<()> {
    expect_reports(cluster, "audit-v1alpha1").await
}

/// As a later release of ToolHive may be.
async fn reports_with_v1beta1_only(cluster: &mut TestCluster) -> Result<()> {
    cluster.require_crds(&ToolHiveCrds::find(NEWEST)?.without_v1alpha1()).await?;
    expect_reports(cluster, "audit-v1beta1").await
}

async fn reports_with_keda_and_both_versions(cluster: &mut TestCluster) -> Result<()> {
    cluster.install_crd(&scaled_object_definition()).await?;
    expect_reports(cluster, "audit-everything").await?;
    cluster.admin.delete_path(&crd_path(&scaled_object_definition())).await?.success()?;
    Ok(())
}

/// KEDA's definition of `ScaledObject`, with any fields.
fn scaled_object_definition() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {
            "group": "keda.sh", "scope": "Namespaced",
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": schema}],
            "names": {
                "kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject",
                "listKind": "ScaledObjectList",
            },
        },
    })
}
