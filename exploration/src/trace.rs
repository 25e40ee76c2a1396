//! A way through the states as text that a person can read.

use std::fmt::Write as _;

use mcp_scaling_rules::{ConditionType, Transport, Workload};

use crate::decisions::Coupling;
use crate::model::{Act, Edit, Era, How, Model, State, Step, Transition};
use crate::objects::{Condition, Count, Deployment, Spec, StatefulSet, Template};
use crate::reconciler::Delay;

/// How it begins.
pub fn begin(model: &Model, state: &State) -> String {
    let scenario = &model.scenario;
    let operator = match scenario.era {
        Era::Resets => "an operator before v0.10.1",
        Era::CapsStdio => "an operator from v0.10.1 to v0.12",
        Era::Declares => "an operator from v0.13 on",
    };
    let policy = if scenario.policy { "the policy" } else { "no policy" };
    let reconciler = match (scenario.reconcilers, scenario.couple_zero) {
        (0, _) => "no reconciler",
        (1, false) => "the reconciler",
        (1, true) => "the reconciler that couples the backend to its proxies",
        (_, false) => "two reconcilers",
        (_, true) => "two reconcilers that couple the backend to its proxies",
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
        Step::Reconciler(_, act) => format!("The reconciler {}", predicate(act)),
    }
}

fn predicate(act: Act) -> String {
    match act {
        Act::SeesServer => "gets an event of the server".to_owned(),
        Act::Sees(it) => format!("gets an event of the {}", it.kind()),
        Act::Begins => "plans on its cache".to_owned(),
        Act::ReadsServer => "reads the server and plans".to_owned(),
        Act::ReadsScale(it) => format!("reads the Scale of the {}", it.kind()),
        Act::ReadsBackend(None) => "reads the StatefulSet, and leaves it".to_owned(),
        Act::ReadsBackend(Some(_)) => "reads the StatefulSet, and decides how to couple it".to_owned(),
        Act::Scales(it, count) => format!("sets the {} to {count}", it.kind()),
        Act::Couples(Coupling::PreserveCount(count)) => {
            format!("keeps the count {count} in the annotation of the StatefulSet")
        }
        Act::Couples(Coupling::ForgetCount) => "removes the annotation of the StatefulSet".to_owned(),
        Act::Couples(Coupling::ScaleToZero) => "sets the StatefulSet to 0 with its proxies".to_owned(),
        Act::Couples(Coupling::ScaleUp(count)) => format!("sets the StatefulSet to {count} with its proxies"),
        Act::WritesConditions => "writes the conditions".to_owned(),
        Act::Conflicts => "makes a write that is refused: the object has changed since it was read".to_owned(),
        Act::Crashes => "crashes and starts again".to_owned(),
        Act::DelayEnds(Delay::Backoff(target)) => format!("has waited long enough before it writes {target:?} again"),
        Act::DelayEnds(Delay::Window) => "is at the end of the stabilization window of the warning".to_owned(),
        Act::DelayEnds(Delay::PendingReset) => "has given the operator its time to give the count back".to_owned(),
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
