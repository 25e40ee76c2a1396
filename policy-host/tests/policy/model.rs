//! Several writers on a model of the API server, with the real module as its admission. They act in random order; when the
//! people stop, the controllers go on until nothing changes, and the count must be its owner's.
//!
//! A sequence that fails is made small, printed, and kept by proptest in `model.txt` beside this file, to be tried first
//! from then on.

use std::fmt;

use mcp_scaling_rules::{Transport, resolve};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{
    DEPLOYMENT_SELECTOR, OPERATOR, PERSON, PROXY_RUNNER, STATEFULSET_SELECTOR, deployment, mcpserver, scale,
    statefulset, update, with,
};

const HPA: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// The workload that is written to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Workload {
    Deployment,
    StatefulSet,
}

/// Releases of ToolHive that behave differently.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Release {
    /// The operator writes the Deployment back to 1, and the proxy runner the StatefulSet, whatever anybody else wants.
    /// Its custom resource has no counts to declare.
    V0_6,
    /// Both write what is declared; the operator caps stdio; what is not declared is left alone.
    Present,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    /// `kubectl scale`.
    PersonScales(Workload, u32),
    /// `kubectl edit` of the workload itself.
    PersonEdits(Workload, u32),
    AutoscalerRuns(Workload),
    OperatorReconciles,
    ProxyRunnerStarts,
}

#[derive(Clone, Debug)]
struct World {
    release: Release,
    transport: Transport,
    declared: Option<u32>,
    backend_declared: Option<u32>,
    /// What an autoscaler wants, of each workload that has one.
    autoscaler: Option<u32>,
    backend_autoscaler: Option<u32>,
}

/// The API server: what it stores, and how often it was written to.
struct Cluster {
    world: World,
    deployment: Value,
    statefulset: Value,
    /// What the last person asked for and got, of each workload.
    wanted: (u32, u32),
    attempts: usize,
    changes: usize,
}

impl World {
    fn server(&self) -> Value {
        let mut server = mcpserver(json!({
            "transport": self.transport.name(),
            "sessionStorage": {"provider": "redis", "address": "redis:6379"}
        }));
        for (name, count) in [("/spec/replicas", self.declared), ("/spec/backendReplicas", self.backend_declared)] {
            if let Some(count) = count {
                server = with(server, name, json!(count));
            }
        }
        server
    }

    fn declared(&self, workload: Workload) -> Option<u32> {
        match workload {
            Workload::Deployment => self.declared,
            Workload::StatefulSet => self.backend_declared,
        }
    }

    fn autoscaler(&self, workload: Workload) -> Option<u32> {
        match workload {
            Workload::Deployment => self.autoscaler,
            Workload::StatefulSet => self.backend_autoscaler,
        }
    }
}

impl Cluster {
    fn new(world: World) -> Self {
        Self {
            deployment: deployment(1),
            statefulset: statefulset(1, world.transport.name()),
            wanted: (1, 1),
            attempts: 0,
            changes: 0,
            world,
        }
    }

    fn object(&mut self, workload: Workload) -> &mut Value {
        match workload {
            Workload::Deployment => &mut self.deployment,
            Workload::StatefulSet => &mut self.statefulset,
        }
    }

    fn count(&mut self, workload: Workload) -> u32 {
        let count = self.object(workload)["spec"]["replicas"].as_u64().expect("has a count");
        u32::try_from(count).expect("is small")
    }

    /// An UPDATE of the workload itself.
    fn update(&mut self, workload: Workload, count: u32, user: &str) {
        let old = self.object(workload).clone();
        let outcome = update(old.clone(), with(old, "/spec/replicas", json!(count))).by(user);
        let outcome = outcome.finds(&self.world.server()).run();
        assert!(outcome.response.allowed, "nothing is refused by default");
        self.store(workload, outcome.object()["spec"]["replicas"].clone());
    }

    /// An UPDATE of its Scale.
    fn scale(&mut self, workload: Workload, count: u32, user: &str) {
        let (resource, selector) = match workload {
            Workload::Deployment => ("deployments", DEPLOYMENT_SELECTOR),
            Workload::StatefulSet => ("statefulsets", STATEFULSET_SELECTOR),
        };
        let case = scale(resource, selector, self.count(workload), count).by(user);
        let outcome = case.finds(&self.world.server()).run();
        assert!(outcome.response.allowed, "nothing is refused by default");
        let count = outcome.object()["spec"].get("replicas").cloned().unwrap_or(json!(0));
        self.store(workload, count);
    }

