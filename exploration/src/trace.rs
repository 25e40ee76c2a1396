//! A way through the states as text that a person can read.

use std::fmt::Write as _;

use mcp_scaling_rules::{ConditionType, Transport, Workload};

use crate::decisions::Coupling;
use crate::model::{Edit, Era, How, Model, State, Step, Transition};
use crate::objects::{Condition, Count, Deployment, Spec, StatefulSet, Template};

/// How it begins.
pub fn begin(model: &Model, state: &State) -> String {
    let scenario = &model.scenario;
    let operator = match scenario.era {
        Era::Resets => "an operator before v0.10.1",
        Era::CapsStdio => "an operator from v0.10.1 to v0.12",
        Era::Declares => "an operator from v0.13 on",
    };
    let policy = if scenario.policy { "the policy" } else { "no policy" };
    let reconciler = match (scenario.reconciler, scenario.couple_zero) {
        (true, false) => "the reconciler",
        (true, true) => "the reconciler that couples the backend to its proxies",
        (false, _) => "no reconciler",
    };
    let mut text = format!("  With {operator}, {policy} and {reconciler}");
    if let Some(mutant) = scenario.mutant {
        let _ = write!(text, ", and the seeded fault {mutant:?}");
    }
    let _ = writeln!(text, ". At first:");
    let _ = writeln!(text, "    MCPServer: {}", spec(&state.server.spec));
    let _ =
        writeln!(text, "    Deployment: {}", state.deployment.map_or("none".to_owned(), |it| deployment(model, &it)));
    let _ = writeln!(text, "    StatefulSet: {}", state.statefulset.map_or("none".to_owned(), |it| statefulset(&it)));
    text
}

/// One step, and what it changes.
pub fn step(model: &Model, from: &State, transition: &Transition) -> String {
    let how = match transition.how {
        How::Plain => "",
        How::LookupFails => " (the policy's lookup fails)",
        How::AnswerLost => " (the answer is lost)",
        How::CallFails => " (the call fails)",
    };
    let mut text = format!("  - {}{how}.\n", sentence(transition.step));
    let to = &transition.to;
    if from.server.spec != to.server.spec || from.server.generation != to.server.generation {
        let _ = writeln!(text, "      MCPServer: {}, generation {}", spec(&to.server.spec), to.server.generation);
    }
    for (index, type_) in ConditionType::ALL.into_iter().enumerate() {
        if from.server.conditions[index] != to.server.conditions[index] {
            let _ = writeln!(text, "      {}: {}", type_.name(), condition(to.server.conditions[index]));
        }
    }
    if let Some(new) = to.deployment.filter(|_| from.deployment != to.deployment) {
        let _ = writeln!(text, "      Deployment: {}", deployment(model, &new));
    }
    if let Some(new) = to.statefulset.filter(|_| from.statefulset != to.statefulset) {
        let _ = writeln!(text, "      StatefulSet: {}", statefulset(&new));
    }
    text
}

