//! The model of the crate `exploration` and the real API server agree: random walks of the model are replayed with real
//! requests, and after each step the objects are the same.

use ::exploration::model::{Era, Model, Scenario, Scope, State, Step, Transition};
use ::exploration::objects::{NAME, OnlyAlpha, capped};
use anyhow::{Context, Result, ensure};
use cluster_tests::TestCluster;
use cluster_tests::accounts::{AUTOSCALER, OPERATOR};
use cluster_tests::requests::ApiClient;
use cluster_tests::setup::Setup;
use cluster_tests::toolhive_crds::{NEWEST, WITHOUT_COUNTS};
use mcp_scaling_rules::{SessionStorage, annotations, labels};
use serde_json::{Value, json};

use crate::harness::{Test, suite};

const CURRENT: Setup = Setup { webhook: true, reconciler: false, crds: Some(NEWEST) };
const OLD: Setup = Setup { crds: Some(WITHOUT_COUNTS), ..CURRENT };

/// The policy without the reconciler, whose steps are calls that cannot be held back in a real process.
const SCENARIO: Scenario = Scenario {
    era: Era::Declares,
    policy: true,
    reconcilers: 0,
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
const STEPS: u8 = 40;
const WALKS: u64 = 10;

/// The field manager of ToolHive's proxy runner.
const RUNNER_MANAGER: &str = "toolhive-container-manager";

pub(crate) fn tests() -> Vec<Test> {
    [
        suite!("exploration", CURRENT, [replays_walks_beside_a_current_operator]),
        suite!("exploration", OLD, [replays_walks_beside_an_operator_that_resets]),
    ]
    .concat()
}

async fn replays_walks_beside_a_current_operator(cluster: &mut TestCluster) -> Result<()> {
    replay(cluster, SCENARIO).await
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
        let namespace = format!("walk-{:?}-{walk}", scenario.era).to_lowercase();
        let namespace = cluster.create_namespace(&namespace).await?;
        let writers = Writers {
            person: cluster.admin.clone(),
            autoscaler: cluster.client_of(AUTOSCALER).await?,
            operator: cluster.client_of(OPERATOR).await?,
            runner: cluster.client_of(&format!("system:serviceaccount:{namespace}:{NAME}-proxy-runner")).await?,
            api: OnlyAlpha(scenario.era != Era::Declares),
            namespace,
        };
        grant_runner(cluster, &writers.namespace, walk).await?;
        let mut state = *random.choose(&initial).context("there is no initial state")?;
        cluster.create_mcp_server(&writers.namespace, NAME, state.server.spec.to_json()).await?;
        let mut trace = vec![format!("{:?}", state.server.spec)];
        for _ in 0..STEPS {
            let transitions = model.transitions(&state);
            let Some(Transition { step, to, .. }) = random.choose(&transitions).copied() else { break };
            trace.push(format!("{step:?}"));
            let told = || format!("walk {walk}:\n{}", trace.join("\n"));
            writers.act(scenario.era, &state, step, &to).await.with_context(told)?;
            let expected = modelled(&to, &model);
            let seen = writers.seen().await.with_context(told)?;
            ensure!(seen == expected, "{}\nthe model has {expected}\nthe API server has {seen}", told());
            state = to;
        }
    }
    Ok(())
}

/// The proxy runner's permission; it has more in its own Role.
async fn grant_runner(cluster: &TestCluster, namespace: &str, walk: u64) -> Result<()> {
    let user = format!("system:serviceaccount:{namespace}:{NAME}-proxy-runner");
    cluster.grant_cluster_admin(&format!("{namespace}-{walk}"), &user).await
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
            // The status and what the operator has seen concern no request to the policy.
            Step::OperatorConditions | Step::OperatorSees => return Ok(()),
            other => anyhow::bail!("{other:?} has no request"),
        };
        response.success()?;
        Ok(())
    }

    /// The objects in the API server, as [`modelled`] has them.
    async fn seen(&self) -> Result<Value> {
        let server = self.person.get("mcpservers", &self.namespace, NAME).await?;
        let spec = &server["spec"];
        let deployment = self.find("deployments").await?;
        let statefulset = self.find("statefulsets").await?;
        Ok(json!({
            "generation": server["metadata"]["generation"],
            "spec": [spec["transport"], spec["replicas"], spec["backendReplicas"], spec["image"]],
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
    fn choose<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let index = usize::try_from(self.0 >> 11).unwrap_or_default().checked_rem(from.len())?;
        from.get(index)
    }
}
