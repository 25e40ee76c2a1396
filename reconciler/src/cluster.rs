//! Reads servers and workloads from the API server, page by page, and keeps of them only what decides.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use k8s_openapi::serde_json::Value;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, discovery};
use mcp_scaling_rules::SessionStorage;
use mcp_scaling_rules::server::{GROUP, MCP_SERVER};

use crate::plan::Live;
use crate::server::Server;

/// Objects a page. The API server's own tools take as many.
const PAGE: u32 = 500;

/// What a cluster has.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The servers that can be read, with their workloads, by namespace and name.
    pub servers: Vec<(Server, Live)>,
    /// Those that cannot: namespace, name and what is wrong.
    pub unreadable: Vec<(String, String, String)>,
}

/// Reads every `MCPServer`, of one namespace or of all, with the Deployment and StatefulSet of the same name. `progress` is
/// told after each page how many objects have been read.
///
/// # Errors
/// Where the API server does not answer, does not let us read, or has no `MCPServer`.
pub async fn read(
    client: &Client,
    namespace: Option<&str>,
    default_storage: SessionStorage,
    mut progress: impl FnMut(usize),
) -> Result<Inventory> {
    let resource = served_resource(client).await?;
    let mut read = 0;
    let mut pages = Pages { client, namespace, read: &mut read, progress: &mut progress };

    let mut inventory = Inventory::default();
    pages
        .each(&resource, None, |object| {
            let (namespace, name) = key(&object);
            match serde_json::to_value(object)
                .map_err(Into::into)
                .and_then(|json| Server::from_json(json, default_storage))
            {
                Ok(server) => inventory.servers.push((server, Live::default())),
                Err(error) => inventory.unreadable.push((namespace, name, format!("{error:#}"))),
            }
        })
        .await?;

    let workloads =
        [("Deployment", "app.kubernetes.io/name=mcpserver,toolhive=true"), ("StatefulSet", "toolhive=true")];
    let mut counts = HashMap::new();
    for (kind, labels) in workloads {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
        pages
            .each(&resource, Some(labels), |object| {
                if let Some(count) = replicas(&object) {
                    counts.insert((kind, key(&object)), count);
                }
            })
            .await?;
    }
    for (server, live) in &mut inventory.servers {
        let key = (server.namespace.clone(), server.name.clone());
        live.deployment = counts.get(&("Deployment", key.clone())).copied();
        live.statefulset = counts.get(&("StatefulSet", key)).copied();
    }
    inventory.servers.sort_by(|(one, _), (other, _)| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    Ok(inventory)
}

/// `MCPServer` at the version that the API server prefers.
async fn served_resource(client: &Client) -> Result<ApiResource> {
    let group = match discovery::group(client, GROUP).await {
        Ok(group) => group,
        Err(kube::Error::Discovery(_)) => bail!("the cluster does not serve {GROUP}: is ToolHive installed?"),
        Err(error) => return Err(error).context("cannot ask the API server what it serves"),
    };
    let recommended = group.recommended_kind(MCP_SERVER.name);
    let (resource, _) = recommended.with_context(|| format!("{GROUP} has no {}", MCP_SERVER.name))?;
    Ok(resource)
}

struct Pages<'p, F> {
    client: &'p Client,
    namespace: Option<&'p str>,
    read: &'p mut usize,
    progress: &'p mut F,
}

impl<F: FnMut(usize)> Pages<'_, F> {
    /// Calls `take` for each object of a kind.
    async fn each(
        &mut self,
        resource: &ApiResource,
        labels: Option<&str>,
        mut take: impl FnMut(DynamicObject),
    ) -> Result<()> {
        let api: Api<DynamicObject> = match self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        };
        let mut parameters = ListParams::default().limit(PAGE);
        if let Some(labels) = labels {
            parameters = parameters.labels(labels);
        }
        loop {
            let page = api.list(&parameters).await.with_context(|| format!("cannot list {}", resource.plural))?;
            *self.read += page.items.len();
            page.items.into_iter().for_each(&mut take);
            (self.progress)(*self.read);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(()),
            }
        }
    }
}

fn key(object: &DynamicObject) -> (String, String) {
    let metadata = &object.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// `spec.replicas` of a workload; the API server defaults an absent one to 1.
fn replicas(object: &DynamicObject) -> Option<u32> {
    match object.data.pointer("/spec/replicas") {
        None | Some(Value::Null) => Some(1),
        Some(count) => count.as_u64().and_then(|count| u32::try_from(count).ok()),
    }
}
