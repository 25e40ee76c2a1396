//! The permissions that the manifests grant are those that are used: none is missing, and none is superfluous. What RBAC cannot
//! limit, the ValidatingAdmissionPolicy for the reconciler does.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use cluster_tests::TestCluster;
use cluster_tests::accounts::{POLICY_SERVER, RECONCILER};
use cluster_tests::manifests::read_manifest;
use cluster_tests::objects::{condition, deployment, statefulset};
use cluster_tests::requests::{Response, text};
use cluster_tests::setup::Setup;
use cluster_tests::toolhive_crds::NEWEST;
use cluster_tests::wait::wait_until;
use serde_json::{Value, json};

use crate::assertions::{expect_equal, expect_replicas};
use crate::harness::{Test, suite};

const SETUP: Setup = Setup { webhook: false, reconciler: false, crds: None };
const WITH_DEFINITIONS: Setup = Setup { crds: Some(NEWEST), ..SETUP };

/// API group, resource with its subresource, verb.
type Permission = (String, String, String);

pub(crate) fn tests() -> Vec<Test> {
    let limits = suite!(
        "permissions",
        WITH_DEFINITIONS,
        [
            limits_reconcilers_account_to_its_conditions,
            limits_reconcilers_account_to_workloads_of_toolhive,
            limits_reconcilers_account_to_its_annotation_of_statefulsets,
        ]
    );
    let used = suite!("permissions", SETUP, [grants_reconciler_what_it_uses, grants_policy_server_what_it_uses]);
    limits.into_iter().chain(used.into_iter().map(|test| Test { needs_all_others: true, ..test })).collect()
}

async fn grants_reconciler_what_it_uses(cluster: &mut TestCluster) -> Result<()> {
    compare(cluster, RECONCILER, &["deploy/reconciler.yaml"])
}

async fn grants_policy_server_what_it_uses(cluster: &mut TestCluster) -> Result<()> {
    // The second one is for the setting readAutoscalers, which a test of the suite `policy` turns on.
    let manifests = ["deploy/policy-server-rbac.yaml", "deploy/policy-server-autoscalers-rbac.yaml"];
    compare(cluster, POLICY_SERVER, &manifests)
}

/// Fails if the ValidatingAdmissionPolicy let a request pass.
fn expect_refused(attempt: &str, response: &Response) -> Result<()> {
    let message = text(&response.body["message"]);
    let is_refused = response.code == 422 && message.contains("the reconciler may ");
    ensure!(is_refused, "expected the policy to refuse to {attempt}, got {}: {message}", response.code);
    Ok(())
}

async fn limits_reconcilers_account_to_its_conditions(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("limits-conditions").await?;
    cluster.create_mcp_server(&namespace, "github", json!({})).await?;
    let path = format!("{}/github/status", cluster.admin.path("mcpservers", &namespace));
    let ready = condition("Ready", "True", "Running");
    let of_operator = json!({"status": {"url": "http://github.example", "phase": "Ready", "conditions": [ready]}});
    cluster.admin.merge_path(&path, &of_operator).await?.success()?;
    let reconciler = cluster.client_of(RECONCILER).await?;
    wait_until("the policy is in force", || async {
        let attempt = json!({"status": {"url": "http://probe.example"}});
        Ok(reconciler.merge_path(&path, &attempt).await?.code == 422)
    })
    .await?;
    let before = cluster.admin.get("mcpservers", &namespace, "github").await?;

    let warning = condition("StdioReplicaCapped", "True", "StdioTransportCapAt1");
    let not_ready = condition("Ready", "False", "Stolen");
    let other = condition("ImageValidated", "True", "Stolen");
    for (attempt, status) in [
        ("redirect clients", json!({"url": "http://attacker.example"})),
        (
            "redirect clients beside a write of conditions",
            json!({"url": "http://attacker.example", "conditions": [ready, warning]}),
        ),
        ("remove the URL", json!({"url": null})),
        ("change the phase", json!({"phase": "Failed"})),
        ("add a field", json!({"message": "stolen"})),
        ("remove the status", Value::Null),
        ("change a condition of the operator", json!({"conditions": [not_ready, warning]})),
        ("remove a condition of the operator", json!({"conditions": [warning]})),
        ("remove all conditions", json!({"conditions": null})),
        ("add a condition of another type", json!({"conditions": [ready, other]})),
    ] {
        expect_refused(attempt, &reconciler.merge_path(&path, &json!({"status": status})).await?)?;
    }
    let operation = json!([{"op": "replace", "path": "/status/url", "value": "http://attacker.example"}]);
    let response = reconciler.send("PATCH", &path, "application/json-patch+json", &operation).await?;
    expect_refused("redirect clients with a JSON patch", &response)?;
    let server = json!({
        "apiVersion": before["apiVersion"], "kind": "MCPServer", "metadata": {"name": "github"},
        "status": {"url": "http://attacker.example"},
    });
    let apply = format!("{path}?fieldManager=mcpserver-scaling-reconciler&force=true");
    let response = reconciler.send("PATCH", &apply, "application/apply-patch+yaml", &server).await?;
    expect_refused("redirect clients with a server-side apply", &response)?;
    let spec = json!({"spec": {"image": "attacker/image"}, "metadata": {"annotations": {"stolen": "true"}}});
    // The API server ignores everything but the status in such a request.
    reconciler.merge_path(&path, &spec).await?;
    let after = cluster.admin.get("mcpservers", &namespace, "github").await?;
    expect_equal("the server after all attempts", &after, &before)?;

    let own = json!({"status": {"conditions": [ready, warning]}});
    reconciler.merge_path(&path, &own).await?.success()?;
    let changed = condition("StdioReplicaCapped", "False", "StdioReplicaCapNotActive");
    let own = json!({"status": {"conditions": [ready, changed]}});
    reconciler.merge_path(&path, &own).await?.success()?;
    let url = json!({"status": {"url": "http://other.example"}});
    cluster.admin.merge_path(&path, &url).await?.success()?;
    Ok(())
}

