//! The HorizontalPodAutoscalers that are aimed at workloads. KEDA makes one of its own for each ScaledObject, so that these are all.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;
use mcp_scaling_rules::autoscaler::{Range, RawRange, Scales, Target, known_as};
use mcp_scaling_rules::transport::STDIO_REPLICAS;
use mcp_scaling_rules::{AutoscalerKind, Field, Scaling, Workload, conflicts};

use crate::observe::server_key::ServerKey;

/// An autoscaler, as people know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Autoscaler {
    /// `kind`: KEDA's, if the HorizontalPodAutoscaler was made for a ScaledObject.
    pub(crate) kind: AutoscalerKind,
    /// `metadata.name` of the object of this kind.
    pub(crate) name: String,
    /// The counts that it may request. The minimum is that of the HorizontalPodAutoscaler: if KEDA made one, it never requests 0,
    /// and KEDA itself may.
    pub(crate) range: Range,
}

/// An autoscaler and the workload that it is aimed at, which may be one of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WatchedAutoscaler {
    autoscaler: Autoscaler,
    workload: Workload,
    target: Box<str>,
    /// The listing that it was last seen in or after.
    listing: u32,
}

/// The autoscalers of a cluster, updated by the events of a watch.
#[derive(Debug, Default)]
pub(crate) struct Autoscalers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By namespace and by the name of the HorizontalPodAutoscaler.
    namespaces: HashMap<Box<str>, HashMap<Box<str>, WatchedAutoscaler>>,
    /// Number of the current listing.
    listing: u32,
}

impl Autoscalers {
    /// Applies an event of a watch and returns the servers that would have the workloads of which the autoscaler changed.
    pub(crate) fn apply(&self, event: Event<HorizontalPodAutoscaler>) -> Vec<ServerKey> {
        let mut state = self.state();
        match event {
            Event::Init => {
                state.listing = state.listing.wrapping_add(1);
                Vec::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let watched = watched(&object, state.listing);
                state.set(&object.metadata, watched)
            }
            Event::Delete(object) => state.set(&object.metadata, None),
            Event::InitDone => state.remove_unlisted(),
        }
    }

    /// The autoscaler of a workload. If there are several, which Kubernetes does not support, the first by name.
    pub(crate) fn get(&self, workload: Workload, namespace: &str, name: &str) -> Option<Autoscaler> {
        let state = self.state();
        let autoscalers = state.namespaces.get(namespace)?.values();
        let of_workload = autoscalers.filter(|watched| watched.workload == workload && *watched.target == *name);
        of_workload.map(|watched| &watched.autoscaler).min().cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set(&mut self, metadata: &ObjectMeta, watched: Option<WatchedAutoscaler>) -> Vec<ServerKey> {
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else { return Vec::new() };
        let in_namespace = self.namespaces.entry(namespace.as_str().into()).or_default();
        let previous = match watched.clone() {
            Some(watched) => in_namespace.insert(name.as_str().into(), watched),
            None => in_namespace.remove(name.as_str()),
        };
        if in_namespace.is_empty() {
            self.namespaces.remove(namespace.as_str());
        }
        let is_same = |watched: &WatchedAutoscaler, previous: &WatchedAutoscaler| {
            WatchedAutoscaler { listing: watched.listing, ..previous.clone() } == *watched
        };
        if watched.as_ref().zip(previous.as_ref()).is_some_and(|(watched, previous)| is_same(watched, previous)) {
            return Vec::new();
        }
        let targets = [previous, watched].into_iter().flatten().map(|watched| watched.target);
        targets.map(|target| ServerKey::of(namespace, &target)).collect()
    }

    fn remove_unlisted(&mut self) -> Vec<ServerKey> {
        let listing = self.listing;
        let mut removed = Vec::new();
        self.namespaces.retain(|namespace, autoscalers| {
            let unlisted = autoscalers.extract_if(|_, watched| watched.listing != listing);
            removed.extend(unlisted.map(|(_, watched)| ServerKey::of(namespace, &watched.target)));
            !autoscalers.is_empty()
        });
        removed
    }
}

/// What an autoscaler is aimed at, `None` if that is neither a Deployment nor a StatefulSet.
fn watched(object: &HorizontalPodAutoscaler, listing: u32) -> Option<WatchedAutoscaler> {
    let target = &object.spec.scale_target_ref;
    let api_version = target.api_version.as_deref().map_or(Field::Absent, Field::Value);
    let read = Target::read(AutoscalerKind::HorizontalPodAutoscaler, api_version, Field::Value(&target.kind));
    let Ok(Target::Workload(workload)) = read else { return None };
    let owners = object.metadata.owner_references.iter().flatten().map(|owner| (&owner.kind, &owner.name));
    let (kind, name) = known_as(owners, object.metadata.name.as_ref()?);
    let raw = RawRange {
        minimum: object.spec.min_replicas.map_or(Field::Absent, |count| Field::Value(count.into())).count(),
        maximum: Field::Value(object.spec.max_replicas.into()).count(),
        ..RawRange::default()
    };
    let Ok(Scales::Within(range)) = Scales::read(AutoscalerKind::HorizontalPodAutoscaler, raw) else { return None };
    let autoscaler = Autoscaler { kind, name: name.clone(), range };
    Some(WatchedAutoscaler { autoscaler, workload, target: target.name.as_str().into(), listing })
}

/// A conflict of an autoscaler with a server, and its remedy. Both are for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The conflict.
    pub(crate) finding: String,
    /// The change of the autoscaler or of the server that solves it. `None` if only deleting the autoscaler does.
    pub(crate) remedy: Option<String>,
}

