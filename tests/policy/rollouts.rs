//! Shows that an operator before v0.10.1, which resets the count before it looks at anything else, still rolls out changes: its
//! writes are replayed in their order on what the policy admits.

use serde_json::{Value, json};

use fixtures::case::{OPERATOR, create, deployment, mcpserver, update, with};

const ROLLED_OUT: &str = "/metadata/annotations/mcpserver-scaling-policy~1rolled-out";
const IMAGE: &str = "/spec/template/spec/containers/0/image";
/// An operator that runs in this pod.
const POD: &str = "authentication.kubernetes.io/pod-uid";

fn server(generation: i64) -> Value {
    let server = mcpserver(json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis"}}));
    with(
        with(server, "/apiVersion", json!("toolhive.stacklok.dev/v1alpha1")),
        "/metadata/generation",
        json!(generation),
    )
}

/// The Deployment as an operator before v0.23 creates it, with the annotation that the Deployment controller adds.
fn old_deployment(replicas: u32) -> Value {
    let deployment =
        with(deployment(replicas), "/metadata/annotations", json!({"deployment.kubernetes.io/revision": "1"}));
    with(deployment, "/metadata/ownerReferences/0/apiVersion", json!("toolhive.stacklok.dev/v1alpha1"))
}

/// A cluster with one server, whose operator writes the Deployment.
struct Cluster {
    server: Value,
    deployment: Value,
    pod: &'static str,
}

impl Cluster {
    fn new(generation: i64, replicas: u32) -> Self {
        Self { server: server(generation), deployment: old_deployment(replicas), pod: "a" }
    }

    /// The operator writes the Deployment, and the API server stores what the policy makes of it.
    fn write(&mut self, new: Value) {
        let user = json!({"username": OPERATOR, "extra": {POD: [self.pod]}});
        let evaluate = |new| {
            let case = update(self.deployment.clone(), new).with_member("userInfo", user.clone());
            let outcome = case.lookup_finds(&self.server).run();
            assert_eq!(outcome.refusal(), None);
            outcome
        };
        let admitted = evaluate(new).object();
        assert_eq!(evaluate(admitted.clone()).changes(), [""; 0], "another evaluation of the same request");
        self.deployment = admitted;
    }

    /// What such an operator writes in one run: a reset if the count is not 1, else the whole spec with its image.
    fn reconcile(&mut self, image: &str) {
        let new = if self.replicas() == 1 {
            with(with(self.deployment.clone(), "/spec/replicas", json!(1)), IMAGE, json!(image))
        } else {
            with(self.deployment.clone(), "/spec/replicas", json!(1))
        };
        self.write(new);
    }

    fn scale(&mut self, replicas: u32) {
        self.deployment = with(self.deployment.clone(), "/spec/replicas", json!(replicas));
    }

    fn replicas(&self) -> u64 {
        self.deployment["spec"]["replicas"].as_u64().expect("has a count")
    }

    fn image(&self) -> &Value {
        self.deployment.pointer(IMAGE).expect("has an image")
    }
}

#[test]
fn keeps_the_count_while_nothing_is_pending() {
    let mut cluster = Cluster::new(1, 3);
    for _ in 0..5 {
        cluster.reconcile("example/proxyrunner");
        assert_eq!(cluster.replicas(), 3);
    }
    assert_eq!(cluster.deployment.pointer(ROLLED_OUT), Some(&json!("generation=1 operator=a")));
}

/// Releases that find a difference in every run write the whole spec again and again, as they make it: without a hook.
#[test]
fn takes_a_write_that_only_lacks_what_the_policy_set_for_one_of_nothing() {
    let hookless = |deployment: &Value| {
        let grace_period = "/spec/template/spec/terminationGracePeriodSeconds";
        let lifecycle = "/spec/template/spec/containers/0/lifecycle";
        with(with(deployment.clone(), lifecycle, None), grace_period, json!(30))
    };
    let mut cluster = Cluster::new(2, 1);
    let template = cluster.deployment["spec"]["template"].clone();
    cluster.write(hookless(&cluster.deployment));
    assert_eq!(cluster.deployment.pointer(ROLLED_OUT), Some(&json!("generation=2 operator=a")));
    assert_eq!(cluster.deployment["spec"]["template"], template, "nothing restarts");
    cluster.scale(3);
    cluster.write(with(hookless(&cluster.deployment), "/spec/replicas", json!(1)));
    assert_eq!(cluster.replicas(), 3, "nothing is pending");
    let declared = with(server(2), "/spec/replicas", json!(4));
    let case = update(cluster.deployment.clone(), hookless(&cluster.deployment)).by(OPERATOR).lookup_finds(&declared);
    assert_eq!(case.run().object()["spec"]["replicas"], 4);
}

#[test]
fn rolls_out_a_new_image_and_gives_the_count_back() {
    let mut cluster = Cluster::new(1, 3);
    cluster.reconcile("example/proxyrunner");
    cluster.server = server(2);
    cluster.reconcile("new");
    assert_eq!(cluster.replicas(), 1, "the reset is let through");
    cluster.reconcile("new");
    assert_eq!((cluster.replicas(), cluster.image()), (3, &json!("new")));
    for _ in 0..5 {
        cluster.reconcile("new");
        assert_eq!(cluster.replicas(), 3, "nothing is pending any more");
    }
}

#[test]
fn raises_a_short_grace_period_with_the_rollout_and_not_with_the_reset() {
    const GRACE_PERIOD: &str = "/spec/template/spec/terminationGracePeriodSeconds";
    let mut cluster = Cluster::new(2, 3);
    cluster.deployment = with(cluster.deployment, GRACE_PERIOD, json!(5));
    cluster.reconcile("new");
    let grace_period = |cluster: &Cluster| cluster.deployment.pointer(GRACE_PERIOD).cloned();
    assert_eq!((cluster.replicas(), grace_period(&cluster)), (1, Some(json!(5))), "the reset is let through");
    cluster.reconcile("new");
    assert_eq!((cluster.replicas(), grace_period(&cluster)), (3, Some(json!(35))));
}

#[test]
fn rolls_out_to_a_stdio_server_that_is_scaled_to_zero() {
    let mut cluster = Cluster::new(1, 0);
    let stdio = |generation| with(server(generation), "/spec/transport", json!("stdio"));
    cluster.server = stdio(1);
    cluster.reconcile("example/proxyrunner");
    assert_eq!(cluster.replicas(), 0, "nothing is pending");
    cluster.server = stdio(2);
    for expected in [1, 0, 0] {
        cluster.reconcile("new");
        assert_eq!(cluster.replicas(), expected);
    }
    assert_eq!(cluster.image(), &json!("new"));
}

#[test]
fn leaves_a_stdio_server_at_one_replica() {
    for generation in [1, 2] {
        let mut cluster = Cluster::new(generation, 3);
        cluster.server = with(server(generation), "/spec/transport", json!("stdio"));
        for _ in 0..3 {
            cluster.reconcile("new");
            assert_eq!(cluster.replicas(), 1);
        }
        assert_eq!(cluster.image(), &json!("new"));
    }
}

#[test]
fn keeps_a_count_that_somebody_chose_after_the_reset() {
    let mut cluster = Cluster::new(2, 3);
    cluster.reconcile("new");
    assert_eq!(cluster.replicas(), 1, "the reset is let through");
    cluster.scale(0);
    // An operator from v0.10.1 on leaves the count.
    cluster.write(with(cluster.deployment.clone(), IMAGE, json!("new")));
    assert_eq!((cluster.replicas(), cluster.image()), (0, &json!("new")));
}

#[test]
fn forgets_the_count_before_a_reset_where_a_later_one_was_capped() {
    let mut cluster = Cluster::new(2, 0);
    cluster.reconcile("new");
    assert_eq!(cluster.replicas(), 1, "the reset is let through");
    cluster.scale(2);
    cluster.server = with(server(3), "/spec/transport", json!("stdio"));
    for _ in 0..3 {
        cluster.reconcile("new");
        assert_eq!(cluster.replicas(), 1);
    }
}

#[test]
fn gives_the_count_back_where_there_was_nothing_to_roll_out() {
    let mut cluster = Cluster::new(4, 5);
    for expected in [1, 5, 5] {
        cluster.reconcile("example/proxyrunner");
        assert_eq!(cluster.replicas(), expected);
    }
}

#[test]
fn lets_the_reset_through_again_after_a_crash_of_the_operator() {
    let mut cluster = Cluster::new(2, 3);
    cluster.reconcile("new");
    assert_eq!(cluster.replicas(), 1);
    // The operator ends here. The reconciler gives the count back, and the operator starts again.
    cluster.scale(3);
    cluster.reconcile("new");
    assert_eq!(cluster.replicas(), 1, "the new image is still pending");
    cluster.reconcile("new");
    assert_eq!((cluster.replicas(), cluster.image()), (3, &json!("new")));
}

#[test]
fn rolls_out_after_an_upgrade_and_after_a_change_of_the_referenced_configuration() {
    let mut cluster = Cluster::new(1, 3);
    cluster.reconcile("example/proxyrunner");
    cluster.pod = "b";
    for expected in [1, 3, 3] {
        cluster.reconcile("example/proxyrunner:new");
        assert_eq!(cluster.replicas(), expected, "the operator runs in another pod");
    }
    cluster.server["status"] = json!({"toolConfigHash": "abc"});
    for expected in [1, 3, 3] {
        cluster.reconcile("example/proxyrunner:new");
        assert_eq!(cluster.replicas(), expected, "the tool configuration changed");
    }
}

#[test]
fn records_what_is_rolled_out_at_one_replica() {
    let mut cluster = Cluster::new(7, 1);
    // Operators before v0.10.1 write an unchanged Deployment again and again.
    cluster.reconcile("example/proxyrunner");
    cluster.scale(3);
    cluster.reconcile("example/proxyrunner");
    assert_eq!(cluster.replicas(), 3, "the first reset is undone");
}

#[test]
fn restores_the_annotation_that_an_operator_drops() {
    let mut cluster = Cluster::new(2, 3);
    cluster.reconcile("new");
    let without = with(cluster.deployment.clone(), ROLLED_OUT, None);
    cluster.write(with(without, IMAGE, json!("new")));
    assert_eq!(cluster.replicas(), 3);
    assert_eq!(cluster.deployment.pointer(ROLLED_OUT), Some(&json!("generation=2 operator=a")));
}

#[test]
fn annotates_no_deployment_of_other_releases_kinds_and_settings() {
    let reset = |deployment: Value| {
        let new = with(deployment.clone(), "/spec/replicas", json!(1));
        update(deployment, new).by(OPERATOR).lookup_finds(&server(2))
    };
    let current =
        with(old_deployment(3), "/metadata/ownerReferences/0/apiVersion", json!("toolhive.stacklok.dev/v1beta1"));
    assert_eq!(reset(current).run().changes(), ["/spec/replicas=3"]);
    let off = reset(old_deployment(3)).settings(json!({"preserveScaling": false}));
    off.run().assert_accepted_as_is("preserveScaling is off");
    let stdio = with(server(2), "/spec/transport", json!("stdio"));
    let case = reset(old_deployment(3)).lookup_finds(&stdio);
    case.run().assert_accepted_as_is("stdio supports 1 replica");
    let declared = with(server(2), "/spec/replicas", json!(1));
    reset(old_deployment(3)).lookup_finds(&declared).run().assert_accepted_as_is("a count is declared");
    let person = update(old_deployment(3), old_deployment(1)).lookup_finds(&server(2));
    person.run().assert_accepted_as_is("a person scales down");
    create(old_deployment(1)).by(OPERATOR).lookup_finds(&server(1)).run().assert_accepted_as_is("CREATE");
}

#[test]
fn reports_a_reset_that_is_let_through() {
    let deployment = old_deployment(3);
    let new = with(deployment.clone(), "/spec/replicas", json!(1));
    let outcome = update(deployment, new).by(OPERATOR).lookup_finds(&server(2)).run();
    assert_eq!(outcome.annotations(), ["reset-let-through=replicas=3"]);
    assert_eq!(
        outcome.changes(),
        ["/metadata/annotations/mcpserver-scaling-policy~1rolled-out=\"generation=2 replicas=3\""]
    );
}
