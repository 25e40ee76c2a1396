//! Shows that the pods of a backend keep running when only a count of the server changes, and that no order of old and new
//! proxy runners, edits and crashes leaves an older configuration in place.
//!
//! The property tests run proxy runners of ToolHive v0.24.1 and newer against a simulated API server, with the module as its
//! admission. proptest shrinks and prints a sequence that fails, and keeps it in `backend_template.txt` beside this file.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use mcp_scaling_rules::annotations::{APPLIED_GENERATION, MCPSERVER_GENERATION};
use policy_host::host::{GetResourceRequest, callback_failure};
use proptest::prelude::*;
use serde_json::{Value, json};

use fixtures::case::{Outcome, PERSON, PROXY_RUNNER, mcpserver, statefulset, update, with};

/// A pod template: what it is made from, and the generation that its annotation tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Template {
    image: String,
    generation: Option<i64>,
}

fn template(image: &str, generation: impl Into<Option<i64>>) -> Template {
    Template { image: image.to_owned(), generation: generation.into() }
}

/// The StatefulSet of the server github with this template.
fn stored(template: &Template, recorded: Option<i64>) -> Value {
    let mut statefulset = statefulset(2, "streamable-http");
    let mut metadata = json!({"labels": {"app": "github"}, "annotations": {"prometheus.io/scrape": "true"}});
    if let Some(generation) = template.generation {
        metadata["annotations"][MCPSERVER_GENERATION] = json!(generation.to_string());
    }
    statefulset["spec"]["template"]["metadata"] = metadata;
    statefulset["spec"]["template"]["spec"]["containers"][0]["image"] = json!(template.image);
    if let Some(recorded) = recorded {
        statefulset["metadata"]["annotations"] = json!({APPLIED_GENERATION: recorded.to_string()});
    }
    statefulset
}

/// What a proxy runner's server-side apply of the template makes of the StatefulSet.
fn applied(statefulset: &Value, template: &Template) -> Value {
    let spec = stored(template, None)["spec"].clone();
    with(statefulset.clone(), "/spec", spec)
}