/// The conflicts of an autoscaler with the spec of the server whose workload it scales.
pub(crate) fn conflicts(autoscaler: &Autoscaler, workload: Workload, scaling: &Scaling) -> Vec<Conflict> {
    let Autoscaler { kind, name, range } = autoscaler;
    let Range { minimum, maximum } = range;
    let (kind, scaled) = (kind.name(), workload.kind());
    let found = conflicts::conflicts(workload, *range, scaling);
    let declared = found.declared.map(|_| {
        let field = workload.declared_in();
        format!("{field} conflicts with {kind} {name}, which scales the {scaled}; remove one of them")
    });
    let above_cap = found.exceeds_stdio_cap.then(|| {
        format!(
            "transport stdio supports {STDIO_REPLICAS} replica; {kind} {name} may request {maximum} of the {scaled}"
        )
    });
    let to_delete = |finding| Conflict { finding, remedy: None };
    let stops_backend = found.stops_backend.then(|| Conflict {
        finding: format!("{kind} {name} may stop the backend under running proxies, which then fail"),
        remedy: Some(format!("set {} of {kind} {name} to 1 or more", minimum.decided_by)),
    });
    let binds_sessions = found.binds_sessions.then(|| Conflict {
        finding: format!(
            "transport sse keeps each session in one backend, with Redis too; {kind} {name} may request {maximum}"
        ),
        remedy: Some("use transport streamable-http, or scale the Deployment only".to_owned()),
    });
    let pins_no_session = found.pins_no_session.then(|| Conflict {
        finding: format!(
            "when proxies change, sessions lose what their backend has in memory, with Redis too; {kind} {name} may \
             request {maximum}"
        ),
        remedy: Some("scale the Deployment only, unless the server keeps nothing of a session in memory".to_owned()),
    });
    let to_delete = declared.into_iter().chain(above_cap).map(to_delete);
    to_delete.chain(stops_backend).chain(binds_sessions).chain(pins_no_session).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
    use kube::runtime::watcher::Event;
    use mcp_scaling_rules::AutoscalerKind::{HorizontalPodAutoscaler as Hpa, ScaledObject};
    use mcp_scaling_rules::autoscaler::{Minimum, Range};
    use mcp_scaling_rules::{AutoscalerKind, Scaling, Transport, Workload};
    use serde_json::{Value, json};

    use super::{Autoscaler, Autoscalers, conflicts};
    use crate::observe::server_key::ServerKey;

    fn autoscaler(name: &str, kind: &str, target: &str, owners: Value) -> HorizontalPodAutoscaler {
        let group = if kind == "MCPServer" { "toolhive.stacklok.dev/v1beta1" } else { "apps/v1" };
        let target = json!({"apiVersion": group, "kind": kind, "name": target});
        serde_json::from_value(json!({
            "metadata": {"namespace": "default", "name": name, "ownerReferences": owners},
            "spec": {"maxReplicas": 5, "scaleTargetRef": target},
        }))
        .expect("is read")
    }

    fn deployment(name: &str, target: &str) -> HorizontalPodAutoscaler {
        autoscaler(name, "Deployment", target, json!([]))
    }

    /// The names of the servers that an event concerns.
    fn changed(autoscalers: &Autoscalers, event: Event<HorizontalPodAutoscaler>) -> Vec<&'static str> {
        let changed = autoscalers.apply(event);
        let is_changed = |name: &&str| changed.contains(&ServerKey::of("default", name));
        ["b", "github", "slack"].into_iter().filter(is_changed).collect()
    }

    fn name_of(autoscalers: &Autoscalers, workload: Workload, target: &str) -> Option<(AutoscalerKind, String)> {
        autoscalers.get(workload, "default", target).map(|found| (found.kind, found.name))
    }

    #[test]
    fn finds_the_autoscaler_of_a_workload() {
        let keda = json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "keda", "uid": "u"}]);
        for (object, workload, expected) in [
            (deployment("a", "github"), Workload::Deployment, Some((Hpa, "a"))),
            (deployment("a", "github"), Workload::StatefulSet, None),
            (autoscaler("a", "StatefulSet", "github", json!([])), Workload::StatefulSet, Some((Hpa, "a"))),
            (
                autoscaler("keda-hpa-keda", "Deployment", "github", keda),
                Workload::Deployment,
                Some((ScaledObject, "keda")),
            ),
            (autoscaler("a", "MCPServer", "github", json!([])), Workload::Deployment, None),
            (deployment("a", "other"), Workload::Deployment, None),
        ] {
            let autoscalers = Autoscalers::default();
            autoscalers.apply(Event::Apply(object.clone()));
            let expected = expected.map(|(kind, name)| (kind, name.to_owned()));
            assert_eq!(name_of(&autoscalers, workload, "github"), expected, "{object:?}");
            assert_eq!(autoscalers.get(workload, "other", "github"), None);
        }
    }

    #[test]
    fn returns_the_servers_whose_autoscaler_changed() {
        let autoscalers = Autoscalers::default();
        assert_eq!(changed(&autoscalers, Event::Apply(deployment("a", "github"))), ["github"]);
        assert!(changed(&autoscalers, Event::Apply(deployment("a", "github"))).is_empty(), "a status update");
        assert_eq!(changed(&autoscalers, Event::Apply(deployment("a", "slack"))), ["github", "slack"]);
        assert_eq!(name_of(&autoscalers, Workload::Deployment, "github"), None);
        assert_eq!(changed(&autoscalers, Event::Apply(deployment("b", "b"))), ["b"]);

        // A new listing without one of them.
        assert!(changed(&autoscalers, Event::Init).is_empty());
        assert!(changed(&autoscalers, Event::InitApply(deployment("b", "b"))).is_empty());
        assert_eq!(changed(&autoscalers, Event::InitDone), ["slack"]);
        assert_eq!(changed(&autoscalers, Event::Delete(deployment("b", "b"))), ["b"]);
        assert!(autoscalers.state().namespaces.is_empty());
    }

    #[test]
    fn finds_the_conflicts_of_an_autoscaler_and_a_spec() {
        let of = |minimum, maximum| Range { minimum: Minimum { count: minimum, decided_by: "minReplicas" }, maximum };
        let keda = Autoscaler { kind: ScaledObject, name: "keda".to_owned(), range: of(1, 5) };
        let conflicts = |autoscaler: &Autoscaler, workload, scaling: &Scaling| -> Vec<String> {
            conflicts(autoscaler, workload, scaling).into_iter().map(|conflict| conflict.finding).collect()
        };
        let scaling = |transport, replicas, backend_replicas| Scaling {
            transport,
            replicas,
            backend_replicas,
            session_storage: None,
        };
        let declared =
            "spec.replicas conflicts with ScaledObject keda, which scales the Deployment; remove one of them";
        let above_cap = "transport stdio supports 1 replica; ScaledObject keda may request 5 of the Deployment";
        for (scaling, expected) in [
            (scaling(Transport::Sse, None, None), vec![]),
            (scaling(Transport::Sse, None, Some(2)), vec![]),
            (scaling(Transport::Sse, Some(2), None), vec![declared]),
            (scaling(Transport::Stdio, None, None), vec![above_cap]),
            (scaling(Transport::Stdio, Some(1), None), vec![declared, above_cap]),
        ] {
            assert_eq!(conflicts(&keda, Workload::Deployment, &scaling), expected, "{scaling:?}");
        }
        let split = "transport sse keeps each session in one backend, with Redis too; ScaledObject keda may request 5";
        let stopped = "HorizontalPodAutoscaler hpa may stop the backend under running proxies, which then fail";
        let hpa = Autoscaler { kind: Hpa, name: "hpa".to_owned(), range: of(0, 1) };
        let sse = scaling(Transport::Sse, None, None);
        assert_eq!(conflicts(&keda, Workload::StatefulSet, &sse), [split]);
        assert_eq!(conflicts(&hpa, Workload::StatefulSet, &sse), [stopped]);
        assert!(conflicts(&hpa, Workload::Deployment, &sse).is_empty(), "proxies may go to 0");
        let streamable = scaling(Transport::StreamableHttp, None, None);
        let unpinned = "when proxies change, sessions lose what their backend has in memory, with Redis too; ScaledObject keda may request 5";
        assert_eq!(conflicts(&keda, Workload::StatefulSet, &streamable), [unpinned]);
        assert!(conflicts(&keda, Workload::Deployment, &streamable).is_empty());
        let one = Autoscaler { range: of(1, 1), ..keda };
        assert!(conflicts(&one, Workload::Deployment, &scaling(Transport::Stdio, None, None)).is_empty());
    }
}
