//! What our manifests allow is what is used: nothing is missing, and nothing is too much.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::world::{World, text};

/// API group, resource with its subresource, verb.
type Right = (String, String, String);

pub(super) async fn of_reconciler(world: &mut World) -> Result<()> {
    world.stop_reconcilers().await?;
    let user = "system:serviceaccount:toolhive-system:mcpserver-scaling-reconciler";
    compare(world, user, "deploy/reconciler.yaml")
}

pub(super) async fn of_policy_server(world: &mut World) -> Result<()> {
    compare(world, "system:serviceaccount:kubewarden:policy-server", "deploy/policy-server-rbac.yaml")
}

fn compare(world: &World, user: &str, manifest: &str) -> Result<()> {
    let (mut used, mut denied) = (BTreeSet::new(), BTreeSet::new());
    for entry in world.audit()? {
        if entry["user"]["username"] != user {
            continue;
        }
        // What is no object of the API, such as the list of what is served, is open to everybody.
        let Some(right) = right(&entry) else { continue };
        let is_allowed = entry["annotations"]["authorization.k8s.io/decision"] == "allow";
        if is_allowed {
            used.insert(right)
        } else {
            denied.insert(right)
        };
    }
    let granted: BTreeSet<Right> = world.manifest(manifest)?.iter().flat_map(rights).collect();
    // An API server that has just begun denies for a moment what it allows afterwards.
    let lacking: Vec<&Right> = denied.difference(&used).collect();
    ensure!(lacking.is_empty(), "it lacks {lacking:?}");
    let idle: Vec<&Right> = granted.difference(&used).collect();
    ensure!(idle.is_empty(), "it has, and does not use, {idle:?}");
    ensure!(!used.is_empty(), "it did nothing");
    Ok(())
}

fn right(entry: &Value) -> Option<Right> {
    let object = entry["objectRef"].as_object()?;
    let field = |name: &str| object.get(name).map(text).unwrap_or_default();
    let resource = match field("subresource").as_str() {
        "" => field("resource"),
        subresource => format!("{}/{subresource}", field("resource")),
    };
    Some((field("apiGroup"), resource, text(&entry["verb"])))
}

/// What a Role or ClusterRole allows; nothing for other objects.
fn rights(object: &Value) -> Vec<Right> {
    let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<String>>();
    let mut rights = Vec::new();
    for rule in object["rules"].as_array().into_iter().flatten() {
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                for verb in list(&rule["verbs"]) {
                    rights.push((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}
