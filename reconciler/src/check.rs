//! The findings of one pass over a cluster: the problems of its MCP servers, and a remedy for each.

use kube::Client;
use mcp_scaling_rules::session_storage::redis_since;
use mcp_scaling_rules::sessions::{binds_sessions_to_a_backend, lacks_redis_password, pins_no_session_to_a_backend};
use mcp_scaling_rules::transport::STDIO_REPLICAS;
use mcp_scaling_rules::{InvalidField, Scaling, ServerKind, SessionStorage, Transport, Workload, exceeds_stdio_cap};
use serde::Serialize;

use crate::decide::coupling::{count_to_restore, workload_at_zero};
use crate::decide::plan::{Plan, PlanInputs, plan};
use crate::error::ClusterError;
use crate::observe::autoscaler::{Autoscaler, Conflict, conflicts};
use crate::observe::cluster::{self, Inventory, WorkloadName};
use crate::observe::last_writer::LastWriter;
use crate::observe::run_config::DEFAULT_REDIS_WITHOUT_PASSWORD;
use crate::observe::server::Server;
use crate::observe::workload_replicas::WorkloadReplicas;
use crate::options::{Counts, StorageSource};

/// Who owns the count of a workload.
enum CountOwner {
    /// The autoscaler that is aimed at it.
    Autoscaler(Autoscaler),
    /// Without one, who last wrote it.
    LastWriter(LastWriter),
}

/// One problem of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The server's namespace.
    pub namespace: String,
    /// The server's name.
    pub name: String,
    /// `spec.transport`, or its default; empty if the spec is invalid.
    pub transport: String,
    /// `spec.replicas/spec.backendReplicas`, `-` for one that is absent; empty if the spec is invalid.
    pub declared: String,
    /// The replicas that Deployment and StatefulSet are set to, `-` for one that does not exist; empty if the spec is
    /// invalid.
    pub set_to: String,
    /// The session storage, `-` if it is not known; empty if the spec is invalid.
    pub storage: String,
    /// The problem.
    pub finding: String,
    /// The action that solves it.
    pub remedy: String,
}

/// The result of one pass over a cluster.
#[derive(Debug)]
pub struct Report {
    /// The problems, sorted by namespace and name.
    pub findings: Vec<Finding>,
    /// The number of servers, without those that are being deleted.
    pub servers: usize,
}

/// Reads a namespace, or the whole cluster, and finds the problems of its servers. `storage` says where the session storage of
/// a server is read from; ToolHive's own conditions are decided from the spec. `progress` is called after each page that was read with
/// the number of objects so far.
///
/// # Errors
/// [`ClusterError`] if the API server does not answer, does not permit a list of servers or workloads, or does not serve
/// `MCPServer`, or if the namespace does not exist.
pub async fn run(
    client: &Client,
    namespace: Option<&str>,
    storage: StorageSource,
    progress: impl FnMut(usize),
) -> Result<Report, ClusterError> {
    let mut inventory = cluster::read(client, namespace, storage, progress).await?;
    let wrong = wrong_counts(&inventory, storage);
    cluster::read_last_writers(client, &mut inventory, wrong).await;
    Ok(Report { findings: findings(&inventory, storage), servers: inventory.servers.len() })
}

/// The workloads whose count a finding is about.
fn wrong_counts(inventory: &Inventory, source: StorageSource) -> Vec<WorkloadName> {
    let mut workloads = Vec::new();
    for server in &inventory.servers {
        let Ok(scaling) = &server.scaling else { continue };
        let set_to = inventory.workload_replicas.get(server.key());
        let storage = source.storage(scaling, inventory.session_storages.get(server.key()));
        let plan = plan_of(server, scaling, storage, set_to);
        let at_zero = workload_at_zero(set_to);
        let is_wrong = |workload: &Workload| {
            plan.replicas(*workload).is_some() || is_unshared(&plan, set_to, *workload) || at_zero == Some(*workload)
        };
        let of_server = Workload::ALL.into_iter().filter(is_wrong);
        workloads.extend(of_server.map(|workload| (workload, server.namespace().to_owned(), server.name().to_owned())));
    }
    workloads
}

