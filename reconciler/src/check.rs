//! The findings of one pass over a cluster: the problems of its MCP servers, and a remedy for each.

use mcp_scaling_rules::transport::STDIO_REPLICAS;
use mcp_scaling_rules::{InvalidField, Scaling, SessionStorage, Workload, exceeds_stdio_cap};
use serde::Serialize;

use crate::cluster::Inventory;
use crate::live_replicas::LiveReplicas;
use crate::options::Counts;
use crate::plan::{Circumstances, plan};
use crate::server::Server;

/// One problem of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The server's namespace.
    pub namespace: String,
    /// The server's name.
    pub name: String,
    /// `spec.transport`, or its default; empty where the spec is invalid.
    pub transport: String,
    /// `spec.replicas/spec.backendReplicas`, `-` for one that is absent; empty where the spec is invalid.
    pub declared: String,
    /// The replicas that Deployment and StatefulSet are set to, `-` for one that does not exist; empty where the spec is
    /// invalid.
    pub live: String,
    /// `spec.sessionStorage.provider`, or the default storage; empty where the spec is invalid.
    pub storage: String,
    /// The problem.
    pub finding: String,
    /// The action that solves it.
    pub remedy: String,
}

/// The problems of all servers, sorted by namespace and name. `default_storage` is the storage of a server
/// without `spec.sessionStorage`; ToolHive's own conditions ignore it.
pub fn findings(inventory: &Inventory, default_storage: SessionStorage) -> Vec<Finding> {
    let of_server = |server: &Server| match &server.scaling {
        Ok(scaling) => {
            let live = inventory.live_replicas.get(server.namespace(), server.name());
            of_valid_server(server, scaling, default_storage, live)
        }
        Err(error) => vec![of_invalid_server(server, *error)],
    };
    inventory.servers.iter().flat_map(of_server).collect()
}

fn of_invalid_server(server: &Server, error: InvalidField) -> Finding {
    Finding {
        namespace: server.namespace().to_owned(),
        name: server.name().to_owned(),
        transport: String::new(),
        declared: String::new(),
        live: String::new(),
        storage: String::new(),
        finding: error.to_string(),
        remedy: "correct the field".to_owned(),
    }
}

fn of_valid_server(
    server: &Server,
    scaling: &Scaling,
    default_storage: SessionStorage,
    live: LiveReplicas,
) -> Vec<Finding> {
    let storage = scaling.session_storage_or(default_storage);
    let plan = plan(server, scaling, Circumstances { live, storage, counts: Counts::All }, false);
    let mut problems: Vec<(String, String)> = Vec::new();

    for workload in Workload::ALL {
        let field = workload.declared_in();
        if let Some(count) = workload.declared(scaling).filter(|count| exceeds_stdio_cap(scaling.transport, *count)) {
            problems.push((
                format!("{field} is {count}; transport stdio supports {STDIO_REPLICAS}"),
                format!("set {field} to {STDIO_REPLICAS}, or use another transport"),
            ));
        }
    }
    for workload in Workload::ALL {
        if let (Some(live), Some(desired)) = (live.of(workload), plan.replicas(workload)) {
            let kind = workload.kind();
            problems.push((
                format!("{kind} is set to {live} replicas instead of {desired}"),
                format!("kubectl scale {} {} --replicas={desired}", kind.to_lowercase(), server.name()),
            ));
        }
    }
    if let Some(count) = plan.unshared_replicas {
        problems.push((
            format!("{count} replicas do not share sessions"),
            "set spec.sessionStorage.provider to redis".to_owned(),
        ));
    }
    if plan.is_status_misleading {
        problems.push((
            "status.conditions are missing or stale".to_owned(),
            "have ToolHive's operator (v0.13 or newer) or this reconciler write them".to_owned(),
        ));
    }

    problems
        .into_iter()
        .map(|(finding, remedy)| Finding {
            namespace: server.namespace().to_owned(),
            name: server.name().to_owned(),
            transport: scaling.transport.name().to_owned(),
            declared: counts(|workload| workload.declared(scaling)),
            live: counts(|workload| live.of(workload)),
            storage: storage.name().to_owned(),
            finding,
            remedy,
        })
        .collect()
}

/// The counts of both workloads, as `3/-`.
fn counts(count: impl Fn(Workload) -> Option<u32>) -> String {
    Workload::ALL.map(|workload| count(workload).map_or_else(|| "-".to_owned(), |count| count.to_string())).join("/")
}

/// The findings as a table, formatted like one of kubectl's, or a sentence where there are none.
pub fn table(findings: &[Finding], servers: usize) -> String {
    if findings.is_empty() {
        return format!("No problems found in {servers} MCPServers.");
    }
    let titles = ["NAMESPACE", "NAME", "TRANSPORT", "DECLARED", "LIVE", "STORAGE", "FINDING", "REMEDY"];
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
