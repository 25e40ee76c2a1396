//! Manifests of this repository: read and applied.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::inputs::workspace_root;
use crate::requests::{APPLY_PATCH, text};
use crate::test_cluster::TestCluster;

/// Reads the objects of a YAML file, by its path from the root of the workspace.
///
/// # Errors
/// If the file cannot be read or is not YAML.
pub fn read_manifest(path: &str) -> Result<Vec<Value>> {
    read_objects(&workspace_root().join(path))
}

/// Reads the objects of a YAML file.
///
/// # Errors
/// As [`read_manifest`].
pub(crate) fn read_objects(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("{} is not YAML", path.display()))
}

impl TestCluster {
    /// Applies an object on the server's side, and takes over its fields.
    ///
    /// # Errors
    /// If the API server rejects it.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        self.apply_with(object, "").await
    }

    /// Applies an object as a dry run, in which an unknown field is an error.
    ///
    /// # Errors
    /// If the API server rejects it.
    pub async fn apply_as_dry_run(&self, object: &Value) -> Result<()> {
        self.apply_with(object, "&dryRun=All&fieldValidation=Strict").await
    }

    async fn apply_with(&self, object: &Value, options: &str) -> Result<()> {
        let path = format!("{}?fieldManager=cluster-tests&force=true{options}", object_path(object));
        let response = self.admin.send("PATCH", &path, APPLY_PATCH, object).await?;
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        response.success().with_context(|| format!("cannot apply {kind} {name}"))?;
        Ok(())
    }
}

/// The path of an object. The plural of its kind is guessed by the rules of English, which hold for every kind in the
/// manifests.
fn object_path(object: &Value) -> String {
    let version = text(&object["apiVersion"]);
    let root = if version.contains('/') { "apis" } else { "api" };
    let namespace = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("namespaces/{namespace}/"),
        None => String::new(),
    };
    let singular = text(&object["kind"]).to_lowercase();
    let plural = singular.strip_suffix('y').map_or_else(|| format!("{singular}s"), |stem| format!("{stem}ies"));
    format!("/{root}/{version}/{namespace}{plural}/{}", text(&object["metadata"]["name"]))
}
