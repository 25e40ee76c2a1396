//! The model of the crate `exploration` and the real API server agree: random walks of the model are replayed with real
//! requests, and after each step the objects are the same, and so is the call that the reconciler waits for.
//!
//! The reconciler is the real one, but for its watches and its queue: its machine, and the driver that makes the machine's calls. Each
//! call is held back until the walk comes to it, and the time is that of the model. What the model leaves out is not replayed: faults,
//! and the coupling of a backend to its proxies, which needs pods that end.

use std::mem::discriminant;
use std::sync::Arc;

use ::exploration::model::{Act, Era, Model, Scenario, Scope, State, Step, Transition};
use ::exploration::objects::{NAME, OnlyAlpha, capped};
use ::exploration::reconciler::{NOW, end};
use anyhow::{Context as _, Result, bail, ensure};
use cluster_tests::TestCluster;
use cluster_tests::accounts::{AUTOSCALER, OPERATOR, RECONCILER};
use cluster_tests::requests::ApiClient;
use cluster_tests::setup::Setup;
use cluster_tests::toolhive_crds::{NEWEST, WITHOUT_COUNTS};
use mcp_scaling_rules::{ConditionType, SessionStorage, annotations, labels};
use mcpserver_scaling_reconciler::act::driver::{Objects, Reconciler};
use mcpserver_scaling_reconciler::decide::machine::{Answer, Call, Context, Next, Reconcile, Write};
use mcpserver_scaling_reconciler::decide::memory::ServerMemory;
use mcpserver_scaling_reconciler::metrics::Metrics;
use mcpserver_scaling_reconciler::observe::cluster::served_resource;
use mcpserver_scaling_reconciler::observe::server::Server;
use mcpserver_scaling_reconciler::options::Options;
use serde_json::{Value, json};

use crate::harness::{Test, suite};

const CURRENT: Setup = Setup { webhook: true, reconciler: false, crds: Some(NEWEST) };
const OLD: Setup = Setup { crds: Some(WITHOUT_COUNTS), ..CURRENT };

const SCENARIO: Scenario = Scenario {
    era: Era::Declares,
    policy: true,
    reconcilers: 1,
    couple_zero: false,
    stale_operator: false,
    autoscaler: Some(2),
    default_storage: SessionStorage::Memory,
    people: STEPS,
    faults: 0,
    scope: Scope::Both,
    counts: &[0, 1, 2, 3],
    mutant: None,
};
/// The most steps of a walk.
const STEPS: u8 = 80;
const WALKS: u64 = 10;

/// The field manager of ToolHive's proxy runner.
const RUNNER_MANAGER: &str = "toolhive-container-manager";

pub(crate) fn tests() -> Vec<Test> {
    [
        suite!("exploration", CURRENT, [replays_walks_beside_a_current_operator]),
        suite!("exploration", Setup { webhook: false, ..CURRENT }, [replays_walks_without_the_policy]),
        suite!("exploration", OLD, [replays_walks_beside_an_operator_that_resets]),
    ]
    .concat()
}

async fn replays_walks_beside_a_current_operator(cluster: &mut TestCluster) -> Result<()> {
    replay(cluster, SCENARIO).await
}

/// Here the reconciler has counts to correct.
async fn replays_walks_without_the_policy(cluster: &mut TestCluster) -> Result<()> {
    replay(cluster, Scenario { policy: false, ..SCENARIO }).await
}

async fn replays_walks_beside_an_operator_that_resets(cluster: &mut TestCluster) -> Result<()> {
    replay(cluster, Scenario { era: Era::Resets, ..SCENARIO }).await
}

/// The clients of everybody who writes in a namespace.
struct Writers {
    namespace: String,
    person: ApiClient,
    autoscaler: ApiClient,
    operator: ApiClient,
    runner: ApiClient,
    api: OnlyAlpha,
}

