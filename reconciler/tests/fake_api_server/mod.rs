//! A fake API server with the functions that the reconciler uses: objects with resource versions, lists in pages, watches with bookmarks
//! that expire, merge patches of subresources, and faults that a test injects.

#![allow(dead_code, reason = "each test target and the benchmark use a part of it")]

mod call;
mod requests;
mod responses;
mod watches;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::sync::watch;

#[allow(unused_imports, reason = "each test target and the benchmark use a part of it")]
pub(crate) use call::{Call, Fault};

pub(crate) use mcp_scaling_rules::kind::GROUP;

type FaultInjector = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// A kubeconfig for the server that listens on a port.
pub(crate) fn kubeconfig(port: u16) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "users": [{"name": "fake", "user": {}}],
    });
    config.to_string()
}

/// `x-kubernetes-list-type` of the conditions in the CRD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListType {
    Atomic,
    Map,
}

#[derive(Clone)]
pub(crate) struct ApiServer {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
}

struct State {
    version: u64,
    /// A watch can start only after this version.
    compacted: u64,
    objects: BTreeMap<Key, Value>,
    history: Vec<(u64, Key, &'static str, Value)>,
    calls: Vec<Call>,
    fault: FaultInjector,
    list_type: ListType,
    /// The count that a mutating webhook puts into every Scale that is written.
    forced_count: Option<u32>,
    served: Vec<&'static str>,
    /// Says whether watch events are sent twice, the first time with each pair in reverse order.
    shuffles_events: bool,
}

/// Resource, namespace, name.
type Key = (String, String, String);

fn key(resource: &str, namespace: &str, name: &str) -> Key {
    (resource.to_owned(), namespace.to_owned(), name.to_owned())
}

impl ApiServer {
    pub(crate) fn new(list_type: ListType) -> Self {
        let state = State {
            version: 1000,
            compacted: 0,
            objects: BTreeMap::new(),
            history: Vec::new(),
            calls: Vec::new(),
            fault: Box::new(|_| None),
            list_type,
            forced_count: None,
            served: vec!["v1beta1", "v1alpha1"],
            shuffles_events: false,
        };
        Self { state: Arc::new(Mutex::new(state)), version: watch::channel(1000).0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panicked while it held the lock")
    }

    /// Calls this function for each call, to inject a fault.
    pub(crate) fn inject_faults(&self, fault: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.state().fault = Box::new(fault);
    }

    /// Installs a mutating webhook that puts this count into every Scale that is written, or removes it.
    pub(crate) fn force_count(&self, count: Option<u32>) {
        self.state().forced_count = count;
    }

    /// Sets the versions of ToolHive's API that are served, the preferred one first.
    pub(crate) fn set_served_versions(&self, versions: &[&'static str]) {
        self.state().served = versions.to_vec();
    }

    /// Sends watch events twice and out of order.
    pub(crate) fn shuffle_events(&self) {
        self.state().shuffles_events = true;
    }

    /// Expires all watches: none can resume from a version before now.
    pub(crate) fn compact(&self) {
        let mut state = self.state();
        state.version += 1;
        state.compacted = state.version;
        state.history.clear();
        self.version.send_replace(state.version);
    }

    /// The calls since the last one of `take_calls` and `take_writes`.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    /// The writes among them, without events.
    pub(crate) fn take_writes(&self) -> Vec<Call> {
        let mut calls = self.take_calls();
        calls.retain(|call| call.is_write() && !call.path.contains("/events"));
        calls
    }

    pub(crate) fn get(&self, resource: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&key(resource, "default", name)).cloned()
    }

    pub(crate) fn all(&self, resource: &str) -> Vec<Value> {
        let state = self.state();
        let of_resource = state.objects.iter().filter(|((of, ..), _)| of == resource);
        of_resource.map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn create(&self, resource: &str, mut object: Value) {
        let name = object["metadata"]["name"].as_str().expect("has a name").to_owned();
        object["metadata"]["namespace"] = "default".into();
        object["metadata"]["uid"] = format!("uid-{}-of-{name}", self.state().version).into();
        object["metadata"]["generation"] = 1.into();
        self.put(&key(resource, "default", &name), object);
    }

    /// Changes an object. A change of the spec increments the generation.
    pub(crate) fn change(&self, resource: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let key = key(resource, "default", name);
        let before = self.state().objects.get(&key).cloned().expect("exists");
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return;
        }
        if after["spec"] != before["spec"] {
            let generation = after["metadata"]["generation"].as_i64().unwrap_or_default();
            after["metadata"]["generation"] = (generation + 1).into();
        }
        self.put(&key, after);
    }

    /// Replaces the status as `Status().Update()` of controller-runtime does: false if the object has changed since it
    /// was read.
    pub(crate) fn update_status(&self, resource: &str, read: &Value, status: Value) -> bool {
        let name = read["metadata"]["name"].as_str().expect("has a name");
        let key = key(resource, "default", name);
        let mut object = match self.state().objects.get(&key) {
            Some(object) if object["metadata"]["resourceVersion"] == read["metadata"]["resourceVersion"] => {
                object.clone()
            }
            _ => return false,
        };
        object["status"] = status;
        self.put(&key, object);
        true
    }

    pub(crate) fn delete(&self, resource: &str, name: &str) {
        let key = key(resource, "default", name);
        let mut state = self.state();
        let mut object = state.objects.remove(&key).expect("exists");
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        state.history.push((version, key, "DELETED", object));
        drop(state);
        self.version.send_replace(version);
    }

    fn put(&self, key: &Key, mut object: Value) {
        let mut state = self.state();
        let kind = if state.objects.contains_key(key) { "MODIFIED" } else { "ADDED" };
        if let Some(before) = state.objects.get(key) {
            object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if *before == object {
                return;
            }
        }
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        state.objects.insert(key.clone(), object.clone());
        state.history.push((version, key.clone(), kind, object));
        drop(state);
        self.version.send_replace(version);
    }

    /// Receives the version of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
