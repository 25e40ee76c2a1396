//! The replicas that the workloads of each server are set to (`spec.replicas` of the Deployment and the StatefulSet).

use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::runtime::watcher::Event;
use mcp_scaling_rules::Workload;

use crate::observe::server_key::ServerKey;
use crate::observe::uid::Uid;
use crate::observe::watch_cache::WatchCache;
use crate::observe::workload::{PodsLeft, WorkloadObject};

/// The replicas that the workloads of one server are set to, `None` if there is no such workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkloadReplicas {
    /// Of the Deployment: the proxy runner.
    pub deployment: Option<u32>,
    /// Of the StatefulSet: the backend.
    pub statefulset: Option<u32>,
    /// The count of the Deployment before a reset by ToolHive's operator that the policy let through.
    pub deployment_before_reset: Option<u32>,
    /// The version of the Deployment that tells of this reset.
    pub reset_version: Uid,
    /// The pods that are left of a Deployment with 0 replicas.
    pub proxies_left: PodsLeft,
    /// The count of the StatefulSet before the reconciler scaled it to 0 with its proxies.
    pub statefulset_before_zero: Option<u32>,
}

impl WorkloadReplicas {
    /// The count of one workload.
    pub(crate) fn of(self, workload: Workload) -> Option<u32> {
        match workload {
            Workload::Deployment => self.deployment,
            Workload::StatefulSet => self.statefulset,
        }
    }

    /// The same with the count of one workload as it was just read.
    #[must_use]
    pub(crate) fn with(self, workload: Workload, replicas: u32) -> Self {
        // Nothing is known yet of the pods of a Deployment that has been scaled to 0 since.
        let is_just_stopped = replicas == 0 && self.deployment != Some(0);
        let proxies_left = if is_just_stopped { PodsLeft::Some } else { self.proxies_left };
        match workload {
            Workload::Deployment => Self { deployment: Some(replicas), proxies_left, ..self },
            Workload::StatefulSet => Self { statefulset: Some(replicas), ..self },
        }
    }
}

/// The replicas of the workloads of all servers, updated by the events of two watches.
#[derive(Debug, Default)]
pub(crate) struct WorkloadReplicasCache {
    deployments: Mutex<WatchCache<SeenWorkload>>,
    statefulsets: Mutex<WatchCache<SeenWorkload>>,
}

/// The part of a workload that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SeenWorkload {
    replicas: u32,
    /// Few workloads have it, and it takes no space for the others.
    transition: Option<Box<Transition>>,
}

/// What is known of a count that will not stay. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Transition {
    before_reset: Option<u32>,
    reset_version: Uid,
    before_zero: Option<u32>,
    pods_left: PodsLeft,
}

impl WorkloadReplicasCache {
    /// Applies an event of a watch and returns the servers whose count changed.
    pub(crate) fn apply(&self, workload: Workload, event: Event<WorkloadObject>) -> Vec<ServerKey> {
        self.listed(workload).apply(event, |object| (server(&object), seen(&object)))
    }

    /// The replicas of the workloads of one server.
    pub(crate) fn get(&self, server: ServerKey) -> WorkloadReplicas {
        let [deployment, statefulset] = Workload::ALL.map(|workload| self.listed(workload).get(server));
        let replicas = |seen: &Option<SeenWorkload>| seen.as_ref().map(|seen| seen.replicas);
        let (deployment_replicas, statefulset_replicas) = (replicas(&deployment), replicas(&statefulset));
        let transition =
            |seen: Option<SeenWorkload>| seen.and_then(|seen| seen.transition).map(|it| *it).unwrap_or_default();
        let deployment = transition(deployment);
        WorkloadReplicas {
            deployment: deployment_replicas,
            statefulset: statefulset_replicas,
            deployment_before_reset: deployment.before_reset,
            reset_version: deployment.reset_version,
            proxies_left: deployment.pods_left,
            statefulset_before_zero: transition(statefulset).before_zero,
        }
    }

    /// Returns whether Deployments and StatefulSets have both been listed.
    pub(crate) fn is_complete(&self) -> bool {
        Workload::ALL.into_iter().all(|workload| self.listed(workload).is_complete())
    }