fn write(statefulset: &Value, template: &Template, user: &str, settings: Value) -> Outcome {
    let server = mcpserver(json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis"}}));
    let case = update(statefulset.clone(), applied(statefulset, template)).by(user).settings(settings);
    case.lookup_finds(&server).run()
}

const GENERATION_CHANGE: &str = "/spec/template/metadata/annotations/toolhive.stacklok.dev~1mcpserver-generation";
const RECORD_CHANGE: &str = "/metadata/annotations/mcpserver-scaling-policy~1applied-generation";

#[test]
fn keeps_the_generation_where_nothing_else_changes() {
    let outcome = write(&stored(&template("a", 4), Some(5)), &template("a", 6), PROXY_RUNNER, json!({}));
    assert_eq!(outcome.changes(), [format!("{RECORD_CHANGE}=\"6\""), format!("{GENERATION_CHANGE}=\"4\"")]);
    assert_eq!(outcome.annotations(), ["kept-generation=4 applied=6"]);
    assert_eq!(outcome.warnings(), [""; 0]);

    let first = write(&stored(&template("a", 4), None), &template("a", 5), PROXY_RUNNER, json!({}));
    assert_eq!(first.object()["spec"], stored(&template("a", 4), None)["spec"], "the pods do not restart");
    assert_eq!(first.object()["metadata"]["annotations"][APPLIED_GENERATION], "5");
}

#[test]
fn decides_the_same_if_a_request_is_evaluated_again() {
    for recorded in [None, Some(3), Some(4), Some(5)] {
        let old = stored(&template("a", 4), recorded);
        let first = write(&old, &template("a", recorded.unwrap_or(4).max(4) + 1), PROXY_RUNNER, json!({}));
        assert!(!first.changes().is_empty(), "the generation is kept beside the record {recorded:?}");
        let server = mcpserver(json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis"}}));
        let again = update(old, first.object()).by(PROXY_RUNNER).lookup_finds(&server).run();
        again.assert_accepted_as_is(&format!("{recorded:?}"));
    }
}

#[test]
fn keeps_the_generation_each_time_a_proxy_runner_starts() {
    let outcome = write(&stored(&template("a", 4), Some(6)), &template("a", 6), PROXY_RUNNER, json!({}));
    assert_eq!(outcome.changes(), [format!("{GENERATION_CHANGE}=\"4\"")], "the record stays as it is");
    write(&stored(&template("a", 4), Some(6)), &template("a", 4), PROXY_RUNNER, json!({}))
        .assert_accepted_as_is("a runner of the stored generation");
}

#[test]
fn lets_every_other_change_restart_the_pods() {
    let old = stored(&template("a", 4), Some(5));
    for (case, written) in [
        ("another image", template("b", 6)),
        ("another image of the same generation, which a new release of ToolHive may set", template("b", 5)),
        ("a generation was left out", template("a", 7)),
        ("a runner before v0.24.1", template("b", None)),
    ] {
        write(&old, &written, PROXY_RUNNER, json!({})).assert_accepted_as_is(case);
    }
    write(&stored(&template("a", None), None), &template("a", 6), PROXY_RUNNER, json!({}))
        .assert_accepted_as_is("there is no generation to keep");
    let malformed = with(
        old.clone(),
        "/spec/template/metadata/annotations/toolhive.stacklok.dev~1mcpserver-generation",
        json!("x"),
    );
    write(&malformed, &template("a", 6), PROXY_RUNNER, json!({})).assert_accepted_as_is("it is no generation");
    write(&old, &template("a", 6), PERSON, json!({})).assert_accepted_as_is("a person edits the StatefulSet");
    write(&old, &template("a", 6), PROXY_RUNNER, json!({"keepBackendsOnScale": false})).assert_accepted_as_is("off");
}

#[test]
fn only_annotates_with_corrections_reject() {
    for (runner, annotation) in [(5, "kept-template=written=5 applied=6"), (7, "kept-generation=4 applied=7")] {
        let (image, recorded) = if runner == 5 { ("b", 6) } else { ("a", 6) };
        let old = with(stored(&template("a", 4), Some(recorded)), "/spec/replicas", json!(3));
        let written = with(applied(&old, &template(image, runner)), "/spec/replicas", json!(1));
        let server = mcpserver(json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis"}}));
        let case = update(old, written).by(PROXY_RUNNER).lookup_finds(&server);
        let outcome = case.settings(json!({"corrections": "reject"})).run();
        assert_eq!((outcome.refusal(), outcome.changes()), (None, Vec::new()), "{runner}");
        assert_eq!(outcome.annotations(), [annotation], "{runner}");
    }
}

#[test]
fn keeps_the_template_from_an_older_proxy_runner() {
    let old = stored(&template("b", 4), Some(6));
    let outcome = write(&old, &template("a", 5), PROXY_RUNNER, json!({}));
    assert_eq!(outcome.object(), old);
    assert_eq!(outcome.annotations(), ["kept-template=written=5 applied=6"]);
}

#[test]
fn keeps_the_count_from_an_older_proxy_runner() {
    let old = with(stored(&template("a", 4), Some(6)), "/spec/replicas", json!(3));
    let written = |generation: i64| with(applied(&old, &template("a", generation)), "/spec/replicas", json!(1));
    let unreachable = Arc::new(|_: &GetResourceRequest| Err(callback_failure("timeout")));
    let write = |generation| update(old.clone(), written(generation)).by(PROXY_RUNNER).host(unreachable.clone()).run();
    assert_eq!(write(5).object()["spec"]["replicas"], 3, "the count of before an edit");
    let annotations = write(5).annotations();
    assert!(annotations.contains(&"replicas=requested=1 wanted=3 reason=preserved".to_owned()), "{annotations:?}");
    assert_eq!(write(7).object()["spec"]["replicas"], 1, "a newer count, which cannot be checked");
    let unlabelled = |object| with(object, "/metadata/labels/toolhive-transport", None);
    let case = update(unlabelled(old.clone()), unlabelled(written(5))).by(PROXY_RUNNER).host(unreachable.clone());
    assert_eq!(case.run().object()["spec"]["replicas"], 3, "a StatefulSet whose label says no transport");
    // The label is as old as the count.
    let labelled = with(written(5), "/metadata/labels/toolhive-transport", json!("stdio"));
    let admitted = update(old.clone(), labelled).by(PROXY_RUNNER).host(unreachable.clone()).run().object();
    assert_eq!(admitted["spec"]["replicas"], 3, "the server was stdio before an edit");
    assert_eq!(admitted["metadata"]["labels"], old["metadata"]["labels"], "the next request is decided by the label");
    // The declared count is applied whoever writes.
    let declaring = mcpserver(json!({"transport": "streamable-http", "backendReplicas": 2}));
    let outcome = update(old.clone(), written(5)).by(PROXY_RUNNER).lookup_finds(&declaring).run();
    assert_eq!(outcome.object()["spec"]["replicas"], 2);
}

/// A proxy runner. It brings what its pod was made from; another `build` of the runner makes another template of the same
/// configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Runner {
    generation: i64,
    build: u8,
}

/// What happens to a server.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A person changes a count.
    CountEdited,
    /// A person changes the image.
    ImageEdited(u8),
    /// ToolHive is upgraded or rolled back: new pods run this build of the runner.
    ToolHiveReplaced(u8),
    /// A pod of the server's newest generation starts.
    NewestRunnerStarts,
    /// A pod from before an edit starts, again or for the first time: by how many generations it is older, and its build.
    OldRunnerStarts(usize, u8),
}

/// The server, and the StatefulSet in a cluster with the policy or without it.
struct Cluster {
    with_policy: bool,
    /// The image of each generation, the first of them 1.
    images: Vec<u8>,
    build: u8,
    statefulset: Value,
    /// The image that the Services of the backend were last written for.
    services: u8,
    /// How often the pod template changed.
    restarts: usize,
    /// The highest generation that any runner wrote, and the template that it wrote last.
    newest_write: (i64, String),
}

thread_local! {
    /// What each write to a StatefulSet led to. The module answers equal requests equally, and random histories repeat each other.
    static ADMITTED: RefCell<HashMap<(String, Template), Value>> = RefCell::default();
}

impl Cluster {
    fn new(with_policy: bool) -> Self {
        let mut cluster = Self {
            with_policy,
            images: vec![0],
            build: 0,
            statefulset: stored(&template("none", None), None),
            services: 0,
            restarts: 0,
            newest_write: (0, String::new()),
        };
        cluster.handle(Event::NewestRunnerStarts);
        cluster
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::CountEdited => self.images.push(self.images[self.images.len() - 1]),
            Event::ImageEdited(image) => self.images.push(image),
            Event::ToolHiveReplaced(build) => self.build = build,
            Event::NewestRunnerStarts => self.start(Runner { generation: self.generation(), build: self.build }),
            Event::OldRunnerStarts(older, build) => {
                let older = i64::try_from(older).expect("is small");
                self.start(Runner { generation: (self.generation() - older).max(1), build });
            }
        }
    }

    /// The generation of the server.
    fn generation(&self) -> i64 {
        i64::try_from(self.images.len()).expect("is small")
    }

    fn start(&mut self, runner: Runner) {
        if self.passes_check(runner) {
            self.apply(runner);
        }
    }

    fn image(&self, runner: Runner) -> u8 {
        self.images[usize::try_from(runner.generation).expect("is positive") - 1]
    }

    fn template(&self) -> &Value {
        &self.statefulset["spec"]["template"]
    }

    fn stored_generation(&self) -> i64 {
        let generation = &self.template()["metadata"]["annotations"][MCPSERVER_GENERATION];
        generation.as_str().map_or(0, |generation| generation.parse().expect("is a number"))
    }

    fn recorded_generation(&self) -> i64 {
        let generation = &self.statefulset["metadata"]["annotations"][APPLIED_GENERATION];
        generation.as_str().map_or(0, |generation| generation.parse().expect("is a number"))
    }

    /// The template without the generation: what the pods run.
    fn configuration(&self) -> String {
        self.template()["spec"]["containers"][0]["image"].as_str().expect("is a string").to_owned()
    }

    /// The proxy runner's own check, before it writes.
    fn passes_check(&self, runner: Runner) -> bool {
        self.stored_generation() <= runner.generation
    }

    /// The StatefulSet that the module lets a proxy runner's write store.
    fn admit(&self, written: &Template) -> Value {
        let key = (self.statefulset.to_string(), written.clone());
        ADMITTED.with_borrow_mut(|admitted| {
            let admit = || {
                let outcome = write(&self.statefulset, written, PROXY_RUNNER, json!({}));
                assert!(outcome.response.allowed, "ToolHive's writes are never refused");
                outcome.object()
            };
            admitted.entry(key).or_insert_with(admit).clone()
        })
    }

    /// The proxy runner's writes: the StatefulSet, then the Services.
    fn apply(&mut self, runner: Runner) {
        let image = self.image(runner);
        let written = template(&format!("{image}-{}", runner.build), runner.generation);
        let new = if self.with_policy { self.admit(&written) } else { applied(&self.statefulset, &written) };
        self.restarts += usize::from(new["spec"]["template"] != *self.template());
        self.statefulset = new;
        self.services = image;
        if runner.generation >= self.newest_write.0 {
            self.newest_write = (runner.generation, written.image);
        }
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => Just(Event::CountEdited),
        3 => (0..2u8).prop_map(Event::ImageEdited),
        1 => (0..2u8).prop_map(Event::ToolHiveReplaced),
        4 => Just(Event::NewestRunnerStarts),
        3 => (1..3usize, 0..2u8).prop_map(|(older, build)| Event::OldRunnerStarts(older, build)),
    ];
    prop::collection::vec(event, 0..40)
}