fn plan_of(server: &Server, scaling: &Scaling, storage: Option<SessionStorage>, set_to: WorkloadReplicas) -> Plan {
    plan(server, scaling, PlanInputs { set_to, storage, counts: Counts::All, couple_zero: false }, false)
}

/// Returns whether this workload has the most replicas that do not share their sessions.
fn is_unshared(plan: &Plan, set_to: WorkloadReplicas, workload: Workload) -> bool {
    plan.unshared_replicas.is_some() && plan.unshared_replicas == set_to.of(workload)
}

/// The problems of all servers.
fn findings(inventory: &Inventory, source: StorageSource) -> Vec<Finding> {
    let of_server = |server: &Server| match &server.scaling {
        Ok(scaling) => of_valid_server(server, scaling, source, inventory),
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
        set_to: String::new(),
        storage: String::new(),
        finding: error.to_string(),
        remedy: "correct the field".to_owned(),
    }
}

fn of_valid_server(server: &Server, scaling: &Scaling, source: StorageSource, inventory: &Inventory) -> Vec<Finding> {
    let (namespace, name) = (server.namespace(), server.name());
    let set_to = inventory.workload_replicas.get(server.key());
    let owner = |workload| owner(inventory, workload, server);
    let storage = source.storage(scaling, inventory.session_storages.get(server.key()));
    let plan = plan_of(server, scaling, storage, set_to);
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
        let owner = owner(workload);
        if let (Some(set_to), Some(desired)) = (set_to.of(workload), plan.replicas(workload)) {
            let kind = workload.kind();
            let remedy = match &owner {
                Some(CountOwner::Autoscaler(autoscaler)) => {
                    let delete = delete(autoscaler, namespace);
                    match workload.declared(scaling) {
                        Some(_) if scaling.transport != Transport::Stdio => {
                            format!("{delete}, or remove {}", workload.declared_in())
                        }
                        _ => delete,
                    }
                }
                Some(CountOwner::LastWriter(_)) | None => {
                    format!("kubectl scale {} {name} --namespace {namespace} --replicas={desired}", kind.to_lowercase())
                }
            };
            problems.push((
                format!("{kind} is set to {set_to} replicas instead of {desired}{}", set_by(owner.as_ref())),
                remedy,
            ));
        } else if let Some(CountOwner::Autoscaler(autoscaler)) = owner {
            let remedy =
                |conflict: &Conflict| conflict.remedy.clone().unwrap_or_else(|| delete(&autoscaler, namespace));
            let conflicts = conflicts(&autoscaler, workload, scaling).into_iter();
            problems.extend(conflicts.map(|conflict| (conflict.finding.clone(), remedy(&conflict))));
        }
    }
    if let Some(workload) = workload_at_zero(set_to) {
        problems.push(at_zero(workload, server, scaling, set_to, owner(workload).as_ref()));
    }
    let backends = plan.statefulset.or(set_to.statefulset).unwrap_or_default();
    let binds_sessions = binds_sessions_to_a_backend(Workload::StatefulSet, scaling.transport, backends);
    let owner_of_backends = owner(Workload::StatefulSet);
    // What an autoscaler may request of them is a finding of its own.
    if !matches!(owner_of_backends, Some(CountOwner::Autoscaler(_))) {
        let set_by = set_by(owner_of_backends.as_ref());
        if binds_sessions {
            problems.push((
                format!("{backends} backends do not share sessions of transport sse{set_by}"),
                "use transport streamable-http, or 1 backend: Redis does not help".to_owned(),
            ));
        }
        if pins_no_session_to_a_backend(Workload::StatefulSet, scaling.transport, backends) {
            problems.push((
                format!("when proxies change, sessions lose what one of {backends} backends has in memory{set_by}"),
                "1 backend, unless the server keeps nothing of a session in memory: Redis does not help".to_owned(),
            ));
        }
    }
    let of_statefulset_alone =
        binds_sessions && plan.deployment.or(set_to.deployment).is_none_or(|proxies| proxies <= 1);
    if let Some(count) = plan.unshared_replicas.filter(|_| !of_statefulset_alone) {
        let owner = Workload::ALL.into_iter().find(|workload| is_unshared(&plan, set_to, *workload)).and_then(owner);
        problems.push((
            format!("{count} replicas do not share sessions{}", set_by(owner.as_ref())),
            format!(
                "set spec.sessionStorage.provider to redis (ToolHive {} or newer)",
                redis_since(ServerKind::McpServer)
            ),
        ));
    }
    if lacks_redis_password(ServerKind::McpServer, scaling.session_storage, storage) {
        problems.push((
            DEFAULT_REDIS_WITHOUT_PASSWORD.to_owned(),
            "remove spec.sessionStorage, or name that Redis there".to_owned(),
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
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            transport: scaling.transport.name().to_owned(),
            declared: counts(|workload| workload.declared(scaling)),
            set_to: counts(|workload| set_to.of(workload)),
            storage: storage.map_or("-", SessionStorage::name).to_owned(),
            finding,
            remedy,
        })
        .collect()
}

