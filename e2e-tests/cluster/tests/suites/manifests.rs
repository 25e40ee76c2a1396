//! The manifests in `deploy/` and what the chart renders: the API server accepts all of it with strict validation of
//! fields. The suite `kubewarden` does this for Kubewarden's policies.

use std::fs;

use anyhow::{Context, Result, ensure};
use cluster_tests::TestCluster;
use cluster_tests::crds::platform_definitions;
use cluster_tests::inputs::workspace_root;
use cluster_tests::manifests::read_manifest;
use cluster_tests::setup::Setup;
use serde_json::{Value, json};

use crate::assertions::expect_equal;
use crate::chart::render_chart;
use crate::harness::{Test, suite};

const SETUP: Setup = Setup { webhook: false, reconciler: false, crds: None };

/// The manifests besides those for Kubewarden.
const ROOT: [&str; 3] = ["deploy/reconciler.yaml", "deploy/policy-server-rbac.yaml", "deploy/audit-scanner-rbac.yaml"];

/// The manifest with the right that the setting `readAutoscalers` needs.
const AUTOSCALERS: &str = "deploy/policy-server-autoscalers-rbac.yaml";

/// Values that enable everything the chart can render, with settings that differ from the defaults.
const EVERYTHING: [&str; 12] = [
    "guard.enabled=true",
    "monitor.enabled=true",
    "serviceMonitor.enabled=true",
    "prometheusRule.enabled=true",
    "dashboard.enabled=true",
    "reconciler.replicas=2",
    "reconciler.dryRun=true",
    "reconciler.priorityClassName=system-cluster-critical",
    "policy.settings.stdioReplicas=reject",
    "policy.settings.readAutoscalers=true",
    "policy.namespaceSelector.matchExpressions[0].key=mcp-scaling",
    "policy.namespaceSelector.matchExpressions[0].operator=Exists",
];

/// The beginning of the names of the policy server's ClusterRoles.
const ROLE: &str = "mcpserver-scaling-policy";

pub(crate) fn tests() -> Vec<Test> {
    suite!(
        "manifests",
        SETUP,
        [
            accepts_plain_manifests,
            accepts_chart_and_rejects_wrong_values,
            grants_the_right_to_read_autoscalers_only_where_it_is_used,
            follows_ranchers_registry_and_the_ports_of_the_api_server,
            admits_reconciler_pod_under_restricted_profile,
            accepts_cel_policy_of_documentation,
        ]
    )
}

async fn accepts_plain_manifests(cluster: &mut TestCluster) -> Result<()> {
    install_platform_crds(cluster).await?;
    for file in ROOT.into_iter().chain([AUTOSCALERS]) {
        for object in read_manifest(file)? {
            cluster.apply_as_dry_run(&object).await.with_context(|| file)?;
        }
    }
    Ok(())
}

async fn accepts_chart_and_rejects_wrong_values(cluster: &mut TestCluster) -> Result<()> {
    install_platform_crds(cluster).await?;
    let digest = format!("policy.digest=sha256:{}", "0".repeat(64));
    for (values, expected) in [
        (&[][..], 14),
        (&EVERYTHING, 24),
        (&["reconciler.watchNamespace=toolhive-system", "networkPolicy.enabled=false", digest.as_str()], 13),
        (&["reconciler.enabled=false"], 4),
        (&["reconciler.enabled=false", "policy.autoscalerWarnings=false"], 3),
        (&["policy.enabled=false"], 10),
        (&["policy.enabled=false", "reconciler.admissionPolicy=false"], 8),
    ] {
        let objects = render_chart(values)?;
        expect_equal(&format!("objects that the chart renders with {values:?}"), objects.len(), expected)?;
        for object in objects.iter().filter(|object| object["kind"] != "ClusterAdmissionPolicy") {
            cluster.apply_as_dry_run(object).await.with_context(|| format!("the chart with {values:?}"))?;
        }
    }
    // Kubewarden rejects a request that a policy which is not mutating wants to change.
    let changing = ["policy.settings.corrections=apply", "policy.settings.terminationGracePeriodSeconds=60"];
    let objects = render_chart(&[&["guard.enabled=true", "monitor.enabled=true"][..], &changing].concat())?;
    let names = ["mcpserver-scaling-guard", "mcpserver-scaling-monitor"];
    for policy in objects.iter().filter(|object| names.iter().any(|name| object["metadata"]["name"] == *name)) {
        let (name, settings) = (&policy["metadata"]["name"], &policy["spec"]["settings"]);
        expect_equal(&format!("corrections of {name}"), &settings["corrections"], "reject")?;
        let period = &settings["terminationGracePeriodSeconds"];
        expect_equal(&format!("terminationGracePeriodSeconds of {name}"), period, 60)?;
    }
    let objects = render_chart(&["guard.enabled=true", "policy.settings.stdioReplicas=warn"])?;
    let guard = objects.iter().find(|object| object["metadata"]["name"] == "mcpserver-scaling-guard");
    let replicas = &guard.context("there is no guard")?["spec"]["settings"]["stdioReplicas"];
    expect_equal("stdioReplicas of the guard, which refuses nothing that the policy only warns of", replicas, "warn")?;
    for wrong in [
        "policy.settings.stdioReplicas=no",
        "policy.settings.unknown=1",
        "reconciler.replicas=-1",
        "policy.digest=latest",
        "reconciler.coupleZero=true,reconciler.counts=none",
        "policy.namespaceSelector.matchExpressions[0].key=mcp-scaling",
        "unknown=1",
    ] {
        ensure!(
            render_chart(&[wrong]).is_err(),
            "expected the chart's values schema to reject {wrong}, it accepted it"
        );
    }
    let labels = "policy.namespaceSelector.matchLabels.mcp-scaling=enforced";
    let error = render_chart(&[labels]).err().with_context(|| format!("the chart accepts {labels}"))?;
    let (message, reason) = (format!("{error:#}"), "controller ignores matchLabels");
    ensure!(message.contains(reason), "expected the chart to say of {labels}: {reason:?}, got {message}");
    Ok(())
}

