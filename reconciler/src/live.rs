//! How many replicas the workloads of a cluster are set to run: the counts alone, since whole objects would take fifty times
//! the memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::runtime::watcher::Event;

use crate::plan::Live;
use crate::workload::{Kind, Workload};

/// The live counts of all servers, kept by the events of two watches.
#[derive(Debug, Default)]
pub struct LiveCounts {
    deployments: Mutex<Counts>,
    statefulsets: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    counts: HashMap<Box<str>, Count>,
    /// Which listing of all objects a count was last seen in.
    listing: u32,
    is_complete: bool,
}

#[derive(Debug)]
struct Count {
    replicas: u32,
    listing: u32,
}

/// The namespace and name of a server.
pub type ServerName = (Box<str>, Box<str>);

impl LiveCounts {
    /// Takes an event of a watch. The servers whose count it changed.
    pub fn apply(&self, kind: Kind, event: Event<Workload>) -> Vec<ServerName> {
        let mut counts = self.of_kind(kind);
        match event {
            Event::Init => counts.listing = counts.listing.wrapping_add(1),
            Event::InitApply(workload) | Event::Apply(workload) => return counts.put(workload).into_iter().collect(),
            Event::Delete(workload) => return counts.remove(&workload).into_iter().collect(),
            Event::InitDone => {
                counts.is_complete = true;
                return counts.remove_unlisted();
            }
        }
        Vec::new()
    }

    /// The counts of one server.
    pub fn of(&self, namespace: &str, name: &str) -> Live {
        let key = key(namespace, name);
        let count = |kind| self.of_kind(kind).counts.get(&key).map(|count| count.replicas);
        Live { deployment: count(Kind::Deployment), statefulset: count(Kind::StatefulSet) }
    }

    /// Whether both kinds have been listed once.
    pub fn are_complete(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.of_kind(*kind).is_complete)
    }

    fn of_kind(&self, kind: Kind) -> MutexGuard<'_, Counts> {
        let counts = match kind {
            Kind::Deployment => &self.deployments,
            Kind::StatefulSet => &self.statefulsets,
        };
        counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn put(&mut self, workload: Workload) -> Option<ServerName> {
        let Some(replicas) = workload.replicas.filter(|_| workload.is_servers) else {
            return self.remove(&workload);
        };
        let (namespace, name) = names(&workload);
        let count = Count { replicas, listing: self.listing };
        let before = self.counts.insert(key(&namespace, &name), count);
        before.is_none_or(|before| before.replicas != replicas).then_some((namespace, name))
    }

    fn remove(&mut self, workload: &Workload) -> Option<ServerName> {
        let (namespace, name) = names(workload);
        self.counts.remove(&key(&namespace, &name)).map(|_| (namespace, name))
    }

    fn remove_unlisted(&mut self) -> Vec<ServerName> {
        let listing = self.listing;
        let unlisted = self.counts.extract_if(|_, count| count.listing != listing);
        unlisted.filter_map(|(key, _)| key.split_once('/').map(|(one, other)| (one.into(), other.into()))).collect()
    }
}

fn names(workload: &Workload) -> ServerName {
    let text = |field: &Option<String>| field.as_deref().unwrap_or_default().into();
    (text(&workload.meta.namespace), text(&workload.meta.name))
}

fn key(namespace: &str, name: &str) -> Box<str> {
    format!("{namespace}/{name}").into()
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::LiveCounts;
    use crate::plan::Live;
    use crate::workload::{Kind, Workload};

    fn workload(name: &str, replicas: u32) -> Workload {
        let labels = json!({"toolhive": "true", "toolhive-name": name});
        let metadata = json!({"namespace": "default", "name": name, "labels": labels});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"replicas": replicas}})).expect("is read")
    }

    /// The names of the servers whose Deployment an event changed.
    fn changed(counts: &LiveCounts, event: Event<Workload>) -> Vec<String> {
        counts.apply(Kind::Deployment, event).into_iter().map(|(_, name)| name.into()).collect()
    }

    #[test]
    fn only_changes_are_told() {
        let counts = LiveCounts::default();
        assert_eq!(changed(&counts, Event::Apply(workload("a", 1))), ["a"]);
        assert!(changed(&counts, Event::Apply(workload("a", 1))).is_empty(), "a status update, or a duplicate");
        assert_eq!(changed(&counts, Event::Apply(workload("a", 2))), ["a"]);
        assert_eq!(counts.of("default", "a"), Live { deployment: Some(2), statefulset: None });
        assert_eq!(changed(&counts, Event::Delete(workload("a", 2))), ["a"]);
        assert!(changed(&counts, Event::Delete(workload("a", 2))).is_empty());
        assert_eq!(counts.of("default", "a"), Live::default());
    }

    #[test]
    fn a_workload_of_somebody_else_has_no_count() {
        let counts = LiveCounts::default();
        let foreign = Workload { is_servers: false, ..workload("a", 3) };
        assert!(changed(&counts, Event::Apply(foreign.clone())).is_empty());
        changed(&counts, Event::Apply(workload("a", 3)));
        assert_eq!(changed(&counts, Event::Apply(foreign)), ["a"], "it became somebody else's");
        assert_eq!(counts.of("default", "a"), Live::default());
    }

    #[test]
    fn a_new_listing_drops_what_is_gone() {
        let counts = LiveCounts::default();
        for name in ["a", "b", "c"] {
            changed(&counts, Event::Apply(workload(name, 1)));
        }
        assert!(!counts.are_complete());
        changed(&counts, Event::Init);
        assert!(changed(&counts, Event::InitApply(workload("a", 1))).is_empty());
        assert_eq!(changed(&counts, Event::InitApply(workload("b", 2))), ["b"]);
        assert_eq!(changed(&counts, Event::InitDone), ["c"]);
        assert_eq!(counts.of("default", "b").deployment, Some(2));
        assert!(!counts.are_complete(), "StatefulSets are not listed");
        counts.apply(Kind::StatefulSet, Event::InitDone);
        assert!(counts.are_complete());
    }
}
