//! ToolHive's own custom resource definitions, of several releases.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mcp_scaling_rules::kind::{GROUP, ServerKind};
use serde_json::{Value, json};

use crate::inputs::path_from_script;
use crate::manifests::read_objects;
use crate::requests::text;
use crate::test_cluster::TestCluster;
use crate::wait::{wait_for_value, wait_until};

/// The newest release of which the definitions are pinned. It serves `v1beta1` and `v1alpha1`, and the list of conditions
/// has one entry for each type.
pub const NEWEST: &str = "v0.63.0";

/// The newest release whose operator resets counts. No field declares a count there, the list of conditions is atomic, and it serves
/// `v1alpha1` only.
pub const WITHOUT_COUNTS: &str = "v0.10.0";

/// The definitions of a release.
#[derive(Clone, Debug)]
pub struct ToolHiveCrds {
    name: String,
    definitions: Vec<Value>,
}

impl ToolHiveCrds {
    /// The definitions of the release with this tag. `scripts/toolhive` downloads them if they are not in its cache.
    ///
    /// # Errors
    /// [`crate::Ignored`] if they cannot be had on this machine.
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

    /// The same definitions without the version `v1alpha1` if there is another, as a later release may be.
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

impl TestCluster {
    /// Makes sure that the definitions of the release with this tag are installed, and no others of ToolHive, as
    /// [`TestCluster::require_crds`] does.
    ///
    /// # Errors
    /// [`crate::Ignored`] if they cannot be had on this machine; another error if the API server does not remove or
    /// serve definitions.
    pub async fn require_crds_of(&mut self, tag: &str) -> Result<()> {
        if self.crds.name.as_deref() == Some(tag) {
            return Ok(());
        }
        self.require_crds(&ToolHiveCrds::find(tag)?).await
    }

    /// Makes sure that these definitions are installed, and no others of ToolHive. If that changes something, no
    /// operator runs afterwards, and every custom resource is removed.
    ///
    /// # Errors
    /// If the API server does not remove or serve them.
    pub async fn require_crds(&mut self, crds: &ToolHiveCrds) -> Result<()> {
        if self.crds.name.as_deref() == Some(crds.name()) {
            return Ok(());
        }
        self.remove_definitions().await?;
        self.install_crds(crds).await
    }

    /// Installs ToolHive's definitions, over those of another release, as an upgrade of ToolHive does.
    ///
    /// # Errors
    /// If the API server does not serve them.
    pub async fn install_crds(&mut self, crds: &ToolHiveCrds) -> Result<()> {
        let (version, definitions) = (crds.version(), crds.definitions());
        self.admin.set_toolhive_version(version);
        self.crds.name = None;
        self.crds.version = version;
        self.crds.installed.retain(|old| definitions.iter().all(|new| crd_path(new) != crd_path(old)));
        self.crds.installed.extend_from_slice(definitions);
        for definition in definitions {
            self.install_crd(definition).await?;
        }
        // The handler of a definition changes a moment after the definition.
        let path = format!("{}?dryRun=All", self.admin.path(ServerKind::McpServer.resource(), "toolhive-system"));
        let server = self.mcp_server("crd-probe", json!({}));
        wait_until("an MCPServer can be created", || async {
            Ok(self.admin.post_path(&path, &server).await?.code < 300)
        })
        .await?;
        self.crds.name = Some(crds.name().to_owned());
        Ok(())
    }

    async fn remove_definitions(&mut self) -> Result<()> {
        self.stop_operator();
        self.crds.name = None;
        // Custom resources wait for an operator that removes its finalizer, and definitions for their custom resources.
        let servers = format!("/apis/{GROUP}/{}/{}", self.crds.version, ServerKind::McpServer.resource());
        for server in self.admin.get_path(&servers).await?.body["items"].as_array().into_iter().flatten() {
            let (namespace, name) = (text(&server["metadata"]["namespace"]), text(&server["metadata"]["name"]));
            let finalizers = json!({"metadata": {"finalizers": null}});
            self.admin.merge(ServerKind::McpServer.resource(), &namespace, &name, &finalizers).await?.success()?;
        }
        let paths: Vec<String> = self.crds.installed.iter().map(crd_path).collect();
        for definition in &self.crds.installed {
            self.wait_until_served(definition).await?;
        }
        for path in &paths {
            let response = self.admin.delete_path(path).await?;
            // An earlier try that failed may have removed it.
            if response.code != 404 {
                response.success()?;
            }
        }
        for path in &paths {
            // Its conditions tell why it is still there.
            let conditions = || async {
                let response = self.admin.get_path(path).await?;
                Ok((response.code != 404).then(|| response.body["status"]["conditions"].to_string()))
            };
            wait_for_value(&format!("conditions of {path}"), &None, conditions).await?;
        }
        self.crds.installed.clear();
        Ok(())
    }

    /// Installs a definition and waits until the API server serves the first version of it that is to be served.
    ///
    /// # Errors
    /// If it does not serve it.
    pub async fn install_crd(&self, definition: &Value) -> Result<()> {
        self.apply(definition).await?;
        self.wait_until_served(definition).await
    }

    /// Waits until the API server serves the first version of a definition that is to be served.
    async fn wait_until_served(&self, definition: &Value) -> Result<()> {
        let spec = &definition["spec"];
        let mut versions = spec["versions"].as_array().into_iter().flatten();
        let version = versions.find(|version| version["served"] == true).context("no version is served")?;
        let version = text(&version["name"]);
        let path = format!("/apis/{}/{version}/{}", text(&spec["group"]), text(&spec["names"]["plural"]));
        let code = || async { Ok(self.admin.get_path(&path).await?.code) };
        wait_for_value(&format!("response code of GET {path}"), &200, code).await
    }
}

/// The path of a definition.
pub fn crd_path(definition: &Value) -> String {
    let name = text(&definition["metadata"]["name"]);
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
}
