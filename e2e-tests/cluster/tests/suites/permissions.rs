//! The permissions that the manifests grant are those that are used: none is missing, and none is superfluous.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use cluster_tests::TestCluster;
use cluster_tests::accounts::{POLICY_SERVER, RECONCILER};
use cluster_tests::manifests::read_manifest;
use cluster_tests::requests::text;
use cluster_tests::test_cluster::Setup;
use serde_json::Value;

use crate::harness::{Test, suite};

const SETUP: Setup = Setup { webhook: false, reconciler: false, crds: None };

/// API group, resource with its subresource, verb.
type Permission = (String, String, String);

pub(crate) fn tests() -> Vec<Test> {
    let tests = suite!("permissions", SETUP, [grants_reconciler_what_it_uses, grants_policy_server_what_it_uses]);
    tests.into_iter().map(|test| Test { needs_all_others: true, ..test }).collect()
}

async fn grants_reconciler_what_it_uses(cluster: &mut TestCluster) -> Result<()> {
    compare(cluster, RECONCILER, "deploy/reconciler.yaml")
}

async fn grants_policy_server_what_it_uses(cluster: &mut TestCluster) -> Result<()> {
    compare(cluster, POLICY_SERVER, "deploy/policy-server-rbac.yaml")
}

/// Compares the permissions in a manifest with those that the audit log shows.
fn compare(cluster: &TestCluster, user: &str, manifest: &str) -> Result<()> {
    let (mut used, mut denied) = (BTreeSet::new(), BTreeSet::new());
    for entry in cluster.audit_log()?.iter().filter(|entry| entry["user"]["username"] == user) {
        // Requests for something else than objects, such as the list of API groups, are open to everybody.
        let Some(permission) = requested_permission(entry) else { continue };
        match entry["annotations"]["authorization.k8s.io/decision"] == "allow" {
            true => used.insert(permission),
            false => denied.insert(permission),
        };
    }
    let granted: BTreeSet<Permission> = read_manifest(manifest)?.iter().flat_map(granted_permissions).collect();
    ensure!(!used.is_empty(), "expected requests of {user} in the audit log, got none");
    // An API server that has just started denies for a moment what it allows afterwards.
    let missing: Vec<&Permission> = denied.difference(&used).collect();
    ensure!(missing.is_empty(), "expected {manifest} to grant all that {user} requested, but {missing:?} were denied");
    let superfluous: Vec<&Permission> = granted.difference(&used).collect();
    ensure!(superfluous.is_empty(), "expected {user} to use all that {manifest} grants, but not {superfluous:?}");
    Ok(())
}

/// The permission that a request in the audit log needed; `None` where it was not for an object.
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