async fn grants_the_right_to_read_autoscalers_only_where_it_is_used(_: &mut TestCluster) -> Result<()> {
    let rules_of = |objects: &[Value]| {
        let roles = objects.iter().filter(|object| object["kind"] == "ClusterRole");
        let of_policy =
            roles.filter(|role| role["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(ROLE)));
        of_policy.flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default()).collect::<Vec<Value>>()
    };
    let plain = rules_of(&read_manifest("deploy/policy-server-rbac.yaml")?);
    let with_autoscalers = [plain.clone(), rules_of(&read_manifest(AUTOSCALERS)?)].concat();
    ensure!(with_autoscalers.len() == plain.len() + 1, "expected {AUTOSCALERS} to have one rule");
    for (values, expected) in [
        (&[][..], &plain),
        (&["policy.settings.readAutoscalers=false"], &plain),
        (&["policy.settings.readAutoscalers=true"], &with_autoscalers),
    ] {
        expect_equal(
            &format!("rights of the policy server with {values:?}"),
            &rules_of(&render_chart(values)?),
            expected,
        )?;
    }
    Ok(())
}

async fn follows_ranchers_registry_and_the_ports_of_the_api_server(_: &mut TestCluster) -> Result<()> {
    let registry = "global.cattle.systemDefaultRegistry=registry.example.com:5000";
    let objects = render_chart(&[registry, "networkPolicy.apiServerPorts={443,16443}"])?;
    let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind).context(format!("no {kind}"));
    let module = find("ClusterAdmissionPolicy")?["spec"]["module"].as_str().unwrap_or_default();
    let image = find("Deployment")?["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    ensure!(module.starts_with("registry://registry.example.com:5000/mcpserver-scaling-policy/"), "{module}");
    ensure!(image.starts_with("registry.example.com:5000/mcpserver-scaling-policy/"), "{image}");
    let ports = find("NetworkPolicy")?["spec"]["egress"][0]["ports"].as_array().cloned().unwrap_or_default();
    let ports: Vec<&Value> = ports.iter().map(|port| &port["port"]).collect();
    expect_equal(
        "ports of the API server and of DNS",
        ports,
        vec![&json!(443), &json!(16443), &json!(53), &json!(53)],
    )?;
    // A name in another registry was chosen by the user.
    let objects = render_chart(&[registry, "reconciler.image=quay.io/mirror/reconciler"])?;
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").context("no Deployment")?;
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    ensure!(image.starts_with("quay.io/mirror/reconciler:"), "{image}");
    Ok(())
}

async fn admits_reconciler_pod_under_restricted_profile(cluster: &mut TestCluster) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "restricted", "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    }});
    cluster.admin.post_path("/api/v1/namespaces", &namespace).await?.success()?;
    expect_restricted_pod(cluster, &read_manifest("deploy/reconciler.yaml")?).await?;
    expect_restricted_pod(cluster, &render_chart(&[])?).await
}

/// Fails if the restricted namespace does not admit the pod of the Deployment among these objects, or if it
/// admits the same pod with more privileges.
async fn expect_restricted_pod(cluster: &TestCluster, objects: &[Value]) -> Result<()> {
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment");
    let mut pod = deployment.context("the reconciler has no Deployment")?["spec"]["template"].clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = "reconciler".into();
    let path = "/api/v1/namespaces/restricted/pods?dryRun=All&fieldValidation=Strict";
    cluster.admin.post_path(path, &pod).await?.success()?;
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
    let rejected = cluster.admin.post_path(path, &pod).await?;
    expect_equal("the response code for a pod that the profile does not allow", rejected.code, 403)
}

async fn accepts_cel_policy_of_documentation(cluster: &mut TestCluster) -> Result<()> {
    let text = fs::read_to_string(workspace_root().join("docs/comparison.md"))?;
    let (_, snippet) = text.split_once("```yaml\n").context("docs/comparison.md has no YAML snippet")?;
    let (snippet, _) = snippet.split_once("```").context("the YAML snippet has no end")?;
    let mut spec: Value = serde_saphyr::from_str(snippet)?;
    spec["matchConstraints"] = json!({"resourceRules": [{
        "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["statefulsets"], "operations": ["CREATE", "UPDATE"],
    }]});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "stdio"}, "spec": spec,
    });
    cluster.apply_as_dry_run(&policy).await
}

async fn install_platform_crds(cluster: &TestCluster) -> Result<()> {
    for definition in platform_definitions() {
        cluster.install_crd(&definition).await?;
    }
    Ok(())
}
