//! Prometheus metrics. The values of each label are fixed, so that the number of series does not grow with the cluster.

use mcp_scaling_rules::{AutoscalerKind, ConditionType, ServerKind, Workload};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::error::ReconcileError;
use crate::observe::run_config;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConditionLabel {
    condition: &'static str,
}

/// The commit that this binary was built from, from `$GIT_COMMIT` at build time.
pub const COMMIT: &str = match option_env!("GIT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The metrics, and the registry that encodes them.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ResultLabel, Counter>,
    corrections: Family<KindLabel, Counter>,
    watch_failures: Family<KindLabel, Counter>,
    warned: Family<ConditionLabel, Gauge>,
    /// Status writes.
    pub(crate) status_writes: Counter,
    /// Targets that the reconciler began to back off from.
    pub(crate) backoffs: Counter,
    /// Events that could not be published.
    pub(crate) event_failures: Counter,
    /// `MCPServer`s that are watched.
    pub(crate) servers: Gauge,
    /// `MCPServer`s with an invalid spec.
    pub(crate) unreadable_servers: Gauge,
    /// 1 if this process is the leader, else 0.
    pub leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("mcpserver_scaling"),
            reconciles: Family::default(),
            corrections: Family::default(),
            watch_failures: Family::default(),
            warned: Family::default(),
            status_writes: Counter::default(),
            backoffs: Counter::default(),
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
        registry.register("build", "Version and commit of this binary", build);
        let mut counter = |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("status_writes", "Writes of status conditions", &self.status_writes);
        // The name is part of the chart's alerts and dashboard.
        counter("backoffs", "Times the reconciler began to back off from a reverting writer", &self.backoffs);
        counter("event_failures", "Events that could not be published", &self.event_failures);
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("servers", "Watched MCPServers", &self.servers);
        gauge("unreadable_servers", "MCPServers with an invalid spec", &self.unreadable_servers);
        gauge("leader", "1 if this process is the leader, else 0", &self.leader);
        registry.register("reconciles", "Reconciles of an MCPServer", self.reconciles.clone());
        registry.register("replica_corrections", "Corrected replicas of a workload", self.corrections.clone());
        registry.register("watch_failures", "Failed lists and watches", self.watch_failures.clone());
        registry.register("servers_warned", "MCPServers for which the condition is due", self.warned.clone());

        // Each series exists from the start, so that a rate has its first value.
        for result in ["ok", "conflict", "error"] {
            drop(self.reconciles.get_or_create(&ResultLabel { result }));
        }
        let workloads = Workload::ALL.map(Workload::kind);
        for kind in workloads {
            drop(self.corrections.get_or_create(&KindLabel { kind }));
        }
        for kind in workloads.into_iter().chain([
            ServerKind::McpServer.name(),
            run_config::KIND,
            AutoscalerKind::HorizontalPodAutoscaler.name(),
        ]) {
            drop(self.watch_failures.get_or_create(&KindLabel { kind }));
        }
        self.clear_gauges();
    }

    /// Counts a reconcile by its result.
    pub(crate) fn count_reconcile<T>(&self, result: &Result<T, ReconcileError>) {
        let result = match result {
            Ok(_) => "ok",
            Err(error) if error.is_conflict() => "conflict",
            Err(_) => "error",
        };
        self.reconciles.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a correction of a workload's replicas.
    pub(crate) fn count_correction(&self, workload: Workload) {
        self.corrections.get_or_create(&KindLabel { kind: workload.kind() }).inc();
    }

    /// Counts a failed list or watch of a kind.
    pub(crate) fn count_watch_failure(&self, kind: &'static str) {
        self.watch_failures.get_or_create(&KindLabel { kind }).inc();
    }

    /// Sets for how many servers a condition should be `True`.
    pub(crate) fn set_warned(&self, condition: ConditionType, servers: i64) {
        self.warned.get_or_create(&ConditionLabel { condition: condition.name() }).set(servers);
    }

    /// Sets the gauges about the cluster to zero.
    pub(crate) fn clear_gauges(&self) {
        self.servers.set(0);
        self.unreadable_servers.set(0);
        for condition in ConditionType::ALL {
            self.set_warned(condition, 0);
        }
    }

    /// The metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn has_every_series_from_the_start() {
        let metrics = Metrics::new();
        let series = |metrics: &Metrics| {
            let text = metrics.render();
            let names = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next());
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = series(&metrics);
        assert!(before.contains(&r#"mcpserver_scaling_reconciles_total{result="conflict"}"#.to_owned()), "{before:?}");
        assert!(before.iter().any(|name| name.starts_with("mcpserver_scaling_build_info{version=")), "{before:?}");
        metrics.count_reconcile(&Ok(()));
        assert_eq!(series(&metrics).len(), before.len());
        assert!(metrics.render().contains(r#"mcpserver_scaling_reconciles_total{result="ok"} 1"#));
    }

    #[test]
    fn has_every_metric_that_alerts_dashboard_and_documents_name() {
        let rendered = Metrics::new().render();
        let mut named = 0;
        for file in
            ["deploy/chart/files/alerts.yaml", "deploy/chart/files/dashboard.json", "docs/operations.md", "README.md"]
        {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../").to_owned() + file;
            let text = std::fs::read_to_string(path).expect("can be read");
            for rest in text.split("mcpserver_scaling_").skip(1) {
                let name: String =
                    rest.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
                let exists = rendered.lines().any(|line| {
                    let series = line.strip_prefix("mcpserver_scaling_").and_then(|line| line.strip_prefix(&name));
                    series.is_some_and(|rest| rest.starts_with([' ', '{']))
                });
                assert!(exists, "{file}: mcpserver_scaling_{name}");
                named += 1;
            }
        }
        assert!(named > 20, "{named}");
        let dashboard = include_str!("../../deploy/chart/files/dashboard.json");
        assert!(serde_json::from_str::<serde_json::Value>(dashboard).is_ok());
    }
}
