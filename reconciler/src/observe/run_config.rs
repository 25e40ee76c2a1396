//! The session storage that a server really uses. An operator may have a default Redis, which overrides even an explicit `memory` of
//! the spec; what it decided is in the ConfigMap that it writes for the proxy runner.
//!
//! Source: `populateScalingConfig` and `labelsForRunConfig` in `cmd/thv-operator/controllers/mcpserver_runconfig.go` and
//! `ScalingConfig` in `pkg/runner/config.go`, the same in v0.44.0 and v0.47.0. The proxy runner stores sessions in Redis where
//! `scaling_config.session_redis` is present (`pkg/runner/runner.go`), and in memory otherwise. Releases before v0.13 have the
//! ConfigMap without this field, and no Redis. A default Redis exists since v0.30.1.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::runtime::watcher::Event;
use mcp_scaling_rules::{Field, SessionStorage, labels};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::observe::server_key::ServerKey;
use crate::observe::watch_cache::WatchCache;

/// `kind`.
pub(crate) const KIND: &str = "ConfigMap";

/// What is wrong with a server whose proxies [lack the password](mcp_scaling_rules::sessions::lacks_redis_password) of their Redis.
pub(crate) const DEFAULT_REDIS_WITHOUT_PASSWORD: &str = "spec.sessionStorage.provider is memory, and the proxies get the address of \
     the operator's default Redis without its password: if it has one, they fail at start";

/// The key of the ConfigMap with the run configuration.
const FILE: &str = "runconfig.json";

/// A ConfigMap with the run configuration of a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunConfig {
    /// Of the metadata: name, namespace, resource version.
    meta: ObjectMeta,
    /// The session storage, `None` if the run configuration is malformed or missing.
    storage: Option<SessionStorage>,
}

/// The label selector of these ConfigMaps.
pub(crate) fn selector() -> String {
    format!("{}={},{}", labels::COMPONENT, labels::COMPONENT_RUN_CONFIG, labels::MCP_SERVER)
}

impl RunConfig {
    fn server(&self) -> ServerKey {
        let name = self.meta.name.as_deref().unwrap_or_default();
        let server = name.strip_suffix(labels::RUN_CONFIG_SUFFIX).unwrap_or_default();
        ServerKey::of(self.meta.namespace.as_deref().unwrap_or_default(), server)
    }
}

/// The session storages of all servers, updated by the events of a watch.
#[derive(Debug, Default)]
pub(crate) struct SessionStorages {
    listed: Mutex<WatchCache<SessionStorage>>,
}

impl SessionStorages {
    /// Applies an event of a watch and returns the servers whose storage changed.
    pub(crate) fn apply(&self, event: Event<RunConfig>) -> Vec<ServerKey> {
        self.listed().apply(event, |run_config| (run_config.server(), run_config.storage))
    }

    /// The session storage of a server, `None` if it is not known.
    pub(crate) fn get(&self, server: ServerKey) -> Option<SessionStorage> {
        self.listed().get(server)
    }

    /// Returns whether the ConfigMaps have been listed.
    pub(crate) fn is_complete(&self) -> bool {
        self.listed().is_complete()
    }

    fn listed(&self) -> MutexGuard<'_, WatchCache<SessionStorage>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resource for RunConfig {
    type DynamicType = ();
    type Scope = kube::core::DynamicResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Cow::Borrowed(KIND)
    }
    fn group((): &()) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
    fn version((): &()) -> Cow<'_, str> {
        Cow::Borrowed("v1")
    }
    fn plural((): &()) -> Cow<'_, str> {
        Cow::Borrowed("configmaps")
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

impl<'de> Deserialize<'de> for RunConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(default)]
            metadata: Metadata,
            data: Option<BTreeMap<String, String>>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Metadata {
            name: Option<String>,
            namespace: Option<String>,
            resource_version: Option<String>,
        }

        let Object { metadata: Metadata { name, namespace, resource_version }, data } =
            Object::deserialize(deserializer)?;
        Ok(Self {
            meta: ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() },
            storage: data.as_ref().and_then(|data| data.get(FILE)).and_then(|text| session_storage(text)),
        })
    }
}

/// The session storage that a run configuration describes; `None` if it is malformed.
fn session_storage(run_config: &str) -> Option<SessionStorage> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        scaling_config: Field<ScalingConfig>,
    }
    #[derive(Deserialize)]
    struct ScalingConfig {
        session_redis: Option<IgnoredAny>,
    }

    let file: File = serde_json::from_str(run_config).ok()?;
    let scaling_config = file.scaling_config.optional().ok()?;
    Some(match scaling_config.and_then(|scaling_config| scaling_config.session_redis) {
        Some(_) => SessionStorage::Redis,
        None => SessionStorage::Memory,
    })
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use mcp_scaling_rules::SessionStorage;
    use serde_json::{Value, json};

    use super::{RunConfig, SessionStorages, selector};
    use crate::observe::server_key::ServerKey;

    fn config_map(name: &str, data: Value) -> RunConfig {
        let object = json!({"metadata": {"namespace": "default", "name": name}, "data": data});
        serde_json::from_value(object).expect("a malformed run configuration does not fail the object")
    }

    #[test]
    fn reads_where_the_proxy_runner_stores_sessions() {
        let (memory, redis) = (Some(SessionStorage::Memory), Some(SessionStorage::Redis));
        for (run_config, storage) in [
            (r#"{"image": "x", "scaling_config": {"session_redis": {"address": "redis:6379"}}}"#, redis),
            (r#"{"scaling_config": {"backend_replicas": 2, "session_redis": {}}}"#, redis),
            (r#"{"scaling_config": {"backend_replicas": 2}}"#, memory),
            (r#"{"scaling_config": {"session_redis": null}}"#, memory),
            (r#"{"scaling_config": null}"#, memory),
            (r#"{"image": "x"}"#, memory),
            (r#"{"scaling_config": 7}"#, None),
            ("not JSON", None),
        ] {
            let storages = SessionStorages::default();
            storages.apply(Event::Apply(config_map("github-runconfig", json!({"runconfig.json": run_config}))));
            assert_eq!(storages.get(ServerKey::of("default", "github")), storage, "{run_config}");
        }
        assert_eq!(config_map("github-runconfig", json!({"other": "{}"})).storage, None);
        assert_eq!(config_map("github-runconfig", Value::Null).storage, None);
    }

    #[test]
    fn knows_the_server_by_the_name_of_the_config_map() {
        let storages = SessionStorages::default();
        let data = json!({"runconfig.json": "{}"});
        storages.apply(Event::Apply(config_map("github", data)));
        assert_eq!(
            storages.get(ServerKey::of("default", "github")),
            None,
            "a ConfigMap of a user that copies the labels"
        );
        assert_eq!(selector(), "toolhive.stacklok.io/component=run-config,toolhive.stacklok.io/mcp-server");
    }
}
