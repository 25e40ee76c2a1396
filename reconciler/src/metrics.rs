//! What the reconciler counts, in the terms of Prometheus. Label sets are closed: none grows with the cluster.

use kube::runtime::controller::Action;
use mcp_scaling_rules::conditions::{LIVE_REPLICAS_WARNING, SESSION_STORAGE_WARNING, STDIO_REPLICA_CAPPED};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::reconcile::Failure;
use crate::workload::Kind;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfCondition {
    condition: &'static str,
}

/// The commit that was built, where the build says so.
pub const COMMIT: &str = match option_env!("GIT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// All of them, with the registry that prints them.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Outcome, Counter>,
    corrections: Family<OfKind, Counter>,
    watch_failures: Family<OfKind, Counter>,
    warned: Family<OfCondition, Gauge>,
    /// Status writes.
    pub status_writes: Counter,
    /// Writes that yield to another writer.
    pub yields: Counter,
    /// Events that could not be written.
    pub event_failures: Counter,
    /// `MCPServer`s that are watched.
    pub servers: Gauge,
    /// Those of them that cannot be read.
    pub unreadable_servers: Gauge,
    /// 1 where this process leads.
    pub leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("mcpserver_scaling"),
            reconciles: Family::default(),
            corrections: Family::default(),
            watch_failures: Family::default(),
            warned: Family::default(),
            status_writes: Counter::default(),
            yields: Counter::default(),
            event_failures: Counter::default(),
            servers: Gauge::default(),
            unreadable_servers: Gauge::default(),
            leader: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION")), ("commit", COMMIT)]);
        registry.register("build", "What was built", build);
        let mut counter = |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("status_writes", "Writes of status conditions", &self.status_writes);
        counter("yields", "Writes that began to yield to another writer", &self.yields);
        counter("event_failures", "Events that could not be written", &self.event_failures);
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("servers", "MCPServers that are watched", &self.servers);
        gauge("unreadable_servers", "MCPServers with a spec that cannot be read", &self.unreadable_servers);
        gauge("leader", "1 where this process leads", &self.leader);
        registry.register("reconciles", "MCPServers looked at", self.reconciles.clone());
        registry.register("replica_corrections", "Workloads that were scaled", self.corrections.clone());
        registry.register("watch_failures", "Failed lists and watches", self.watch_failures.clone());
        registry.register("servers_warned", "MCPServers of which a condition should be True", self.warned.clone());

        // All label values are there from the beginning, so that a rate is never of nothing.
        for result in ["ok", "conflict", "error"] {
            drop(self.reconciles.get_or_create(&Outcome { result }));
        }
        for kind in Kind::ALL {
            drop(self.corrections.get_or_create(&OfKind { kind: kind.name() }));
        }
        for kind in ["MCPServer", "Deployment", "StatefulSet"] {
            drop(self.watch_failures.get_or_create(&OfKind { kind }));
        }
        for condition in [STDIO_REPLICA_CAPPED, SESSION_STORAGE_WARNING, LIVE_REPLICAS_WARNING] {
            self.warn(condition, 0);
        }
    }

    pub(crate) fn reconciled(&self, result: &Result<Action, Failure>) {
        let result = match result {
            Ok(_) => "ok",
            Err(failure) if failure.is_conflict() => "conflict",
            Err(_) => "error",
        };
        self.reconciles.get_or_create(&Outcome { result }).inc();
    }

    pub(crate) fn corrected(&self, kind: Kind) {
        self.corrections.get_or_create(&OfKind { kind: kind.name() }).inc();
    }

    pub(crate) fn watch_failed(&self, kind: &'static str) {
        self.watch_failures.get_or_create(&OfKind { kind }).inc();
    }

    pub(crate) fn warn(&self, condition: &'static str, servers: i64) {
        self.warned.get_or_create(&OfCondition { condition }).set(servers);
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::controller::Action;

    use super::Metrics;

    #[test]
    fn every_series_is_there_from_the_beginning() {
        let metrics = Metrics::new();
        let series = |metrics: &Metrics| {
            let text = metrics.render();
            let names = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next());
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = series(&metrics);
        assert!(before.contains(&r#"mcpserver_scaling_reconciles_total{result="conflict"}"#.to_owned()), "{before:?}");
        assert!(before.iter().any(|name| name.starts_with("mcpserver_scaling_build_info{version=")), "{before:?}");
        metrics.reconciled(&Ok(Action::await_change()));
        assert_eq!(series(&metrics).len(), before.len());
        assert!(metrics.render().contains(r#"mcpserver_scaling_reconciles_total{result="ok"} 1"#));
    }

    #[test]
    fn alerts_dashboard_and_documents_name_what_there_is() {
        let rendered = Metrics::new().render();
        let mut named = 0;
        for file in
            ["deploy/chart/files/alerts.yaml", "deploy/chart/files/dashboard.json", "docs/operations.md", "README.md"]
        {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../").to_owned() + file;
            let text = std::fs::read_to_string(path).expect("is there");
            for rest in text.split("mcpserver_scaling_").skip(1) {
                let name: String =
                    rest.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
                let is_there = rendered.lines().any(|line| {
                    let series = line.strip_prefix("mcpserver_scaling_").and_then(|line| line.strip_prefix(&name));
                    series.is_some_and(|rest| rest.starts_with([' ', '{']))
                });
                assert!(is_there, "{file}: mcpserver_scaling_{name}");
                named += 1;
            }
        }
        assert!(named > 20, "{named}");
        let dashboard = include_str!("../../deploy/chart/files/dashboard.json");
        assert!(serde_json::from_str::<serde_json::Value>(dashboard).is_ok());
    }
}
