//! One pass over a cluster: what is wrong with its MCP servers, and what to do about it.

use mcp_scaling_rules::replicas::STDIO_REPLICAS;
use mcp_scaling_rules::{Scaling, SessionStorage, exceeds_stdio_cap};
use serde::Serialize;

use crate::cluster::Inventory;
use crate::plan::{Live, plan};
use crate::server::Server;

/// One thing that is wrong with one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The server's namespace.
    pub namespace: String,
    /// The server's name.
    pub name: String,
    /// `spec.transport`, or what it defaults to; empty where the server cannot be read.
    pub transport: String,
    /// `spec.replicas` and `spec.backendReplicas`, `-` for one that is not declared.
    pub declared: String,
    /// What Deployment and StatefulSet are set to run, `-` for one that is not there.
    pub live: String,
    /// `spec.sessionStorage.provider`, or what it defaults to.
    pub storage: String,
    /// What is wrong.
    pub finding: String,
    /// What sets it right.
    pub remedy: String,
}

/// Everything that is wrong, by namespace and name of the server. `default_storage` is what one without
/// `spec.sessionStorage` uses.
pub fn findings(inventory: &Inventory, default_storage: SessionStorage) -> Vec<Finding> {
    let of_server = |server: &Server| match server.scaling(default_storage) {
        Ok(scaling) => of_server(server, &scaling, inventory.live.of(server.namespace(), server.name())),
        Err(fault) => vec![unreadable(server, fault)],
    };
    inventory.servers.iter().flat_map(of_server).collect()
}

fn unreadable(server: &Server, fault: &str) -> Finding {
    Finding {
        namespace: server.namespace().to_owned(),
        name: server.name().to_owned(),
        transport: String::new(),
        declared: String::new(),
        live: String::new(),
        storage: String::new(),
        finding: format!("cannot be read: {fault}"),
        remedy: "correct the field".to_owned(),
    }
}

fn of_server(server: &Server, scaling: &Scaling, live: Live) -> Vec<Finding> {
    let plan = plan(server, scaling, live, false);
    let mut found: Vec<(String, String)> = Vec::new();

    for (field, declared) in [("spec.replicas", scaling.replicas), ("spec.backendReplicas", scaling.backend_replicas)] {
        if let Some(count) = declared.filter(|count| exceeds_stdio_cap(scaling.transport, *count)) {
            found.push((
                format!("{field} is {count}; stdio runs {STDIO_REPLICAS}"),
                format!("set {field} to 1, or use another transport"),
            ));
        }
    }
    for (workload, live, wanted) in
        [("Deployment", live.deployment, plan.deployment), ("StatefulSet", live.statefulset, plan.statefulset)]
    {
        if let (Some(live), Some(wanted)) = (live, wanted) {
            found.push((
                format!("{workload} is set to {live} replicas instead of {wanted}"),
                format!("kubectl scale {} {} --replicas={wanted}", workload.to_lowercase(), server.name()),
            ));
        }
    }
    if let Some(count) = plan.unshared_replicas {
        found.push((
            format!("{count} replicas do not share sessions"),
            "set spec.sessionStorage.provider to redis".to_owned(),
        ));
    }
    if plan.misleads {
        found.push((
            "status.conditions say otherwise".to_owned(),
            "let ToolHive's operator (v0.13 or newer) reconcile it".to_owned(),
        ));
    }

    found
        .into_iter()
        .map(|(finding, remedy)| Finding {
            namespace: server.namespace().to_owned(),
            name: server.name().to_owned(),
            transport: scaling.transport.name().to_owned(),
            declared: counts(scaling.replicas, scaling.backend_replicas),
            live: counts(live.deployment, live.statefulset),
            storage: scaling.session_storage.name().to_owned(),
            finding,
            remedy,
        })
        .collect()
}

fn counts(proxy: Option<u32>, backend: Option<u32>) -> String {
    let text = |count: Option<u32>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    format!("{}/{}", text(proxy), text(backend))
}

/// The findings as a table, in the manner of kubectl. Where there are none it says so.
pub fn table(findings: &[Finding], servers: usize) -> String {
    if findings.is_empty() {
        return format!("Nothing is wrong with the {servers} MCPServers.");
    }
    let titles = ["NAMESPACE", "NAME", "TRANSPORT", "DECLARED", "LIVE", "STORAGE", "FINDING", "WHAT TO DO"];
    let rows: Vec<[&str; 8]> = findings
        .iter()
        .map(|finding| {
            let Finding { namespace, name, transport, declared, live, storage, finding, remedy } = finding;
            [namespace, name, transport, declared, live, storage, finding, remedy].map(String::as_str)
        })
        .collect();
    let all = || std::iter::once(&titles).chain(&rows);
    let widths = [0, 1, 2, 3, 4, 5, 6, 7].map(|column| {
        let width = |row: &[&str; 8]| row.get(column).map_or(0, |cell| cell.chars().count());
        all().map(width).max().unwrap_or_default()
    });
    let line = |row: &[&str; 8]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}