/// The finding and the remedy for a server of which one workload is at 0 while the other one runs.
fn at_zero(
    workload: Workload,
    server: &Server,
    scaling: &Scaling,
    set_to: WorkloadReplicas,
    owner: Option<&CountOwner>,
) -> (String, String) {
    let (effect, backends) = match workload {
        Workload::Deployment => ("the backend runs without a proxy", 0),
        Workload::StatefulSet => ("the proxies fail without a backend", count_to_restore(scaling, set_to).unwrap_or(1)),
    };
    let finding = format!("{} is set to 0 replicas{}: {effect}", workload.kind(), set_by(owner));
    let (namespace, name) = (server.namespace(), server.name());
    let command = format!("kubectl scale statefulset {name} --namespace {namespace} --replicas={backends}");
    let remedy = match (workload, owner) {
        // It starts the proxies again, and nothing but the reconciler starts a backend with them.
        (Workload::Deployment, Some(CountOwner::Autoscaler(_))) => {
            "run this reconciler with --couple-zero, which stops and starts the backend with its proxies".to_owned()
        }
        (Workload::StatefulSet, Some(CountOwner::Autoscaler(Autoscaler { kind, name, .. }))) => {
            format!("set the minimum of {} {name} to 1 or more, and {command}", kind.name())
        }
        (Workload::Deployment, _) => format!("{command}, and up again with the proxies"),
        (Workload::StatefulSet, _) => command,
    };
    (finding, remedy)
}

/// Who owns the count of a server's workload, if that is known.
fn owner(inventory: &Inventory, workload: Workload, server: &Server) -> Option<CountOwner> {
    let (namespace, name) = (server.namespace(), server.name());
    let autoscaler = inventory.autoscalers.get(workload, namespace, name).map(CountOwner::Autoscaler);
    let last_writer = || inventory.last_writers.get(&(workload, namespace.to_owned(), name.to_owned())).cloned();
    autoscaler.or_else(|| last_writer().map(CountOwner::LastWriter))
}

/// The command that deletes an autoscaler.
fn delete(autoscaler: &Autoscaler, namespace: &str) -> String {
    let Autoscaler { kind, name, .. } = autoscaler;
    format!("kubectl delete {} {name} --namespace {namespace}", kind.name().to_lowercase())
}

/// The end of a finding about a count: who owns it.
fn set_by(owner: Option<&CountOwner>) -> String {
    match owner {
        Some(CountOwner::Autoscaler(Autoscaler { kind, name, .. })) => format!(", set by {} {name}", kind.name()),
        Some(CountOwner::LastWriter(writer)) => format!(", {writer}"),
        None => String::new(),
    }
}

/// The counts of both workloads, as `3/-`.
fn counts(count: impl Fn(Workload) -> Option<u32>) -> String {
    Workload::ALL.map(|workload| count(workload).map_or_else(|| "-".to_owned(), |count| count.to_string())).join("/")
}

/// The findings as a table, formatted like one of kubectl's, or a sentence if there are none.
pub fn table(findings: &[Finding], servers: usize) -> String {
    if findings.is_empty() {
        return format!("No problems found in {servers} MCPServers.");
    }
    let titles = ["NAMESPACE", "NAME", "TRANSPORT", "DECLARED", "SET", "STORAGE", "FINDING", "REMEDY"];
    let rows: Vec<[&str; 8]> = findings
        .iter()
        .map(|finding| {
            let Finding { namespace, name, transport, declared, set_to, storage, finding, remedy } = finding;
            [namespace, name, transport, declared, set_to, storage, finding, remedy].map(String::as_str)
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
