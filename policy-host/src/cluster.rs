//! A cluster that consists of manifests, from which lookups are answered.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::host::{self, GetResourceRequest, Host, ListResourcesRequest};

/// The objects of a cluster, read from manifests.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    objects: Vec<Value>,
}

impl Cluster {
    /// Reads a file with YAML or JSON manifests, or all such files (`.yaml`, `.yml`, `.json`) in a folder.
    ///
    /// # Errors
    /// If a file cannot be read or contains something other than manifests, or if there are none; the error names the file or folder.
    pub fn read(path: &Path) -> Result<Self> {
        let mut cluster = Self::default();
        for file in files(path)? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            cluster.add(&text).with_context(|| format!("{} does not contain manifests", file.display()))?;
        }
        if cluster.objects.is_empty() {
            bail!("{} contains no manifests", path.display());
        }
        Ok(cluster)
    }

    /// Reads manifests from YAML or JSON text.
    ///
    /// # Errors
    /// As [`Cluster::read`].
    pub fn from_manifests(text: &str) -> Result<Self> {
        let mut cluster = Self::default();
        cluster.add(text)?;
        Ok(cluster)
    }

    fn add(&mut self, text: &str) -> Result<()> {
        for document in serde_saphyr::from_multiple::<Value>(text)? {
            self.add_object(document)?;
        }
        Ok(())
    }

    fn add_object(&mut self, mut object: Value) -> Result<()> {
        if object.is_null() {
            return Ok(());
        }
        if object["kind"] == "List" {
            let Value::Array(items) = object["items"].take() else {
                bail!("a List does not have items");
            };
            return items.into_iter().try_for_each(|item| self.add_object(item));
        }
        for name in ["apiVersion", "kind"] {
            if !object[name].is_string() {
                bail!("a manifest does not have the field {name}");
            }
        }
        if !object["metadata"]["name"].is_string() {
            bail!("a manifest does not have the field metadata.name");
        }
        self.objects.push(object);
        Ok(())
    }

    /// Returns whether the cluster serves an API version. If manifests have objects of its group, the group is served at the versions
    /// that they have; of other groups nothing is known, so that every version is served.
    fn serves(&self, api_version: &str) -> bool {
        let group = |version: &str| version.rsplit_once('/').map(|(group, _)| group.to_owned());
        let versions = self.objects.iter().filter_map(|object| object["apiVersion"].as_str());
        let mut of_group = versions.filter(|version| group(version) == group(api_version)).peekable();
        of_group.peek().is_none() || of_group.any(|version| version == api_version)
    }

    fn find(&self, request: &GetResourceRequest) -> Option<&Value> {
        self.objects.iter().find(|object| {
            let namespace = &object["metadata"]["namespace"];
            object["apiVersion"] == request.api_version
                && object["kind"] == request.kind
                && object["metadata"]["name"] == request.name
                && request.namespace.as_deref() == Some(namespace.as_str().unwrap_or("default"))
        })
    }
}

impl Host for Cluster {
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        let Some(object) = self.find(request) else {
            let is_served = self.serves(&request.api_version);
            let not_served = || host::not_served(&request.api_version, &request.kind);
            return Err(if is_served { host::not_found(request) } else { not_served() });
        };
        let mut object = object.clone();
        if let Some(masks) = &request.field_masks {
            host::keep_masked(&mut object, masks.iter().map(String::as_str));
        }
        Ok(object.to_string().into_bytes())
    }

    fn list_resources(&self, request: &ListResourcesRequest) -> Result<Vec<u8>, String> {
        let ListResourcesRequest { api_version, kind, namespace, .. } = request;
        if !self.serves(api_version) {
            return Err(host::not_served(api_version, kind));
        }
        let is_listed = |object: &&Value| {
            object["apiVersion"] == *api_version
                && object["kind"] == *kind
                && object["metadata"]["namespace"].as_str().unwrap_or("default") == namespace
        };
        Ok(host::list(request, self.objects.iter().filter(is_listed).cloned()))
    }
}

