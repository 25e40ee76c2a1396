//! Reads servers and workloads from the API server once, page by page, and keeps of them only what decides.

use std::fmt::Debug;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use kube::api::{ApiResource, ListParams};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, discovery};
use mcp_scaling_rules::server::{GROUP, MCP_SERVER};
use serde::de::DeserializeOwned;

use crate::live::LiveCounts;
use crate::server::Server;
use crate::workload::{Kind, Workload};

/// Objects a page: few enough that a page does not show in the memory, many enough that a cluster is few pages.
pub const PAGE: u32 = 100;

/// What a cluster has.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The servers, by namespace and name.
    pub servers: Vec<Server>,
    /// What their workloads are set to run.
    pub live: LiveCounts,
}

/// Reads every `MCPServer`, of one namespace or of all, and the counts of their Deployments and StatefulSets. `progress` is
/// told after each page how many objects have been read.
///
/// # Errors
/// Where the API server does not answer, does not let us read, or has no `MCPServer`.
pub async fn read(client: &Client, namespace: Option<&str>, mut progress: impl FnMut(usize)) -> Result<Inventory> {
    let resource = Arc::new(served_resource(client).await?);
    let mut inventory = Inventory::default();
    let mut read = 0;
    let mut each = |objects: usize| {
        read += objects;
        progress(read);
    };
    let plural = &resource.plural;
    let servers = api::<Server>(client, namespace, &resource);
    pages(servers, plural, None, &mut each, |server| inventory.servers.push(server)).await?;
    for kind in Kind::ALL {
        let workloads = api::<Workload>(client, namespace, &kind);
        let take = |workload| drop(inventory.live.apply(kind, Event::Apply(workload)));
        pages(workloads, kind.plural(), Some(kind.selector()), &mut each, take).await?;
    }
    inventory.servers.sort_by(|one, other| (one.namespace(), one.name()).cmp(&(other.namespace(), other.name())));
    Ok(inventory)
}

/// `MCPServer` at the version that the API server prefers.
///
/// # Errors
/// Where the API server does not answer, or does not serve it.
pub async fn served_resource(client: &Client) -> Result<ApiResource> {
    let group = match discovery::group(client, GROUP).await {
        Ok(group) => group,
        Err(kube::Error::Discovery(_)) => bail!("the cluster does not serve {GROUP}: is ToolHive installed?"),
        Err(error) => return Err(error).context("cannot ask the API server what it serves"),
    };
    let recommended = group.recommended_kind(MCP_SERVER.name);
    let (resource, _) = recommended.with_context(|| format!("{GROUP} has no {}", MCP_SERVER.name))?;
    Ok(resource)
}

/// Whether the API server says that it does not serve a resource any more.
pub async fn is_gone(client: &Client, resource: &ApiResource) -> bool {
    let kind = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
    match discovery::pinned_kind(client, &kind).await {
        Err(kube::Error::Discovery(_)) => true,
        Err(kube::Error::Api(status)) => status.code == 404,
        // It does not answer: nobody knows.
        Ok(_) | Err(_) => false,
    }
}

/// The objects of a kind, of one namespace or of all.
pub fn api<K>(client: &Client, namespace: Option<&str>, kind: &K::DynamicType) -> Api<K>
where
    K: Resource<Scope = kube::core::DynamicResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
        None => Api::all_with(client.clone(), kind),
    }
}

async fn pages<K: Resource + Clone + Debug + DeserializeOwned>(
    api: Api<K>,
    plural: &str,
    labels: Option<&str>,
    progress: &mut impl FnMut(usize),
    mut take: impl FnMut(K),
) -> Result<()> {
    let mut parameters = ListParams { label_selector: labels.map(str::to_owned), ..ListParams::default().limit(PAGE) };
    loop {
        let page = api.list(&parameters).await.with_context(|| format!("cannot list {plural}"))?;
        progress(page.items.len());
        page.items.into_iter().for_each(&mut take);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(()),
        }
    }
}
