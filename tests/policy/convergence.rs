//! Shows that replica counts settle when several writers compete. People, autoscalers, an operator and a proxy runner write to
//! a simulated API server in random order, with the module as its admission. When the people stop, the controllers go on
//! until nothing changes; then each workload must have the count that its owner requested, after the stdio cap.
//!
//! The owner of a count is the custom resource if it declares one, else an autoscaler, else the last person.
//!
//! proptest shrinks and prints a sequence that fails, and keeps it in `convergence.txt` beside this file to try it first from
//! then on.

use std::collections::HashMap;
use std::fmt;

use mcp_scaling_rules::{Transport, Workload, resolve};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use fixtures::case::{
    AUTOSCALER, OPERATOR, PERSON, PROXY_RUNNER, deployment, mcpserver, scale, selector, statefulset, update, with,
};

/// Releases of ToolHive that behave differently.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Release {
    /// The operator resets the Deployment to 1, and the proxy runner the StatefulSet. The custom resource cannot declare
    /// counts.
    V0_6,
    /// Both write the declared count and leave a count alone that is not declared. The operator caps stdio.
    Current,
}

/// An event that makes a writer send its requests.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// `kubectl scale`.
    PersonScales(Workload, u32),
    /// `kubectl edit` of the workload itself.
    PersonEdits(Workload, u32),
    AutoscalerRuns(Workload),
    OperatorReconciles,
    ProxyRunnerStarts,
}

/// One value for each workload.
#[derive(Clone, Copy, Debug)]
struct PerWorkload<T> {
    deployment: T,
    statefulset: T,
}

impl<T> PerWorkload<T> {
    fn get(&self, workload: Workload) -> &T {
        match workload {
            Workload::Deployment => &self.deployment,
            Workload::StatefulSet => &self.statefulset,
        }
    }

    fn get_mut(&mut self, workload: Workload) -> &mut T {
        match workload {
            Workload::Deployment => &mut self.deployment,
            Workload::StatefulSet => &mut self.statefulset,
        }
    }
}

/// The server and its controllers, which do not change.
#[derive(Clone, Debug)]
struct Setup {
    release: Release,
    transport: Transport,
    /// The counts that the custom resource declares.
    declared: PerWorkload<Option<u32>>,
    /// The counts that autoscalers request, of each workload that has one.
    autoscaled: PerWorkload<Option<u32>>,
}

impl Setup {
    /// The custom resource.
    fn server(&self) -> Value {
        let mut server = mcpserver(json!({
            "transport": self.transport.name(),
            "sessionStorage": {"provider": "redis", "address": "redis:6379"}
        }));
        for workload in Workload::ALL {
            if let Some(count) = *self.declared.get(workload) {
                let pointer = format!("/{}", workload.declared_in().replace('.', "/"));
                server = with(server, &pointer, json!(count));
            }
        }
        server
    }
}

/// A write of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Write {
    workload: Workload,
    /// Says whether it writes the Scale of the workload, in place of the workload itself.
    to_scale: bool,
    from: u32,
    to: u32,
    user: &'static str,
}

/// The API server: the objects that it stores and the number of writes to them.
struct Cluster {
    setup: Setup,
    objects: PerWorkload<Value>,
    /// The counts after the last write of a person.
    set_by_person: PerWorkload<u32>,
    /// What each write led to. The module answers equal requests equally, and controllers repeat themselves.
    outcomes: HashMap<Write, Value>,
    /// Writes, with and without an effect on the count.
    writes: usize,
    /// Writes that changed a count.
    changes: usize,
}

impl Cluster {
    fn new(setup: Setup) -> Self {
        let statefulset = statefulset(1, setup.transport.name());
        Self {
            objects: PerWorkload { deployment: deployment(1), statefulset },
            set_by_person: PerWorkload { deployment: 1, statefulset: 1 },
            outcomes: HashMap::new(),
            writes: 0,
            changes: 0,
            setup,
        }
    }

    fn count(&self, workload: Workload) -> u32 {
        let count = self.objects.get(workload)["spec"]["replicas"].as_u64().expect("has a count");
        u32::try_from(count).expect("is small")
    }

    /// Updates the workload itself.
    fn update(&mut self, workload: Workload, count: u32, user: &'static str) {
        self.write(Write { workload, to_scale: false, from: self.count(workload), to: count, user });
    }

    /// Updates the Scale of the workload.
    fn scale(&mut self, workload: Workload, count: u32, user: &'static str) {
        self.write(Write { workload, to_scale: true, from: self.count(workload), to: count, user });
    }

    fn write(&mut self, write: Write) {
        let count = self.outcomes.get(&write).cloned().unwrap_or_else(|| self.admit(write));
        self.outcomes.insert(write, count.clone());
        let stored = &mut self.objects.get_mut(write.workload)["spec"]["replicas"];
        self.writes += 1;
        self.changes += usize::from(*stored != count);
        *stored = count;
    }

