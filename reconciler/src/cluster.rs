//! Reads servers and workloads from the API server once, in pages.

use std::fmt::Debug;
use std::sync::Arc;

use kube::api::{ApiResource, ListParams};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, discovery};
use mcp_scaling_rules::kind::GROUP;
use mcp_scaling_rules::{ServerKind, Workload};
use serde::de::DeserializeOwned;

use crate::error::ClusterError;
use crate::live_replicas::LiveReplicasCache;
use crate::server::Server;
use crate::workload::{WorkloadObject, selector};

/// Objects in a page of a list: few enough to keep the memory small, many enough that a cluster has few pages.
pub(crate) const PAGE_SIZE: u32 = 100;

/// The servers of a cluster and their workloads.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The servers, sorted by namespace and name.
    pub(crate) servers: Vec<Server>,
    /// The replicas that their workloads are set to.
    pub(crate) live_replicas: LiveReplicasCache,
}

impl Inventory {
    /// The number of servers.
    pub fn server_count(&self) -> usize {
        self.servers.len()
    }
}

/// Reads every `MCPServer`, of one namespace or of all, and the replicas of their Deployments and StatefulSets. `progress` is
/// called after each page with the number of objects read so far.
///
/// # Errors
/// [`ClusterError`] where the API server does not answer, does not permit a list, or does not serve `MCPServer`.
pub async fn read(
    client: &Client,
    namespace: Option<&str>,
    mut progress: impl FnMut(usize),
) -> Result<Inventory, ClusterError> {
    let resource = Arc::new(served_resource(client).await?);
    let mut inventory = Inventory::default();
    let mut read = 0;
    let mut count_page = |objects: usize| {
        read += objects;
        progress(read);
    };
    let servers = api::<Server>(client, namespace, &resource);
    let add = |server| inventory.servers.push(server);
    list(servers, &resource.plural, None, &mut count_page, add).await?;
    for workload in Workload::ALL {
        let objects = api::<WorkloadObject>(client, namespace, &workload);
        let add = |object| drop(inventory.live_replicas.apply(workload, Event::Apply(object)));
        list(objects, workload.resource(), Some(selector(workload)), &mut count_page, add).await?;
    }
    inventory.servers.sort_by(|one, other| (one.namespace(), one.name()).cmp(&(other.namespace(), other.name())));
    Ok(inventory)
}

/// `MCPServer` at the version that the API server prefers.
///
/// # Errors
/// [`ClusterError`] where the API server does not answer, or does not serve it.
pub async fn served_resource(client: &Client) -> Result<ApiResource, ClusterError> {
    let group = match discovery::group(client, GROUP).await {
        Ok(group) => group,
        Err(kube::Error::Discovery(_)) => return Err(ClusterError::GroupNotServed),
        Err(error) => return Err(ClusterError::Discovery(error)),
    };
    let (resource, _) = group.recommended_kind(ServerKind::McpServer.name()).ok_or(ClusterError::KindNotServed)?;
    Ok(resource)
}

/// Whether the API server answers that it does not serve a resource at this version.
pub(crate) async fn is_not_served(client: &Client, resource: &ApiResource) -> bool {
    let kind = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
    match discovery::pinned_kind(client, &kind).await {
        Err(kube::Error::Discovery(_)) => true,
        Err(kube::Error::Api(status)) => status.code == 404,
        // An API server that does not answer may still serve it.
        Ok(_) | Err(_) => false,
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

async fn list<K: Resource + Clone + Debug + DeserializeOwned>(
    api: Api<K>,
    resource: &str,
    label_selector: Option<String>,
    count_page: &mut impl FnMut(usize),
    mut add: impl FnMut(K),
) -> Result<(), ClusterError> {
    let mut parameters = ListParams { label_selector, ..ListParams::default().limit(PAGE_SIZE) };
    loop {
        let failed = |source| ClusterError::List { resource: resource.to_owned(), source };
        let page = api.list(&parameters).await.map_err(failed)?;
        count_page(page.items.len());
        page.items.into_iter().for_each(&mut add);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(()),
        }
    }
}