async fn replay(cluster: &TestCluster, scenario: Scenario) -> Result<()> {
    let mut model = Model::new(scenario);
    let initial: Vec<State> = model.initial_states().into_iter().filter(|state| state.deployment.is_none()).collect();
    for walk in 0..WALKS {
        let mut random = Random(walk + 1);
        let namespace = format!("walk-{:?}-{}-{walk}", scenario.era, scenario.policy).to_lowercase();
        let namespace = cluster.create_namespace(&namespace).await?;
        let writers = Writers {
            person: cluster.admin.clone(),
            autoscaler: cluster.client_of(AUTOSCALER).await?,
            operator: cluster.client_of(OPERATOR).await?,
            runner: cluster.client_of(&format!("system:serviceaccount:{namespace}:{NAME}-proxy-runner")).await?,
            api: OnlyAlpha(scenario.era != Era::Declares),
            namespace,
        };
        grant_runner(cluster, &writers.namespace).await?;
        let mut state = *random.choose(&initial).context("there is no initial state")?;
        cluster.create_mcp_server(&writers.namespace, NAME, state.server.spec.to_json()).await?;
        let mut reconciler = Stepped::start(cluster, &writers, model.reconcilers.options).await?;
        let mut trace = vec![format!("{:?}", state.server.spec)];
        for _ in 0..STEPS {
            let Some(Transition { step, to, .. }) = random.step(model.transitions(&state)) else { break };
            trace.push(format!("{step:?}"));
            let told = || format!("walk {walk}:\n{}", trace.join("\n"));
            match step {
                Step::Reconciler(_, act) => reconciler.act(&writers, act).await.with_context(told)?,
                step => writers.act(scenario.era, &state, step, &to).await.with_context(told)?,
            }
            let (expected, seen) = (modelled(&to, &model), writers.seen().await.with_context(told)?);
            ensure!(seen == expected, "{}\nthe model has {expected}\nthe API server has {seen}", told());
            let mind = to.reconcilers[0].context("there is no reconciler")?.mind;
            let (expected, call) = (model.reconcilers.call(mind).map(comparable), reconciler.call());
            ensure!(call == expected, "{}\nthe model's call is {expected:?}\nthe real one is {call:?}", told());
            state = to;
        }
    }
    Ok(())
}

/// The reconciler, which makes a call when it is told to.
struct Stepped {
    reconciler: Reconciler,
    options: Options,
    cached: Arc<Server>,
    machine: Reconcile,
    memory: ServerMemory,
    objects: Objects,
}

impl Stepped {
    async fn start(cluster: &TestCluster, writers: &Writers, options: Options) -> Result<Self> {
        let client = cluster.client_of(RECONCILER).await?.client;
        let resource = served_resource(&client).await?;
        let cached = writers.server().await?;
        Ok(Self {
            reconciler: Reconciler::new(client, resource, options, Arc::new(Metrics::new()), NAME.to_owned()),
            options,
            objects: Objects::new(cached.clone()),
            cached,
            machine: Reconcile::default(),
            memory: ServerMemory::default(),
        })
    }

    /// Does what it does in a step of the model.
    async fn act(&mut self, writers: &Writers, act: Act) -> Result<()> {
        match act {
            Act::SeesServer => self.cached = writers.server().await?,
            Act::Sees(workload) => {
                let object = writers.find(workload.resource()).await?.context("there is no such workload")?;
                self.reconciler.observe(workload, serde_json::from_value(object)?);
            }
            Act::DelayEnds(delay) => {
                end(delay, &mut self.memory).with_context(|| format!("{delay:?} is over already"))?;
            }
            Act::Crashes => bail!("a crash is a fault, and not replayed"),
            Act::Begins => {
                self.objects = Objects::new(self.cached.clone());
                self.go_on(true, false).await?;
            }
            Act::Conflicts => self.go_on(false, true).await?,
            _ => self.go_on(false, false).await?,
        }
        Ok(())
    }