/// Lists the YAML and JSON files in a folder, sorted by name. A path of a file is returned as it is.
///
/// # Errors
/// If the folder cannot be read.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let folder = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files = Vec::new();
    for entry in folder {
        let file = entry?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::Cluster;
    use crate::host::{GetResourceRequest, Host, ListResourcesRequest, not_found, not_served};

    const MANIFESTS: &str = "
apiVersion: example.com/v1
kind: Thing
metadata: {name: one, namespace: here}
spec: {a: 1, b: {c: 2, d: 3}, e: [1, 2]}
status: {ready: true}
---
apiVersion: v1
kind: List
items:
- {apiVersion: example.com/v1, kind: Thing, metadata: {name: two}, spec: null}
";

    fn get(namespace: &str, name: &str, masks: Option<&[&str]>) -> Result<Value, String> {
        let request = GetResourceRequest {
            api_version: "example.com/v1".to_owned(),
            kind: "Thing".to_owned(),
            name: name.to_owned(),
            namespace: Some(namespace.to_owned()),
            disable_cache: true,
            field_masks: masks.map(|masks| masks.iter().map(|mask| (*mask).to_owned()).collect::<BTreeSet<_>>()),
        };
        let object = Cluster::from_manifests(MANIFESTS).expect("the text contains manifests").get_resource(&request);
        if let Err(error) = &object {
            assert_eq!(error, &not_found(&request));
        }
        object.map(|object| serde_json::from_slice(&object).expect("the object is JSON"))
    }

    #[test]
    fn finds_objects_by_version_kind_name_and_namespace() {
        assert_eq!(get("here", "one", None).expect("the object exists")["spec"]["a"], 1);
        assert_eq!(get("default", "two", None).expect("the object exists")["spec"], Value::Null);
        assert!(get("default", "one", None).is_err());
        assert!(get("here", "three", None).is_err());
    }

    #[test]
    fn serves_a_group_at_the_versions_of_its_objects() {
        let error = |api_version: &str| {
            let request = GetResourceRequest {
                api_version: api_version.to_owned(),
                kind: "Thing".to_owned(),
                name: "three".to_owned(),
                namespace: Some("here".to_owned()),
                disable_cache: true,
                field_masks: None,
            };
            let cluster = Cluster::from_manifests(MANIFESTS).expect("the text contains manifests");
            let error = cluster.get_resource(&request).expect_err("the object does not exist");
            (error == not_found(&request), error == not_served(&request.api_version, &request.kind))
        };
        assert_eq!(error("example.com/v1"), (true, false));
        assert_eq!(error("example.com/v2"), (false, true));
        assert_eq!(error("other.example.com/v1"), (true, false), "nothing is known of this group");
    }

    #[test]
    fn lists_objects_by_version_kind_and_namespace() {
        let names = |api_version: &str, kind: &str, namespace: &str| {
            let request = ListResourcesRequest {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                label_selector: None,
                field_selector: None,
                field_masks: Some(["spec.a".to_owned()].into()),
            };
            let cluster = Cluster::from_manifests(MANIFESTS).expect("the text contains manifests");
            let list: Value = serde_json::from_slice(&cluster.list_resources(&request)?).expect("the list is JSON");
            Ok::<_, String>(list["items"].clone())
        };
        let metadata = json!({"name": "one", "namespace": "here"});
        let one = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": metadata, "spec": {"a": 1}});
        assert_eq!(names("example.com/v1", "Thing", "here"), Ok(json!([one])));
        assert_eq!(names("example.com/v1", "Thing", "there"), Ok(json!([])));
        assert_eq!(names("example.com/v1", "Other", "here"), Ok(json!([])));
        let error = not_served("example.com/v2", "Thing");
        assert_eq!(names("example.com/v2", "Thing", "here"), Err(error));
    }

    #[test]
    fn keeps_type_and_metadata_and_the_masked_fields() {
        assert_eq!(
            get("here", "one", Some(&["spec.b.c", "spec.e", "spec.missing"])).expect("the object exists"),
            json!({
                "apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "one", "namespace": "here"},
                "spec": {"b": {"c": 2}, "e": [1, 2]}
            })
        );
    }

    #[test]
    fn rejects_text_that_is_not_a_manifest() {
        for text in ["kind: Thing", "apiVersion: v1\nkind: Thing", "[1]", "just text", "a: [", "kind: List"] {
            assert!(Cluster::from_manifests(text).is_err(), "{text}");
        }
        assert!(Cluster::from_manifests("---\n---\n").is_ok(), "empty documents are accepted");
    }
}