    fn store(&mut self, workload: Workload, count: Value) {
        self.attempts += 1;
        let object = self.object(workload);
        let is_change = object["spec"]["replicas"] != count;
        object["spec"]["replicas"] = count;
        self.changes += usize::from(is_change);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::PersonScales(workload, count) => {
                self.scale(workload, count, PERSON);
                self.remember(workload);
            }
            Action::PersonEdits(workload, count) => {
                self.update(workload, count, PERSON);
                self.remember(workload);
            }
            Action::AutoscalerRuns(workload) => self.autoscaler_runs(workload),
            Action::OperatorReconciles => self.operator_reconciles(),
            Action::ProxyRunnerStarts => self.proxy_runner_starts(),
        }
    }

    fn remember(&mut self, workload: Workload) {
        let count = self.count(workload);
        match workload {
            Workload::Deployment => self.wanted.0 = count,
            Workload::StatefulSet => self.wanted.1 = count,
        }
    }

    fn autoscaler_runs(&mut self, workload: Workload) {
        let live = self.count(workload);
        // An HPA does not touch a workload that is scaled to zero.
        let wanted = self.world.autoscaler(workload).filter(|wanted| *wanted != live && live > 0);
        if let Some(wanted) = wanted {
            self.scale(workload, wanted, HPA);
        }
    }

    fn operator_reconciles(&mut self) {
        let live = self.count(Workload::Deployment);
        let wanted = match self.world.release {
            Release::V0_6 => Some(1),
            Release::Present => resolve(self.world.transport, self.world.declared)
                .or((self.world.transport == Transport::Stdio && live > 1).then_some(1)),
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != live) {
            self.update(Workload::Deployment, wanted, OPERATOR);
        }
    }

    fn proxy_runner_starts(&mut self) {
        let wanted = match self.world.release {
            Release::V0_6 => Some(1),
            Release::Present => resolve(self.world.transport, self.world.backend_declared),
        };
        let live = self.count(Workload::StatefulSet);
        // An apply without the field leaves the count as it is.
        self.update(Workload::StatefulSet, wanted.unwrap_or(live), PROXY_RUNNER);
    }

    /// Lets the controllers run until the model's time is up. The old operator retries with back-off as long as the count
    /// is not the one it wants; a proxy runner starts now and then.
    fn settle(&mut self) {
        for round in 0..16_u32 {
            if self.world.release == Release::Present || round.is_power_of_two() {
                self.operator_reconciles();
            }
            if round % 5 == 0 {
                self.proxy_runner_starts();
            }
            for workload in [Workload::Deployment, Workload::StatefulSet] {
                self.autoscaler_runs(workload);
            }
        }
    }

    /// The count that the owner of the workload wants, before the stdio cap.
    fn owners(&self, workload: Workload) -> u32 {
        let wanted = match workload {
            Workload::Deployment => self.wanted.0,
            Workload::StatefulSet => self.wanted.1,
        };
        let autoscaler = self.world.autoscaler(workload).filter(|_| wanted > 0);
        self.world.declared(workload).or(autoscaler).unwrap_or(wanted)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (&self.deployment["spec"]["replicas"], &self.statefulset["spec"]["replicas"]);
        write!(formatter, "{:?}: {counts:?}, a person wanted {:?}", self.world, self.wanted)
    }
}

fn world() -> impl Strategy<Value = World> {
    let transport = prop::sample::select(&[Transport::Stdio, Transport::Sse, Transport::StreamableHttp]);
    let present = (option::of(0..4u32), option::of(0..4u32));
    let declared =
        prop_oneof![Just((Release::V0_6, (None, None))), present.prop_map(|declared| (Release::Present, declared)),];
    (transport, declared, option::of(1..6u32), option::of(1..6u32)).prop_map(
        |(transport, (release, (declared, backend_declared)), autoscaler, backend_autoscaler)| World {
            release,
            transport,
            declared,
            backend_declared,
            // A count that is declared and autoscaled has two owners; the policy warns about that.
            autoscaler: autoscaler.filter(|_| declared.is_none()),
            backend_autoscaler: backend_autoscaler.filter(|_| backend_declared.is_none()),
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let workload = || prop::sample::select(&[Workload::Deployment, Workload::StatefulSet]);
    prop_oneof![
        (workload(), 0..6u32).prop_map(|(workload, count)| Action::PersonScales(workload, count)),
        (workload(), 0..6u32).prop_map(|(workload, count)| Action::PersonEdits(workload, count)),
        workload().prop_map(Action::AutoscalerRuns),
        Just(Action::OperatorReconciles),
        Just(Action::ProxyRunnerStarts),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 250,
        failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::Direct(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/policy/model.txt"),
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_count_is_its_owners_when_the_writers_stop(
        world in world(), actions in prop::collection::vec(action(), 0..24)
    ) {
        let mut cluster = Cluster::new(world);
        for action in &actions {
            cluster.act(*action);
        }
        (cluster.attempts, cluster.changes) = (0, 0);
        cluster.settle();
        // Four starts of the proxy runner, four retries of the old operator, and what two autoscalers and a present
        // operator have to say once; where an autoscaler is capped it asks again each round.
        prop_assert!(cluster.changes <= 4, "{} changes: {:?}", cluster.changes, cluster);
        prop_assert!(cluster.attempts <= 12 + 32, "{} attempts: {:?}", cluster.attempts, cluster);
        let changes = cluster.changes;
        cluster.settle();
        prop_assert_eq!(cluster.changes, changes, "it went on changing: {:?}", cluster);

        for workload in [Workload::Deployment, Workload::StatefulSet] {
            let owners = cluster.owners(workload);
            let expected = resolve(cluster.world.transport, Some(owners));
            let count = cluster.count(workload);
            prop_assert_eq!(Some(count), expected, "{:?} {:?}", workload, cluster);
        }
    }
}