async fn limits_reconcilers_account_to_workloads_of_toolhive(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("limits-scales").await?;
    let admin = &cluster.admin;
    let owner = cluster.create_mcp_server(&namespace, "github", json!({"transport": "sse"})).await?.body;
    admin.create("deployments", &namespace, &deployment(&owner, 1)).await?.success()?;
    admin.create("statefulsets", &namespace, &statefulset("github", "sse", 1)).await?.success()?;
    // Workloads of other programs, which copy ToolHive's names and labels as far as the selector is not theirs.
    let mut victim = deployment(&owner, 1);
    victim["metadata"]["name"] = "victim".into();
    victim["spec"]["selector"]["matchLabels"] = json!({"app": "victim"});
    victim["spec"]["template"]["metadata"]["labels"]["app"] = "victim".into();
    admin.create("deployments", &namespace, &victim).await?.success()?;
    let mut victim = statefulset("victim", "sse", 1);
    victim["spec"]["selector"]["matchLabels"] = json!({"app": "victim", "toolhive-name": "victim"});
    admin.create("statefulsets", &namespace, &victim).await?.success()?;

    let reconciler = cluster.client_of(RECONCILER).await?;
    let path = |resource: &str, name: &str| format!("{}/{name}/scale", admin.path(resource, &namespace));
    wait_until("the policy is in force", || async {
        Ok(reconciler.merge_path(&path("deployments", "victim"), &json!({"spec": {"replicas": 9}})).await?.code == 422)
    })
    .await?;
    admin.scale("deployments", &namespace, "victim", 1).await?.success()?;
    for resource in ["deployments", "statefulsets"] {
        let path_of = |name: &str| path(resource, name);
        for (attempt, patch) in [
            ("stop another program", json!({"spec": {"replicas": 0}})),
            ("scale another program", json!({"spec": {"replicas": 50}})),
            (
                "scale another program with a forged selector",
                json!({"spec": {"replicas": 0}, "status": {"selector": "toolhive=true"}}),
            ),
        ] {
            expect_refused(
                &format!("{attempt} ({resource})"),
                &reconciler.merge_path(&path_of("victim"), &patch).await?,
            )?;
        }
        expect_replicas(admin, resource, &namespace, "victim", 1).await?;
        reconciler.merge_path(&path_of("github"), &json!({"spec": {"replicas": 2}})).await?.success()?;
        expect_replicas(admin, resource, &namespace, "github", 2).await?;
    }
    Ok(())
}

