//! Reads servers and workloads from the API server once, in pages.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, ListParams};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, discovery};
use mcp_scaling_rules::kind::GROUP;
use mcp_scaling_rules::{ServerKind, Workload};
use serde::de::DeserializeOwned;

use crate::error::ClusterError;
use crate::observe::autoscaler::Autoscalers;
use crate::observe::last_writer::LastWriter;
use crate::observe::run_config::{self, RunConfig, SessionStorages};
use crate::observe::server::{Server, ServerObject};
use crate::observe::workload::{WorkloadObject, selector};
use crate::observe::workload_replicas::WorkloadReplicasCache;
use crate::options::StorageSource;

/// Objects in a page of a list: few enough to keep the memory small, many enough that a cluster has few pages.
pub(crate) const PAGE_SIZE: u32 = 50;

/// How often a list is begun anew because its continue token has expired.
const RESTARTS: usize = 5;

/// The servers of a cluster and their workloads.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// The servers, sorted by namespace and name, without those that are being deleted.
    pub(crate) servers: Vec<Server>,
    /// The replicas that their workloads are set to.
    pub(crate) workload_replicas: WorkloadReplicasCache,
    /// The storages that servers really use, if they are read from run configurations.
    pub(crate) session_storages: SessionStorages,
    /// The autoscalers.
    pub(crate) autoscalers: Autoscalers,
    /// Who last wrote the counts of the workloads that were [asked for](read_last_writers).
    pub(crate) last_writers: HashMap<WorkloadName, LastWriter>,
}

/// A workload: its kind, namespace and name.
pub(crate) type WorkloadName = (Workload, String, String);

/// Reads every `MCPServer`, of one namespace or of all, the replicas of their Deployments and StatefulSets, and autoscalers.
/// `progress` is called after each page with the number of objects read so far.
///
/// # Errors
/// [`ClusterError`] if the API server does not answer, does not permit a list of servers or workloads, or does not serve
/// `MCPServer`, or if the namespace does not exist.
pub(crate) async fn read(
    client: &Client,
    namespace: Option<&str>,
    storage: StorageSource,
    mut progress: impl FnMut(usize),
) -> Result<Inventory, ClusterError> {
    let resource = Arc::new(served_resource(client).await?);
    if let Some(namespace) = namespace {
        check_namespace(client, namespace).await?;
    }
    let mut inventory = Inventory::default();
    let mut read = 0;
    let servers = api::<ServerObject>(client, namespace, &resource);
    let servers = list(servers, &resource.plural, None, &mut progress).await?;
    read += servers.len();
    for workload in Workload::ALL {
        let objects = api::<WorkloadObject>(client, namespace, &workload);
        let objects =
            list(objects, workload.resource(), Some(selector(workload)), |page| progress(read + page)).await?;
        read += objects.len();
        for object in objects {
            inventory.workload_replicas.apply(workload, Event::Apply(object));
        }
    }
    if storage == StorageSource::RunConfig {
        let objects = api::<RunConfig>(client, namespace, &());
        let selector = run_config::selector();
        let objects = list(objects, "configmaps", Some(selector), |page| progress(read + page)).await?;
        read += objects.len();
        for object in objects {
            inventory.session_storages.apply(Event::Apply(object));
        }
    }
    let objects = autoscalers(client, namespace);
    // Who may not read autoscalers gets the other findings.
    if let Ok(objects) = list(objects, "horizontalpodautoscalers", None, |page| progress(read + page)).await {
        for object in objects {
            inventory.autoscalers.apply(Event::Apply(object));
        }
    }
    let servers = servers.into_iter().map(|object| object.server);
    inventory.servers = servers.filter(|server| !server.is_being_deleted).collect();
    inventory.servers.sort_by(|one, other| (one.namespace(), one.name()).cmp(&(other.namespace(), other.name())));
    Ok(inventory)
}

/// Reads who last wrote the counts of these workloads. If that fails, nothing is said of it.
pub(crate) async fn read_last_writers(
    client: &Client,
    inventory: &mut Inventory,
    workloads: impl IntoIterator<Item = WorkloadName>,
) {
    for (workload, namespace, name) in workloads {
        let objects = api::<WorkloadObject>(client, Some(&namespace), &workload);
        if let Ok(object) = objects.get_metadata(&name).await {
            inventory.last_writers.insert((workload, namespace, name), LastWriter::of(&object.metadata));
        }
    }
}

async fn check_namespace(client: &Client, namespace: &str) -> Result<(), ClusterError> {
    match Api::<Namespace>::all(client.clone()).get_metadata(namespace).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err(ClusterError::NamespaceNotFound { namespace: namespace.to_owned() })
        }
        // Who may not read the namespace may still list what is in it.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// `MCPServer` at the version that the API server prefers.
///
/// # Errors
/// [`ClusterError`] if the API server does not answer, or does not serve it.
pub async fn served_resource(client: &Client) -> Result<ApiResource, ClusterError> {
    let group = match discovery::group(client, GROUP).await {
        Ok(group) => group,
        Err(kube::Error::Discovery(_)) => return Err(ClusterError::GroupNotServed),
        Err(error) => return Err(ClusterError::Discovery(error)),
    };
    let (resource, _) = group.recommended_kind(ServerKind::McpServer.name()).ok_or(ClusterError::KindNotServed)?;
    Ok(resource)
}

/// Returns whether the API server answers that it does not serve a resource at this version.
pub(crate) async fn is_not_served(client: &Client, resource: &ApiResource) -> bool {
    let kind = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
    match discovery::pinned_kind(client, &kind).await {
        Err(kube::Error::Discovery(_)) => true,
        Err(kube::Error::Api(status)) => status.code == 404,
        // An API server that does not answer may still serve it.
        Ok(_) | Err(_) => false,
    }
}

/// The API for HorizontalPodAutoscalers, of one namespace or of all.
pub(crate) fn autoscalers(client: &Client, namespace: Option<&str>) -> Api<HorizontalPodAutoscaler> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The API for a type, of one namespace or of all.
pub(crate) fn api<K>(client: &Client, namespace: Option<&str>, dynamic_type: &K::DynamicType) -> Api<K>
where
    K: Resource<Scope = kube::core::DynamicResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, dynamic_type),
        None => Api::all_with(client.clone(), dynamic_type),
    }
}

/// Lists all objects. `progress` is called after each page with the number of objects read so far.
async fn list<K: Resource + Clone + Debug + DeserializeOwned>(
    api: Api<K>,
    resource: &str,
    label_selector: Option<String>,
    mut progress: impl FnMut(usize),
) -> Result<Vec<K>, ClusterError> {
    let first_page = ListParams { label_selector, ..ListParams::default().limit(PAGE_SIZE) };
    let (mut objects, mut parameters, mut restarts) = (Vec::new(), first_page.clone(), 0);
    loop {
        let page = match api.list(&parameters).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 410 && restarts < RESTARTS => {
                (objects, parameters, restarts) = (Vec::new(), first_page.clone(), restarts + 1);
                continue;
            }
            Err(source) => return Err(ClusterError::List { resource: resource.to_owned(), source }),
        };
        objects.extend(page.items);
        progress(objects.len());
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(objects),
        }
    }
}