fn sentence(step: Step) -> String {
    let workload = |workload: Workload| workload.kind();
    match step {
        Step::Edit(Edit::Transport(transport)) => format!("A person sets spec.transport to {}", name(transport)),
        Step::Edit(Edit::Declared(workload, count)) => {
            format!("A person sets {} to {}", workload.declared_in(), declared(count))
        }
        Step::Edit(Edit::Storage(storage)) => {
            format!("A person sets the session storage to {}", storage.map_or("nothing", |storage| storage.name()))
        }
        Step::Edit(Edit::Image) => "A person changes spec.image".to_owned(),
        Step::Scale(it, count) => format!("A person scales the {} to {count}", workload(it)),
        Step::Autoscale(count) => format!("The autoscaler asks for {count} replicas of the Deployment"),
        Step::OperatorSees => "The operator sees the server as it is now".to_owned(),
        Step::OperatorConditions => "The operator writes its conditions".to_owned(),
        Step::OperatorCreates => "The operator makes the Deployment".to_owned(),
        Step::OperatorResets => "The operator writes the Deployment with 1 replica and changes nothing else".to_owned(),
        Step::OperatorUpdates => "The operator writes the whole spec of the Deployment".to_owned(),
        Step::OperatorStops => "The operator stops".to_owned(),
        Step::OperatorStarts => "The operator is started again".to_owned(),
        Step::OperatorUpgrades => "A new release of the operator takes over".to_owned(),
        Step::RunnerApplies => "The proxy runner applies the StatefulSet".to_owned(),
        Step::RunnerRestarts => "A proxy runner starts again".to_owned(),
        Step::ProxiesEnd => "The last pod of the Deployment has ended".to_owned(),
        Step::ConditionsLost => "Another writer removes the conditions".to_owned(),
        Step::ReconcilerSeesServer => "The reconciler gets an event of the server".to_owned(),
        Step::ReconcilerSees(it) => format!("The reconciler gets an event of the {}", workload(it)),
        Step::ReconcilerPlans => "The reconciler reads the server and plans".to_owned(),
        Step::ReconcilerReadsScale(it) => format!("The reconciler reads the Scale of the {}", workload(it)),
        Step::ReconcilerScales(it, count) => format!("The reconciler sets the {} to {count}", workload(it)),
        Step::ReconcilerReadsProxies => {
            "The reconciler reads the Scale of the Deployment, before it couples".to_owned()
        }
        Step::ReconcilerReadsBackend => "The reconciler reads the StatefulSet, and decides how to couple it".to_owned(),
        Step::ReconcilerCouples(Coupling::PreserveCount(count)) => {
            format!("The reconciler keeps the count {count} in the annotation of the StatefulSet")
        }
        Step::ReconcilerCouples(Coupling::ForgetCount) => {
            "The reconciler removes the annotation of the StatefulSet".to_owned()
        }
        Step::ReconcilerCouples(Coupling::ScaleToZero) => {
            "The reconciler sets the StatefulSet to 0 with its proxies".to_owned()
        }
        Step::ReconcilerCouples(Coupling::ScaleUp(count)) => {
            format!("The reconciler sets the StatefulSet to {count} with its proxies")
        }
        Step::ReconcilerConditions => "The reconciler writes the conditions".to_owned(),
        Step::ReconcilerConflict => {
            "The reconciler's write is refused: the object has changed since it was read".to_owned()
        }
        Step::ReconcilerConditionsWait => "The reconciler backs off from the conditions".to_owned(),
        Step::ReconcilerEnds => "The reconcile ends".to_owned(),
        Step::ReconcilerCrashes => "The reconciler crashes and starts again".to_owned(),
        Step::BackoffOver(it) => format!("The reconciler's backoff from the {} is over", workload(it)),
        Step::ConditionsBackoffOver => "The reconciler's backoff from the conditions is over".to_owned(),
        Step::ToZeroBackoffOver => "The reconciler's backoff from scaling the StatefulSet to 0 is over".to_owned(),
        Step::WindowOver => "The stabilization window of the warning is over".to_owned(),
        Step::OperatorTimeOver => "The operator's time to give the count back is over".to_owned(),
    }
}

fn name(transport: Transport) -> &'static str {
    transport.name()
}

fn declared(count: Option<Count>) -> String {
    count.map_or("nothing".to_owned(), |count| count.to_string())
}

fn spec(spec: &Spec) -> String {
    format!(
        "transport {}, replicas {}, backendReplicas {}, session storage {}, image {}",
        name(spec.transport),
        declared(spec.replicas),
        declared(spec.backend_replicas),
        spec.storage.map_or("not set", |storage| storage.name()),
        spec.image
    )
}

fn deployment(model: &Model, it: &Deployment) -> String {
    let annotation = match model.answers.real.annotations[usize::from(it.rolled_out)].as_str() {
        "" => String::new(),
        text => format!(", annotation \"{text}\""),
    };
    let ending = if it.has_ending_pods { ", pods are ending" } else { "" };
    let Template { image, release, .. } = it.template;
    format!("{} replicas, image {image} of release {release}{annotation}{ending}", it.replicas)
}

fn statefulset(it: &StatefulSet) -> String {
    let preserved = it.preserved.map_or(String::new(), |count| format!(", annotation with count {count}"));
    format!("{} replicas, image {}, label {}{preserved}", it.replicas, it.image, name(it.transport))
}

fn condition(condition: Option<Condition>) -> String {
    condition.map_or("none".to_owned(), |it| {
        format!("{} {} of generation {}", it.status.name(), it.reason.name(), it.generation)
    })
}