    fn listed(&self, workload: Workload) -> MutexGuard<'_, WatchCache<SeenWorkload>> {
        let listed = match workload {
            Workload::Deployment => &self.deployments,
            Workload::StatefulSet => &self.statefulsets,
        };
        listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seen(object: &WorkloadObject) -> Option<SeenWorkload> {
    let replicas = object.replicas.filter(|_| object.is_owned_by_server)?;
    let transition = Transition {
        before_reset: object.replicas_before_reset,
        // Only of a reset: the version changes with each status.
        reset_version: match object.replicas_before_reset {
            Some(_) => Uid::of(object.meta.resource_version.as_deref()),
            None => Uid::default(),
        },
        before_zero: object.replicas_before_zero,
        pods_left: object.pods_left,
    };
    Some(SeenWorkload { replicas, transition: (transition != Transition::default()).then(|| Box::new(transition)) })
}

/// The server that a workload of this name would belong to.
fn server(object: &WorkloadObject) -> ServerKey {
    let text = |field| Option::as_deref(field).unwrap_or_default();
    ServerKey::of(text(&object.meta.namespace), text(&object.meta.name))
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use mcp_scaling_rules::Workload;
    use serde_json::json;

    use super::{WorkloadReplicas, WorkloadReplicasCache};
    use crate::observe::server_key::ServerKey;
    use crate::observe::workload::{PodsLeft, WorkloadObject};

    fn workload(name: &str, replicas: u32) -> WorkloadObject {
        let labels = json!({"toolhive": "true", "toolhive-name": name});
        let metadata = json!({"namespace": "default", "name": name, "labels": labels});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"replicas": replicas}})).expect("is read")
    }

    /// The names of the servers whose Deployment an event changed.
    fn changed(cache: &WorkloadReplicasCache, event: Event<WorkloadObject>) -> Vec<&'static str> {
        let changed = cache.apply(Workload::Deployment, event);
        changed.into_iter().map(|server| if server == a() { "a" } else { "another" }).collect()
    }

    fn a() -> ServerKey {
        ServerKey::of("default", "a")
    }

    #[test]
    fn returns_only_servers_whose_count_changed() {
        let cache = WorkloadReplicasCache::default();
        assert_eq!(changed(&cache, Event::Apply(workload("a", 1))), ["a"]);
        assert!(changed(&cache, Event::Apply(workload("a", 1))).is_empty(), "a status update, or a duplicate");
        assert_eq!(changed(&cache, Event::Apply(workload("a", 2))), ["a"]);
        assert_eq!(cache.get(a()), WorkloadReplicas { deployment: Some(2), ..WorkloadReplicas::default() });
        let mut newer = workload("a", 2);
        newer.meta.resource_version = Some("2".to_owned());
        assert!(changed(&cache, Event::Apply(newer.clone())).is_empty(), "another version");
        newer.replicas_before_reset = Some(3);
        assert_eq!(changed(&cache, Event::Apply(newer.clone())), ["a"], "a reset");
        newer.meta.resource_version = Some("3".to_owned());
        assert_eq!(changed(&cache, Event::Apply(newer)), ["a"], "another version of a reset");
        assert_eq!(changed(&cache, Event::Apply(workload("a", 2))), ["a"], "no reset any more");
        assert_eq!(changed(&cache, Event::Delete(workload("a", 2))), ["a"]);
        assert!(changed(&cache, Event::Delete(workload("a", 2))).is_empty());
        assert_eq!(cache.get(a()), WorkloadReplicas::default());
    }

    #[test]
    fn takes_the_pods_of_proxies_that_were_just_scaled_to_zero_as_left() {
        let seen = |replicas| WorkloadReplicas { deployment: Some(replicas), ..WorkloadReplicas::default() };
        for (seen, read, proxies_left) in
            [(seen(1), 0, PodsLeft::Some), (seen(0), 0, PodsLeft::None), (seen(0), 1, PodsLeft::None)]
        {
            assert_eq!(seen.with(Workload::Deployment, read).proxies_left, proxies_left, "{seen:?}, {read} read");
            assert_eq!(seen.with(Workload::StatefulSet, read).proxies_left, PodsLeft::None, "another workload");
        }
    }

    #[test]
    fn leaves_out_workloads_of_other_owners() {
        let cache = WorkloadReplicasCache::default();
        let foreign = WorkloadObject { is_owned_by_server: false, ..workload("a", 3) };
        assert!(changed(&cache, Event::Apply(foreign.clone())).is_empty());
        changed(&cache, Event::Apply(workload("a", 3)));
        assert_eq!(changed(&cache, Event::Apply(foreign)), ["a"], "its owner changed");
        assert_eq!(cache.get(a()), WorkloadReplicas::default());
    }

    #[test]
    fn is_complete_once_both_kinds_are_listed() {
        let cache = WorkloadReplicasCache::default();
        cache.apply(Workload::Deployment, Event::InitDone);
        assert!(!cache.is_complete(), "StatefulSets are not listed yet");
        cache.apply(Workload::StatefulSet, Event::InitDone);
        assert!(cache.is_complete());
    }
}