async fn limits_reconcilers_account_to_its_annotation_of_statefulsets(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("limits-statefulsets").await?;
    cluster.start_coupling_reconciler().await?;
    cluster.stop_reconcilers().await?;
    let admin = &cluster.admin;
    let mut victim = statefulset("victim", "sse", 1);
    victim["metadata"]["labels"] = json!({"app": "victim"});
    for object in [statefulset("github", "sse", 2), victim] {
        admin.create("statefulsets", &namespace, &object).await?.success()?;
    }
    let reconciler = cluster.client_of(RECONCILER).await?;
    let merge = async |name: &str, patch: Value| reconciler.merge("statefulsets", &namespace, name, &patch).await;
    let metadata = |metadata: Value| json!({"metadata": metadata});
    let kept = || metadata(json!({"annotations": {"mcpserver-scaling-policy/replicas-before-zero": "2"}}));
    wait_until("the policy is in force", || async { Ok(merge("victim", kept()).await?.code == 422) }).await?;
    let before = admin.get("statefulsets", &namespace, "github").await?;
    let container = json!({"name": "mcp", "image": "attacker/image"});
    let retention = json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    for (attempt, patch) in [
        ("run another image", json!({"spec": {"template": {"spec": {"containers": [container]}}}})),
        ("delete volumes", json!({"spec": {"persistentVolumeClaimRetentionPolicy": retention}})),
        ("stop updates", json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}})),
        ("change another annotation", metadata(json!({"annotations": {"other": "stolen"}}))),
        ("change a label", metadata(json!({"labels": {"toolhive": "false"}}))),
        ("add a finalizer", metadata(json!({"finalizers": ["attacker.example/finalizer"]}))),
    ] {
        expect_refused(attempt, &merge("github", patch).await?)?;
    }
    let after = admin.get("statefulsets", &namespace, "github").await?;
    expect_equal("the StatefulSet after all attempts", &after, &before)?;
    expect_refused("annotate another program", &merge("victim", kept()).await?)?;
    merge("github", kept()).await?.success()?;
    let removed = metadata(json!({"annotations": {"mcpserver-scaling-policy/replicas-before-zero": null}}));
    merge("github", removed).await?.success()?;
    admin
        .merge("statefulsets", &namespace, "github", &metadata(json!({"labels": {"other": "label"}})))
        .await?
        .success()?;
    Ok(())
}

/// Compares the permissions in manifests with those that the audit log shows.
fn compare(cluster: &TestCluster, user: &str, manifests: &[&str]) -> Result<()> {
    let (mut used, mut denied) = (BTreeSet::new(), BTreeSet::new());
    for entry in cluster.audit_log()?.iter().filter(|entry| entry["user"]["username"] == user) {
        // Requests for something else than objects, such as the list of API groups, are open to everybody.
        let Some(permission) = requested_permission(entry) else { continue };
        match entry["annotations"]["authorization.k8s.io/decision"] == "allow" {
            true => used.insert(permission),
            false => denied.insert(permission),
        };
    }
    let mut granted = BTreeSet::new();
    for manifest in manifests {
        granted.extend(read_manifest(manifest)?.iter().flat_map(granted_permissions));
    }
    ensure!(!used.is_empty(), "expected requests of {user} in the audit log, got none");
    // An API server that has just started denies for a moment what it allows afterwards.
    let missing: Vec<&Permission> = denied.difference(&used).collect();
    ensure!(
        missing.is_empty(),
        "expected {manifests:?} to grant all that {user} requested, but {missing:?} were denied"
    );
    let superfluous: Vec<&Permission> = granted.difference(&used).collect();
    ensure!(superfluous.is_empty(), "expected {user} to use all that {manifests:?} grant, but not {superfluous:?}");
    Ok(())
}

/// The permission that a request in the audit log needed; `None` if it was not for an object.
fn requested_permission(entry: &Value) -> Option<Permission> {
    let object = entry["objectRef"].as_object()?;
    let field = |name: &str| object.get(name).map(text).unwrap_or_default();
    let resource = match field("subresource").as_str() {
        "" => field("resource"),
        subresource => format!("{}/{subresource}", field("resource")),
    };
    Some((field("apiGroup"), resource, text(&entry["verb"])))
}

/// The permissions that a Role or a ClusterRole grants; none for other objects.
fn granted_permissions(object: &Value) -> Vec<Permission> {
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<String>>();
    let mut permissions = Vec::new();
    for rule in object["rules"].as_array().into_iter().flatten() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    permissions.push((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    permissions
}