#[test]
fn restarts_no_backend_for_a_count() {
    let mut cluster = Cluster::new(true);
    for _ in 0..6 {
        cluster.handle(Event::CountEdited);
        cluster.handle(Event::NewestRunnerStarts);
        cluster.handle(Event::OldRunnerStarts(1, 0));
        assert_eq!(cluster.restarts, 1, "only the first start");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 120,
        failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::Direct(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/policy/backend_template.txt"),
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn runs_the_same_configuration_as_without_the_policy(events in events()) {
        let (mut with, mut without) = (Cluster::new(true), Cluster::new(false));
        for event in events {
            with.handle(event);
            without.handle(event);
            prop_assert_eq!(with.configuration(), without.configuration());
            prop_assert_eq!(with.services, without.services, "the Services");
            let newest = with.stored_generation().max(with.recorded_generation());
            prop_assert_eq!(newest, without.stored_generation(), "the newest generation is known");
        }
        prop_assert!(with.restarts <= without.restarts);
    }

    /// A runner reads the stored generation some time before it writes. Without the policy an older runner that read before a
    /// newer one wrote undoes the newer configuration.
    #[test]
    fn never_goes_back_to_a_lower_generation(
        images in prop::collection::vec(0..3u8, 1..5),
        // The generation and the build of each runner that passed its check before any of the others wrote.
        writes in prop::collection::vec((1..5i64, 0..2u8), 1..12),
    ) {
        let mut cluster = Cluster::new(true);
        cluster.images.extend(&images);
        let newest = cluster.generation();
        for (generation, build) in writes {
            let generation = generation.min(newest);
            cluster.apply(Runner { generation, build });
            prop_assert_eq!(cluster.configuration(), cluster.newest_write.1.clone());
        }
    }
}