    /// The count that the module lets a write store.
    fn admit(&self, Write { workload, to_scale, from, to, user }: Write) -> Value {
        let old = self.objects.get(workload).clone();
        let case = match to_scale {
            true => scale(workload.resource(), &selector(workload), from, to),
            false => update(old.clone(), with(old, "/spec/replicas", json!(to))),
        };
        let outcome = case.by(user).lookup_finds(&self.setup.server()).run();
        assert!(outcome.response.allowed, "the default settings reject nothing");
        // A Scale leaves a count of 0 out.
        outcome.object()["spec"].get("replicas").cloned().unwrap_or(json!(0))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::PersonScales(workload, count) => {
                self.scale(workload, count, PERSON);
                *self.set_by_person.get_mut(workload) = self.count(workload);
            }
            Event::PersonEdits(workload, count) => {
                self.update(workload, count, PERSON);
                *self.set_by_person.get_mut(workload) = self.count(workload);
            }
            Event::AutoscalerRuns(workload) => self.run_autoscaler(workload),
            Event::OperatorReconciles => self.reconcile_operator(),
            Event::ProxyRunnerStarts => self.start_proxy_runner(),
        }
    }

    fn run_autoscaler(&mut self, workload: Workload) {
        let count = self.count(workload);
        // A HorizontalPodAutoscaler leaves a workload with 0 replicas alone.
        let requested = self.setup.autoscaled.get(workload).filter(|requested| *requested != count && count > 0);
        if let Some(requested) = requested {
            self.scale(workload, requested, AUTOSCALER);
        }
    }

    fn reconcile_operator(&mut self) {
        let Setup { release, transport, declared, .. } = self.setup;
        let count = self.count(Workload::Deployment);
        let requested = match release {
            Release::V0_6 => Some(1),
            Release::Current => resolve(transport, *declared.get(Workload::Deployment))
                .or((transport == Transport::Stdio && count > 1).then_some(1)),
        };
        if let Some(requested) = requested.filter(|requested| *requested != count) {
            self.update(Workload::Deployment, requested, OPERATOR);
        }
    }

    fn start_proxy_runner(&mut self) {
        let Setup { release, transport, declared, .. } = self.setup;
        let requested = match release {
            Release::V0_6 => Some(1),
            Release::Current => resolve(transport, *declared.get(Workload::StatefulSet)),
        };
        let count = self.count(Workload::StatefulSet);
        // An apply without the field leaves the count as it is.
        self.update(Workload::StatefulSet, requested.unwrap_or(count), PROXY_RUNNER);
    }

    /// Lets the controllers run for 16 rounds. The operator of v0.6 retries with a growing delay as long as the count is not
    /// 1; a proxy runner starts now and then.
    fn run_controllers(&mut self) {
        for round in 0..16_u32 {
            if self.setup.release == Release::Current || round.is_power_of_two() {
                self.reconcile_operator();
            }
            if round % 5 == 0 {
                self.start_proxy_runner();
            }
            for workload in Workload::ALL {
                self.run_autoscaler(workload);
            }
        }
    }

    /// The count that the owner of the workload requests, before the stdio cap.
    fn requested_by_owner(&self, workload: Workload) -> u32 {
        let set_by_person = *self.set_by_person.get(workload);
        let autoscaled = self.setup.autoscaled.get(workload).filter(|_| set_by_person > 0);
        self.setup.declared.get(workload).or(autoscaled).unwrap_or(set_by_person)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = Workload::ALL.map(|workload| self.count(workload));
        write!(formatter, "{:?}: {counts:?}, set by a person {:?}", self.setup, self.set_by_person)
    }
}

fn setup() -> impl Strategy<Value = Setup> {
    let transport = prop::sample::select(&[Transport::Stdio, Transport::Sse, Transport::StreamableHttp]);
    let current = (option::of(0..4u32), option::of(0..4u32));
    let declared =
        prop_oneof![Just((Release::V0_6, (None, None))), current.prop_map(|declared| (Release::Current, declared))];
    (transport, declared, option::of(1..6u32), option::of(1..6u32)).prop_map(
        |(transport, (release, (replicas, backend_replicas)), autoscaled, backend_autoscaled)| Setup {
            release,
            transport,
            declared: PerWorkload { deployment: replicas, statefulset: backend_replicas },
            // A count that is both declared and autoscaled has two owners; the policy warns about that.
            autoscaled: PerWorkload {
                deployment: autoscaled.filter(|_| replicas.is_none()),
                statefulset: backend_autoscaled.filter(|_| backend_replicas.is_none()),
            },
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let workload = || prop::sample::select(&Workload::ALL);
    prop_oneof![
        (workload(), 0..6u32).prop_map(|(workload, count)| Event::PersonScales(workload, count)),
        (workload(), 0..6u32).prop_map(|(workload, count)| Event::PersonEdits(workload, count)),
        workload().prop_map(Event::AutoscalerRuns),
        Just(Event::OperatorReconciles),
        Just(Event::ProxyRunnerStarts),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 250,
        failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::Direct(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/policy/convergence.txt"),
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn settles_at_the_count_of_the_owner(setup in setup(), events in prop::collection::vec(event(), 0..24)) {
        let mut cluster = Cluster::new(setup);
        for event in &events {
            cluster.handle(*event);
        }
        (cluster.writes, cluster.changes) = (0, 0);
        cluster.run_controllers();
        // At most four starts of the proxy runner, four retries of the old operator, and one change by each of two
        // autoscalers and a current operator. An autoscaler that is capped repeats its write in each round.
        prop_assert!(cluster.changes <= 4, "{} changes: {:?}", cluster.changes, cluster);
        prop_assert!(cluster.writes <= 12 + 32, "{} writes: {:?}", cluster.writes, cluster);
        let changes = cluster.changes;
        cluster.run_controllers();
        prop_assert_eq!(cluster.changes, changes, "the counts did not settle: {:?}", cluster);

        for workload in Workload::ALL {
            let expected = resolve(cluster.setup.transport, Some(cluster.requested_by_owner(workload)));
            prop_assert_eq!(Some(cluster.count(workload)), expected, "{:?} {:?}", workload, cluster);
        }
    }
}
