//! ToolHive's own custom resource definitions, of several releases.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mcp_scaling_rules::kind::ServerKind;
use serde_json::Value;

use crate::inputs::path_from_script;
use crate::manifests::read_objects;

/// The newest release of which the definitions are pinned. It serves `v1beta1` and `v1alpha1`, and the list of conditions
/// has one entry for each type.
pub const NEWEST: &str = "v0.62.0";

/// A release in which no field declares a count and the list of conditions is atomic. It serves `v1alpha1` only.
pub const WITHOUT_COUNTS: &str = "v0.10.0";

/// The definitions of a release.
#[derive(Clone, Debug)]
pub struct ToolHiveCrds {
    name: String,
    definitions: Vec<Value>,
}

impl ToolHiveCrds {
    /// The definitions of the release with this tag. `scripts/toolhive` downloads them where they are not in its cache.
    ///
    /// # Errors
    /// [`crate::Ignored`] where they cannot be had on this machine.
    pub fn find(tag: &str) -> Result<Self> {
        Self::read(tag, &release_folder(&["--crds", tag])?)
    }

    /// Reads the definitions of the release with this tag from its folder.
    pub(crate) fn read(tag: &str, folder: &Path) -> Result<Self> {
        let folder = folder.join("crds");
        let mut files = fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>())
            .with_context(|| format!("cannot read {}", folder.display()))?;
        files.sort();
        let mut definitions = Vec::new();
        for file in files {
            definitions.extend(read_objects(&file)?);
        }
        ensure!(!definitions.is_empty(), "{} is empty", folder.display());
        Ok(Self { name: tag.to_owned(), definitions })
    }

    /// The same definitions without the version `v1alpha1` where there is another, as a later release may be.
    pub fn without_v1alpha1(mut self) -> Self {
        self.name.push_str(" without v1alpha1");
        for definition in &mut self.definitions {
            if let Some(versions) = definition["spec"]["versions"].as_array_mut() {
                let has_v1beta1 = versions.iter().any(|version| version["name"] == "v1beta1");
                versions.retain(|version| !has_v1beta1 || version["name"] != "v1alpha1");
            }
        }
        self
    }

    /// The tag of the release, and how the definitions differ from it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The definitions of all kinds of ToolHive.
    pub fn definitions(&self) -> &[Value] {
        &self.definitions
    }

    /// The version of ToolHive's API group that the API server prefers.
    pub fn version(&self) -> &'static str {
        let is_server = |definition: &&Value| definition["spec"]["names"]["kind"] == ServerKind::McpServer.name();
        let definition = self.definitions.iter().find(is_server);
        let versions = definition.and_then(|definition| definition["spec"]["versions"].as_array());
        let has_v1beta1 = versions.into_iter().flatten().any(|it| it["name"] == "v1beta1" && it["served"] == true);
        if has_v1beta1 { "v1beta1" } else { "v1alpha1" }
    }
}

/// The folder that `scripts/toolhive` prints with these arguments, of which the last is a tag.
///
/// # Errors
/// As [`path_from_script`].
pub(crate) fn release_folder(arguments: &[&str]) -> Result<PathBuf> {
    path_from_script("toolhive", arguments)
}