    /// Begins, or makes the call that it waits for; then those that take no time in the model.
    async fn go_on(&mut self, begins: bool, has_conflict: bool) -> Result<()> {
        let Self { reconciler, options, cached, machine, memory, objects } = self;
        let observed = reconciler.observed(cached);
        let mut answer = if begins {
            Answer::Server(Some(cached))
        } else {
            let call = machine.call().context("it waits for no call")?;
            match reconciler.call(call, objects).await {
                Ok(answer) if !has_conflict => answer,
                Err(error) if has_conflict && error.is_conflict() => Answer::Failed,
                other => bail!("the answer is {other:?}"),
            }
        };
        loop {
            let context = Context { options, observed: &observed, memory, now: *NOW };
            match machine.next(answer, context) {
                Next::Call(call @ (Call::AskForTurn | Call::Report(_) | Call::ReadSpec)) => {
                    answer = reconciler.call(call, objects).await?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn call(&self) -> Option<Call> {
        self.machine.call().as_ref().map(comparable)
    }
}

/// A call without the resource versions, which the model does not count.
fn comparable(call: &Call) -> Call {
    let mut call = call.clone();
    if let Call::Write(Write::Scale { change, .. }) = &mut call {
        change.resource_version = None;
    }
    call
}

/// The proxy runner's permission; it has more in its own Role.
async fn grant_runner(cluster: &TestCluster, namespace: &str) -> Result<()> {
    let user = format!("system:serviceaccount:{namespace}:{NAME}-proxy-runner");
    cluster.grant_cluster_admin(namespace, &user).await
}

impl Writers {
    /// Makes the request of a step from `from` to `to`.
    async fn act(&self, era: Era, from: &State, step: Step, to: &State) -> Result<()> {
        let namespace = &self.namespace;
        let spec = from.operator.spec;
        let declared = spec.replicas.map(|count| capped(spec.transport, count));
        let response = match step {
            Step::Edit(_) => {
                let edit = |server: &mut Value| server["spec"] = to.server.spec.to_json();
                self.person.update("mcpservers", namespace, NAME, edit).await?
            }
            Step::Scale(workload, count) => {
                self.person.scale(workload.resource(), namespace, NAME, count.into()).await?
            }
            Step::Autoscale(count) => self.autoscaler.scale("deployments", namespace, NAME, count.into()).await?,
            Step::OperatorCreates => {
                let mut new = to.deployment.context("there is no Deployment")?;
                new.replicas = declared.unwrap_or(1);
                let mut object = new.to_json(self.api, None);
                own(&mut object, namespace);
                let server = self.person.get("mcpservers", namespace, NAME).await?;
                object["metadata"]["ownerReferences"][0]["uid"] = server["metadata"]["uid"].clone();
                self.operator.create("deployments", namespace, &object).await?
            }
            Step::OperatorResets => {
                let reset = |object: &mut Value| object["spec"]["replicas"] = 1.into();
                self.operator.update("deployments", namespace, NAME, reset).await?
            }
            Step::OperatorUpdates => {
                let template =
                    to.deployment.context("there is no Deployment")?.to_json(self.api, None)["spec"]["template"].take();
                let update = |object: &mut Value| {
                    object["spec"]["template"] = template.clone();
                    if era == Era::Resets {
                        object["spec"]["replicas"] = 1.into();
                    } else if let Some(declared) = declared {
                        object["spec"]["replicas"] = declared.into();
                    }
                };
                self.operator.update("deployments", namespace, NAME, update).await?
            }
            Step::RunnerApplies => {
                let mut object = to.statefulset.context("there is no StatefulSet")?.to_json();
                own(&mut object, namespace);
                object["spec"]["serviceName"] = NAME.into();
                let template = from.deployment.context("there is no Deployment")?.template;
                let count = if era == Era::Resets { Some(1) } else { template.backend_replicas };
                object["spec"]["replicas"] = count.into();
                if count.is_none() {
                    object["spec"].as_object_mut().context("the spec")?.remove("replicas");
                }
                self.runner.apply("statefulsets", namespace, RUNNER_MANAGER, true, &object).await?
            }
            Step::OperatorConditions => {
                let conditions = to.server.to_json(self.api)["status"]["conditions"].take();
                let write = |server: &mut Value| server["status"]["conditions"] = conditions.clone();
                self.operator.update("mcpservers", namespace, &format!("{NAME}/status"), write).await?
            }
            // It concerns no request.
            Step::OperatorSees => return Ok(()),
            other => bail!("{other:?} has no request"),
        };
        response.success()?;
        Ok(())
    }

    /// The objects in the API server, as [`modelled`] has them.
    async fn seen(&self) -> Result<Value> {
        let server = self.person.get("mcpservers", &self.namespace, NAME).await?;
        let spec = &server["spec"];
        let listed = server["status"]["conditions"].as_array();
        let condition = |type_: ConditionType| {
            let mut entries = listed.into_iter().flatten();
            entries
                .find(|it| it["type"] == type_.name())
                .map(|it| json!([it["status"], it["reason"], it["observedGeneration"]]))
        };
        let deployment = self.find("deployments").await?;
        let statefulset = self.find("statefulsets").await?;
        Ok(json!({
            "generation": server["metadata"]["generation"],
            "spec": [spec["transport"], spec["replicas"], spec["backendReplicas"], spec["image"]],
            "conditions": ConditionType::ALL.map(condition),
            "deployment": deployment.map(|it| json!([
                it["spec"]["replicas"],
                it["spec"]["template"]["spec"]["containers"][0]["args"],
                it["metadata"]["annotations"][annotations::ROLLED_OUT],
            ])),
            "statefulset": statefulset.map(|it| json!([
                it["spec"]["replicas"],
                it["spec"]["template"]["spec"]["containers"][0]["image"],
                it["metadata"]["labels"][labels::TOOLHIVE_TRANSPORT],
            ])),
        }))
    }

    /// The server as the reconciler's watch has it.
    async fn server(&self) -> Result<Arc<Server>> {
        Ok(Arc::new(serde_json::from_value(self.person.get("mcpservers", &self.namespace, NAME).await?)?))
    }

    async fn find(&self, resource: &str) -> Result<Option<Value>> {
        Ok(self.person.list(resource, &self.namespace).await?.into_iter().next())
    }
}

/// The objects in a state of the model, as far as they are compared.
fn modelled(state: &State, model: &Model) -> Value {
    let spec = state.server.spec.to_json();
    json!({
        "generation": state.server.generation,
        "spec": [spec["transport"], spec["replicas"], spec["backendReplicas"], spec["image"]],
        "conditions": state.server.conditions.map(|it| it.map(|it| json!([it.status.name(), it.reason.name(), it.generation]))),
        "deployment": state.deployment.map(|it| json!([
            it.replicas,
            ["run", format!("search:{}", it.template.image)],
            rolled_out(model, it.rolled_out),
        ])),
        "statefulset": state.statefulset.map(|it| json!([
            it.replicas, format!("search:{}", it.image), it.transport.name(),
        ])),
    })
}

/// The text of the policy's annotation, without the part for the operator's pod: the operator of this suite has no pod.
fn rolled_out(model: &Model, index: u8) -> Value {
    let annotation = model.answers.real.annotations.get(usize::from(index)).filter(|text| !text.is_empty());
    annotation.map_or(Value::Null, |text| {
        let parts: Vec<&str> = text.split(' ').filter(|part| !part.starts_with("operator=")).collect();
        parts.join(" ").into()
    })
}

/// Puts an object of the model into a namespace of the test cluster.
fn own(object: &mut Value, namespace: &str) {
    object["metadata"]["namespace"] = namespace.into();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("uid");
    }
}

/// A small generator of random numbers (xorshift), so that a walk is the same in each run.
struct Random(u64);

impl Random {
    /// Chooses a step of the reconciler every other time, if there is one, and else somebody and then one of their steps: people can do
    /// the most.
    fn step(&mut self, transitions: Vec<Transition>) -> Option<Transition> {
        let is_reconcilers = |transition: &Transition| matches!(transition.step, Step::Reconciler(..));
        let (reconcilers, others): (Vec<_>, Vec<_>) = transitions.into_iter().partition(is_reconcilers);
        let is_reconcilers_turn = *self.choose(&[false, true])?;
        if others.is_empty() || (is_reconcilers_turn && !reconcilers.is_empty()) {
            return self.choose(&reconcilers).copied();
        }
        let mut kinds: Vec<_> = others.iter().map(|transition| discriminant(&transition.step)).collect();
        kinds.dedup();
        let kind = *self.choose(&kinds)?;
        let steps: Vec<_> = others.into_iter().filter(|transition| discriminant(&transition.step) == kind).collect();
        self.choose(&steps).copied()
    }

    fn choose<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let index = usize::try_from(self.0 >> 11).unwrap_or_default().checked_rem(from.len())?;
        from.get(index)
    }
}
