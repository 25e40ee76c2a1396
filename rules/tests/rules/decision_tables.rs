//! The decision tables, row by row.

use mcp_scaling_rules::applied_generation::{self, TemplateDecision};
use mcp_scaling_rules::auth_server::{AuthServer, RawAuthServer, Unshared};
use mcp_scaling_rules::autoscaler::{Minimum, Range, RawRange, Scales, Target};
use mcp_scaling_rules::autoscaling::PAUSED_REPLICAS;
use mcp_scaling_rules::conditions::{PresentCondition, own_condition, workload_warning};
use mcp_scaling_rules::conflicts::{Conflicts, conflicts};
use mcp_scaling_rules::field::replica_count;
use mcp_scaling_rules::grace_period::{floor, raised_to_floor};
use mcp_scaling_rules::kind::{API_VERSIONS, GROUP};
use mcp_scaling_rules::owner::{OwnerLabels, OwnerReference};
use mcp_scaling_rules::pod_template::{self, TemplateChange, TemplateCorrection};
use mcp_scaling_rules::resets::OperatorWrite;
use mcp_scaling_rules::scaling::SessionStorageSpec;
use mcp_scaling_rules::session_storage::redis_since;
use mcp_scaling_rules::sessions::{
    binds_sessions_to_a_backend, lacks_redis_password, needs_redis, pins_no_session_to_a_backend, unshared_replicas,
};
use mcp_scaling_rules::{
    AutoscalerKind, Condition, ConditionReason, ConditionStatus, ConditionType, Field, InvalidField, Malformed, Owner,
    RawSpec, Replicas, ReplicasRule, RolledOut, Scaling, ServerKind, SessionStorage, Transport, Workload, accounts,
    autoscaler, exceeds_stdio_cap, owner, replicas, resets, resolve, sessions_at_risk, spec_conditions, stopped,
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use SessionStorage::{Memory, Redis};
use Transport::{Sse, Stdio, StreamableHttp};

#[test]
fn leaves_a_count_that_nobody_declares_undeclared() {
    for transport in [Stdio, Sse, StreamableHttp] {
        assert_eq!(resolve(transport, None), None);
    }
}

#[test]
fn resolves_stdio_to_at_most_one() {
    assert_eq!(resolve(Stdio, Some(0)), Some(0), "scale to zero works for stdio too");
    assert_eq!(resolve(Stdio, Some(1)), Some(1));
    assert_eq!(resolve(Stdio, Some(2)), Some(1));
    assert_eq!(resolve(Stdio, Some(i32::MAX as u32)), Some(1));
}

#[test]
fn resolves_other_transports_to_the_declared_count() {
    for transport in [Sse, StreamableHttp] {
        for count in [0, 1, 2, i32::MAX as u32] {
            assert_eq!(resolve(transport, Some(count)), Some(count));
        }
    }
}

#[test]
fn caps_only_stdio_above_one() {
    assert!(exceeds_stdio_cap(Stdio, 2));
    assert!(!exceeds_stdio_cap(Stdio, 1));
    assert!(!exceeds_stdio_cap(Stdio, 0));
    assert!(!exceeds_stdio_cap(Sse, 2));
    assert!(!exceeds_stdio_cap(StreamableHttp, 2));
}

#[test]
fn finds_sessions_at_risk_above_one_replica_without_redis() {
    assert!(sessions_at_risk(Memory, 2));
    assert!(!sessions_at_risk(Memory, 1));
    assert!(!sessions_at_risk(Memory, 0));
    assert!(!sessions_at_risk(Redis, 2));
}

#[test]
fn says_which_count_wins_and_by_which_rule() {
    use ReplicasRule::{Declared, Preserved, Stdio as Cap};
    for (transport, requested, declared, preserved, count, rule) in [
        (Sse, 1, Some(3), Some(5), 3, Some(Declared)),
        (Sse, 1, None, Some(5), 5, Some(Preserved)),
        (Sse, 1, None, None, 1, None),
        (Sse, 3, Some(3), Some(5), 3, None),
        (Sse, 4, Some(0), None, 0, Some(Declared)),
        (Sse, 4, None, Some(0), 0, Some(Preserved)),
        (Stdio, 3, None, None, 1, Some(Cap)),
        (Stdio, 3, Some(3), None, 1, Some(Cap)),
        (Stdio, 3, None, Some(3), 1, Some(Cap)),
        (Stdio, 3, Some(1), None, 1, Some(Declared)),
        (Stdio, 3, Some(2), None, 1, Some(Declared)),
        (Stdio, 3, None, Some(5), 1, Some(Preserved)),
        (Stdio, 1, Some(3), None, 1, None),
        (Stdio, 1, None, Some(5), 1, None),
        (Stdio, 0, None, None, 0, None),
        (Stdio, 0, Some(3), None, 1, Some(Declared)),
    ] {
        let expected = Replicas { count, rule };
        let case = format!("{transport:?} {requested} {declared:?} {preserved:?}");
        assert_eq!(replicas::decide(transport, requested, declared, preserved), expected, "{case}");
        assert_eq!(expected.changed(), (count != requested).then_some(count), "{case}");
    }
    assert_eq!(ReplicasRule::ALL.map(ReplicasRule::name), ["declared", "preserved", "stdio"]);
}

#[test]
fn corrects_a_workload_that_is_not_at_zero() {
    for (transport, count, declared, before_reset, expected) in [
        (Sse, 0, Some(3), None, None),
        (Stdio, 0, None, Some(3), None),
        (Sse, 5, Some(3), None, Some(3)),
        (Sse, 2, Some(0), None, Some(0)),
        (Stdio, 3, None, None, Some(1)),
        (Sse, 3, None, None, None),
        (Sse, 1, None, Some(3), Some(3)),
        (Sse, 1, None, Some(0), Some(0)),
        (Sse, 1, Some(2), Some(3), Some(2)),
        (Sse, 2, None, Some(3), None),
        (Stdio, 1, None, Some(3), None),
        (Stdio, 3, None, Some(3), Some(1)),
    ] {
        let corrected = replicas::correct(transport, count, declared, before_reset).changed();
        assert_eq!(corrected, expected, "{transport:?} {count} {declared:?} {before_reset:?}");
    }
}

#[test]
fn raises_a_grace_period_to_the_floor() {
    assert_eq!(raised_to_floor(None, 30), Some(30), "absent");
    assert_eq!(raised_to_floor(None, 5), Some(30), "absent is 30, and not shortened");
    assert_eq!(raised_to_floor(Some(0), 30), Some(30), "zero is short");
    assert_eq!(raised_to_floor(Some(-1), 30), Some(30), "negative is shorter");
    assert_eq!(raised_to_floor(Some(29), 30), Some(30));
    assert_eq!(raised_to_floor(Some(30), 30), None);
    assert_eq!(raised_to_floor(Some(31), 30), None, "longer is kept");
}

#[test]
fn adds_the_sleep_of_the_hook_to_the_floor() {
    for (minimum, added, present, expected) in [
        (30, 0, 0, 30),
        (30, 5, 0, 35),
        (30, 0, 15, 45),
        (30, 0, -15, 30),
        (0, 0, 0, 0),
        (0, 40, 0, 40),
        (0, 0, 40, 0),
        (i64::MAX, 5, 5, i64::MAX),
    ] {
        assert_eq!(floor(minimum, added, present), expected, "{minimum} {added} {present}");
    }
}

#[test]
fn leaves_every_grace_period_alone_with_a_floor_of_zero() {
    for requested in [None, Some(-1), Some(0), Some(5)] {
        assert_eq!(raised_to_floor(requested, 0), None);
    }
}

fn scaling(transport: Transport, replicas: Option<u32>, session_storage: Option<SessionStorage>) -> Scaling {
    Scaling { transport, replicas, backend_replicas: None, session_storage }
}

/// The reasons of both of ToolHive's conditions.
fn reasons(scaling: &Scaling) -> [ConditionReason; 2] {
    spec_conditions(scaling).map(|condition| condition.reason)
}

#[test]
fn chooses_the_conditions_of_the_table() {
    use ConditionReason::{
        SessionStorageConfigured, SessionStorageMissingForReplicas, SessionStorageWarningNotApplicable,
        StdioReplicaCapNotActive, StdioTransportCapAt1,
    };
    for storage in [None, Some(Memory), Some(Redis)] {
        for transport in [Stdio, Sse, StreamableHttp] {
            for replicas in [None, Some(0), Some(1)] {
                assert_eq!(
                    reasons(&scaling(transport, replicas, storage)),
                    [StdioReplicaCapNotActive, SessionStorageWarningNotApplicable]
                );
            }
        }
    }
    for storage in [None, Some(Memory)] {
        assert_eq!(
            reasons(&scaling(Stdio, Some(3), storage)),
            [StdioTransportCapAt1, SessionStorageMissingForReplicas],
            "both at once"
        );
        assert_eq!(
            reasons(&scaling(Sse, Some(2), storage)),
            [StdioReplicaCapNotActive, SessionStorageMissingForReplicas]
        );
    }
    assert_eq!(reasons(&scaling(Stdio, Some(3), Some(Redis))), [StdioTransportCapAt1, SessionStorageConfigured]);
    assert_eq!(
        reasons(&scaling(StreamableHttp, Some(2), Some(Redis))),
        [StdioReplicaCapNotActive, SessionStorageConfigured]
    );
}

#[test]
fn chooses_the_conditions_from_spec_replicas_only() {
    let backend_only = Scaling { backend_replicas: Some(5), ..scaling(Stdio, None, None) };
    assert_eq!(
        reasons(&backend_only),
        [ConditionReason::StdioReplicaCapNotActive, ConditionReason::SessionStorageWarningNotApplicable]
    );
}

/// Dashboards and alerts are written against these words; the first five are the ones that ToolHive's operator writes.
#[test]
fn names_the_conditions_as_toolhive_does() {
    let words = ConditionReason::ALL.map(|reason| {
        let condition = reason.condition();
        assert_eq!(condition.reason, reason);
        (condition.type_.name(), condition.status.name(), condition.reason.name())
    });
    assert_eq!(
        words,
        [
            ("StdioReplicaCapped", "True", "StdioTransportCapAt1"),
            ("StdioReplicaCapped", "False", "StdioReplicaCapNotActive"),
            ("SessionStorageWarning", "True", "SessionStorageMissingForReplicas"),
            ("SessionStorageWarning", "False", "SessionStorageConfigured"),
            ("SessionStorageWarning", "False", "SessionStorageWarningNotApplicable"),
            ("WorkloadReplicasWarning", "True", "BackendReplicasAboveStdioCap"),
            ("WorkloadReplicasWarning", "True", "WorkloadReplicasAboveStdioCap"),
            ("WorkloadReplicasWarning", "True", "WorkloadReplicasWithoutSessionStorage"),
            ("WorkloadReplicasWarning", "False", "WorkloadReplicasFit"),
        ]
    );
}

#[test]
fn reads_names_to_the_letter() {
    for transport in [Stdio, Sse, StreamableHttp] {
        assert_eq!(Transport::from_name(transport.name()), Some(transport));
    }
    for name in ["", "STDIO", "Stdio", " stdio", "http"] {
        assert_eq!(Transport::from_name(name), None, "{name:?}");
    }
    for storage in [Memory, Redis] {
        assert_eq!(SessionStorage::from_name(storage.name()), Some(storage));
    }
    for name in ["", "Redis", "valkey"] {
        assert_eq!(SessionStorage::from_name(name), None, "{name:?}");
    }
    for type_ in ConditionType::ALL {
        assert_eq!(ConditionType::from_name(type_.name()), Some(type_));
    }
    for reason in ConditionReason::ALL {
        assert_eq!(ConditionReason::from_name(reason.name()), Some(reason));
    }
    assert_eq!(ConditionStatus::from_name("True"), Some(ConditionStatus::True));
    assert_eq!(ConditionStatus::from_name("False"), Some(ConditionStatus::False));
    assert_eq!(ConditionStatus::from_name("Unknown"), None);
    assert_eq!(ConditionType::from_name("Ready"), None);
    assert_eq!(ConditionReason::from_name("Because"), None);
}

#[test]
fn finds_kinds_by_group_and_name_or_by_label() {
    for kind in ServerKind::ALL {
        assert_eq!(ServerKind::from_kind(GROUP, kind.name()), Some(kind));
        assert_eq!(ServerKind::from_app_name(kind.app_name()), Some(kind));
        assert_eq!(ServerKind::from_kind("example.com", kind.name()), None);
    }
    assert_eq!(ServerKind::from_kind(GROUP, "MCPGroup"), None);
    assert_eq!(ServerKind::from_app_name("nginx"), None);
}

#[test]
fn makes_only_an_mcp_server_stdio_by_default() {
    for kind in ServerKind::ALL {
        assert_eq!(kind.default_transport() == Stdio, kind == ServerKind::McpServer);
    }
}

#[test]
fn lists_api_versions_of_the_group() {
    for version in API_VERSIONS {
        assert_eq!(version.split_once('/').map(|(group, _)| group), Some(GROUP));
    }
}

/// Reads a spec of an `MCPServer` with these members.
fn read(
    transport: Field<&str>,
    replicas: Field<i64>,
    backend_replicas: Field<i64>,
    provider: Field<&str>,
) -> Result<Scaling, InvalidField> {
    let text = |field: Field<&str>| field.and_then(|text| Some(text.to_owned()));
    let session_storage = Field::Value(SessionStorageSpec { provider: text(provider) });
    let transport = text(transport);
    let raw = RawSpec { transport: &transport, replicas, backend_replicas, session_storage: &session_storage };
    Scaling::read(ServerKind::McpServer, raw)
}

#[test]
fn reads_what_a_spec_says() {
    use Field::{Absent, Value};
    let absent = RawSpec { transport: &Absent, replicas: Absent, backend_replicas: Absent, session_storage: &Absent };
    assert_eq!(Scaling::read(ServerKind::McpServer, absent), Ok(scaling(Stdio, None, None)));
    assert_eq!(Scaling::read(ServerKind::VirtualMcpServer, absent), Ok(scaling(StreamableHttp, None, None)));
    let expected = Scaling { backend_replicas: Some(0), ..scaling(Sse, Some(3), Some(Redis)) };
    assert_eq!(read(Value("sse"), Value(3), Value(0), Value("redis")), Ok(expected));
    assert_eq!(expected.session_storage_or(Memory), Redis);
    assert_eq!(scaling(Sse, None, None).session_storage_or(Redis), Redis);
    for (json, provider) in [("{}", Absent), ("{\"provider\": 7}", Field::Malformed), ("{\"provider\": null}", Absent)]
    {
        assert_eq!(serde_json::from_str::<SessionStorageSpec>(json).expect("is read").provider, provider, "{json}");
    }
}

#[test]
fn names_the_field_of_a_spec_that_is_wrong() {
    use Field::{Absent, Malformed, Value};
    for transport in [Malformed, Value("STDIO")] {
        assert_eq!(read(transport, Absent, Absent, Absent), Err(InvalidField("spec.transport")));
    }
    for count in [Malformed, Value(-1), Value(3_000_000_000)] {
        assert_eq!(read(Absent, count, Absent, Absent), Err(InvalidField("spec.replicas")));
        assert_eq!(read(Absent, Absent, count, Absent), Err(InvalidField("spec.backendReplicas")));
    }
    for provider in [Malformed, Value("valkey")] {
        assert_eq!(read(Absent, Absent, Absent, provider), Err(InvalidField("spec.sessionStorage.provider")));
    }
    let malformed =
        RawSpec { transport: &Absent, replicas: Absent, backend_replicas: Absent, session_storage: &Malformed };
    let error = Err(InvalidField("spec.sessionStorage.provider"));
    assert_eq!(Scaling::read(ServerKind::McpServer, malformed), error, "no object");
    let text = InvalidField("spec.replicas").to_string();
    assert_eq!(text, "spec.replicas has a value that ToolHive's CRD does not allow");
}

#[test]
fn counts_replicas_as_kubernetes_does() {
    assert_eq!(replica_count(0), Some(0));
    assert_eq!(replica_count(2_147_483_647), Some(2_147_483_647));
    for number in [-1, 2_147_483_648, 3_000_000_000, i64::MIN, i64::MAX] {
        assert_eq!(replica_count(number), None, "{number}");
    }
}

#[test]
fn links_each_workload_to_the_field_that_declares_its_count() {
    let scaling = Scaling { backend_replicas: Some(2), ..scaling(Sse, Some(3), None) };
    let links = Workload::ALL.map(|workload| {
        assert_eq!(Workload::from_kind("apps", workload.kind()), Some(workload));
        assert_eq!(Workload::from_resource("apps", workload.resource()), Some(workload));
        assert_eq!(workload.declared_at().join("."), workload.declared_in());
        (workload.kind(), workload.resource(), workload.declared_in(), workload.declared(&scaling))
    });
    assert_eq!(
        links,
        [
            ("Deployment", "deployments", "spec.replicas", Some(3)),
            ("StatefulSet", "statefulsets", "spec.backendReplicas", Some(2)),
        ]
    );
    assert_eq!(Workload::from_kind("apps", "ReplicaSet"), None);
    assert_eq!(Workload::from_kind("extensions", "Deployment"), None);
    assert_eq!(Workload::from_resource("extensions", "deployments"), None);
}

fn controller(api_version: &'static str, kind: &'static str) -> OwnerReference<'static> {
    OwnerReference { api_version: api_version.into(), kind: kind.into(), name: "github".into() }
}

fn owner_labels(toolhive: &'static str, name: &'static str, app_name: Option<&'static str>) -> OwnerLabels<'static> {
    OwnerLabels {
        toolhive: Some(toolhive.into()),
        toolhive_name: Some(name.into()),
        app_name: app_name.map(Into::into),
    }
}

#[test]
fn finds_the_owner_of_a_workload() {
    let owner = |controller: Option<OwnerReference<'static>>, labels: OwnerLabels<'static>| {
        assert_eq!(Owner::of_workload("github-debug", controller.clone(), labels.clone()), None, "a copy");
        assert_eq!(Owner::of_workload("", controller.clone(), labels.clone()), None, "no name yet");
        let owner = Owner::of_workload("github", controller, labels)?;
        assert!(!owner.is_by_name_only);
        Some((owner.kind.name(), owner.name.into_owned()))
    };
    let github = |kind: &'static str| Some((kind, "github".to_owned()));
    let none = OwnerLabels::default;
    for version in API_VERSIONS.into_iter().chain(["toolhive.stacklok.dev/v9"]) {
        for kind in ServerKind::ALL {
            assert_eq!(owner(Some(controller(version, kind.name())), none()), github(kind.name()));
        }
    }
    let ours = || owner_labels("true", "github", None);
    for foreign in [controller("apps/v1", "ReplicaSet"), controller("v1", "MCPServer"), controller("x/v1", "MCPServer")]
    {
        assert_eq!(owner(Some(foreign), ours()), None, "a controller of something else overrides the labels");
    }
    assert_eq!(owner(None, ours()), github("MCPServer"), "the labels of a StatefulSet");
    assert_eq!(owner(None, owner_labels("true", "github", Some("mcpremoteproxy"))), github("MCPRemoteProxy"));
    assert_eq!(owner(None, owner_labels("true", "github", Some("other"))), github("MCPServer"));
    assert_eq!(owner(None, owner_labels("false", "github", None)), None);
    assert_eq!(owner(None, OwnerLabels { toolhive_name: None, ..ours() }), None);
    assert_eq!(owner(None, none()), None);
}

#[test]
fn finds_the_owner_of_a_deployment_by_its_selector() {
    let named =
        |name, selector| Owner::of_deployment_selector(name, selector).map(|owner| (owner.kind.name(), owner.name));
    let owner = |selector| named("x", selector);
    let ours =
        "app=mcpserver,app.kubernetes.io/instance=x,app.kubernetes.io/name=mcpserver,toolhive=true,toolhive-name=x";
    assert_eq!(owner(ours), Some(("MCPServer", "x".into())));
    let virtual_server = "app.kubernetes.io/name=virtualmcpserver,toolhive=true,toolhive-name=x";
    assert_eq!(owner(virtual_server), Some(("VirtualMCPServer", "x".into())));
    for copy in ["x-primary", "x-canary", "X", ""] {
        assert_eq!(named(copy, ours), None, "{copy}");
    }
    for foreign in ["", "app=x", "toolhive=false,toolhive-name=x", "toolhive=true", "xtoolhive=true,toolhive-name=x"] {
        assert_eq!(owner(foreign), None, "{foreign}");
    }
}

#[test]
fn finds_the_possible_owner_of_a_statefulset_by_name_and_selector() {
    let owner = |selector| Owner::of_statefulset_selector("x".into(), selector);
    assert_eq!(owner("app=x"), Some(Owner::by_name("x".into())));
    assert!(Owner::by_name("x".into()).is_by_name_only);
    for foreign in ["", "app=y", "app=x,tier=db", "name=x", "app in (x)"] {
        assert_eq!(owner(foreign), None, "{foreign}");
    }
}

#[test]
fn tells_accounts_by_their_user_name() {
    assert!(accounts::is_proxy_runner("system:serviceaccount:tools:github-proxy-runner", "tools", "github"));
    for other in [
        "system:serviceaccount:other:github-proxy-runner",
        "system:serviceaccount:tools:gitlab-proxy-runner",
        "system:serviceaccount:tools:github",
        "github-proxy-runner",
        "",
    ] {
        assert!(!accounts::is_proxy_runner(other, "tools", "github"), "{other}");
    }
    let controllers = [
        "deployment-controller",
        "generic-garbage-collector",
        "horizontal-pod-autoscaler",
        "namespace-controller",
        "replicaset-controller",
        "statefulset-controller",
        "storage-version-migrator-controller",
    ];
    for name in controllers {
        assert!(accounts::is_kubernetes_controller(&format!("system:serviceaccount:kube-system:{name}")), "{name}");
        for namespace in ["default", "kube-public", "kube-system2", ""] {
            let username = format!("system:serviceaccount:{namespace}:{name}");
            assert!(!accounts::is_kubernetes_controller(&username), "{username}");
        }
        assert!(!accounts::is_kubernetes_controller(name), "{name}");
    }
    assert!(accounts::is_kubernetes_controller("system:kube-controller-manager"));
    let people_of_kube_system =
        ["admin-user", "eks-admin", "default", "tiller", "cluster-autoscaler", "", "deployment-controller2"];
    for name in people_of_kube_system {
        assert!(!accounts::is_kubernetes_controller(&format!("system:serviceaccount:kube-system:{name}")), "{name}");
    }
    for other in [accounts::OPERATOR, "kubernetes-admin", "system:kube-scheduler", "system:admin"] {
        assert!(!accounts::is_kubernetes_controller(other), "{other}");
    }
    for namespace in ["keda", "openshift-keda", "kube-system", "extension-system"] {
        assert!(accounts::is_keda_by_name(&format!("system:serviceaccount:{namespace}:keda-operator")), "{namespace}");
        assert!(!accounts::is_keda_by_name(&format!("system:serviceaccount:{namespace}:keda-metrics-server")));
        assert!(accounts::is_operator_by_name(&format!("system:serviceaccount:{namespace}:toolhive-operator")));
    }
    assert!(accounts::is_keda_by_name(accounts::KEDA_OPERATOR));
    assert!(
        !accounts::is_keda_by_name("keda-operator")
            && !accounts::is_keda_by_name("system:serviceaccount:keda-operator")
    );
}

#[test]
fn reads_what_an_operator_rolled_out() {
    for (text, state, replicas_before_reset) in [
        ("generation=2", "generation=2", None),
        ("generation=2 operator=a", "generation=2 operator=a", None),
        ("generation=2 operator=a replicas=3", "generation=2 operator=a", Some(3)),
    ] {
        let expected = RolledOut { state: state.to_owned(), replicas_before_reset };
        assert_eq!(RolledOut::parse(text), expected);
        assert_eq!(expected.to_string(), text);
    }
    assert_eq!(RolledOut::parse("generation=2 replicas=x").replicas_before_reset, None);
}

#[test]
fn keeps_a_generation_that_follows_and_a_template_from_older_runners() {
    use TemplateDecision::{Accept, KeepGeneration, KeepTemplate};
    let keep = |applied| KeepGeneration { applied };
    for (stored, recorded, written, is_same, expected) in [
        (4, None, 5, true, keep(5)),
        (4, Some(6), 7, true, keep(7)),
        (4, Some(6), 6, true, keep(6)),
        (4, Some(6), 5, true, keep(6)),
        (4, Some(6), 3, true, keep(6)),
        // A generation was left out, so that nothing is known of it.
        (4, None, 6, true, Accept),
        (4, Some(6), 8, true, Accept),
        (4, None, 5, false, Accept),
        (4, None, 4, false, Accept),
        (4, Some(6), 6, false, Accept),
        (4, Some(6), 5, false, KeepTemplate { applied: 6 }),
        (4, None, 3, false, KeepTemplate { applied: 4 }),
        // A record from before the stored generation says nothing.
        (4, Some(2), 5, true, keep(5)),
        (4, Some(2), 3, false, KeepTemplate { applied: 4 }),
        (i64::MAX, None, i64::MAX, true, keep(i64::MAX)),
    ] {
        let decision = applied_generation::decide(stored, recorded, written, is_same);
        assert_eq!(decision, expected, "{stored} {recorded:?} {written} {is_same}");
    }
}

#[test]
fn finds_the_workload_that_is_declared_as_stopped_alone() {
    let (deployment, statefulset) = (Some(Workload::Deployment), Some(Workload::StatefulSet));
    for (replicas, backend_replicas, expected) in [
        (None, None, None),
        (Some(0), None, deployment),
        (Some(0), Some(1), deployment),
        (Some(0), Some(0), None),
        (None, Some(0), statefulset),
        (Some(1), Some(0), statefulset),
        (Some(1), Some(1), None),
        (Some(2), None, None),
    ] {
        let spec = Scaling { backend_replicas, ..scaling(Sse, replicas, None) };
        let case = format!("{replicas:?} and {backend_replicas:?}");
        assert_eq!(stopped::declared_alone(ServerKind::McpServer, &spec), expected, "{case}");
        assert_eq!(stopped::declared_alone(ServerKind::VirtualMcpServer, &spec), None, "{case}");
        let newly = |old: Option<Scaling>| stopped::newly_declared_alone(ServerKind::McpServer, &spec, old.as_ref());
        assert_eq!(newly(Some(scaling(Sse, None, None))), expected, "{case}");
        assert_eq!(newly(Some(spec)), None, "{case}");
        assert_eq!(newly(None), expected.filter(|it| *it == Workload::StatefulSet), "{case}, created");
    }
}

#[test]
fn finds_the_request_that_stops_one_workload_alone() {
    use Workload::{Deployment, StatefulSet};
    for (workload, replicas, backend_replicas, expected) in [
        (Deployment, None, None, true),
        (Deployment, Some(0), Some(2), true),
        (Deployment, Some(2), None, false),
        (Deployment, None, Some(0), false),
        (StatefulSet, None, None, true),
        (StatefulSet, None, Some(2), false),
        (StatefulSet, Some(0), None, false),
    ] {
        let spec = Scaling { backend_replicas, ..scaling(Sse, replicas, None) };
        let case = format!("{workload:?} {replicas:?} {backend_replicas:?}");
        assert_eq!(stopped::stops_alone(ServerKind::McpServer, workload, &spec), expected, "{case}");
        assert!(!stopped::stops_alone(ServerKind::McpRemoteProxy, workload, &spec), "{case}");
    }
}

/// The decision about a write to a Deployment with `old` replicas.
fn reset(write: OperatorWrite, recorded: Option<&str>, now: &str, old: u32) -> (Option<u32>, Option<String>, bool) {
    let generation = if now.starts_with("generation=1") { 1 } else { 2 };
    let recorded = recorded.map(RolledOut::parse);
    let decision = resets::decide(write, recorded.as_ref(), now.to_owned(), generation, old);
    (decision.preserved, decision.annotation.map(|annotation| annotation.to_string()), decision.lets_reset_through)
}

#[test]
fn undoes_a_reset_as_long_as_nothing_else_is_to_be_rolled_out() {
    use OperatorWrite::{Nothing, Reset, Rollout};
    let text = |text: &str| Some(text.to_owned());
    for (write, recorded, now, old, preserved, annotation) in [
        (Reset, Some("generation=2"), "generation=2", 3, Some(3), text("generation=2")),
        (Reset, None, "generation=1", 3, Some(3), text("generation=1")),
        (Reset, None, "generation=2", 3, None, text("generation=2 replicas=3")),
        (Reset, Some("generation=1"), "generation=2", 3, None, text("generation=2 replicas=3")),
        (
            Reset,
            Some("generation=2 operator=a"),
            "generation=2 operator=b",
            3,
            None,
            text("generation=2 operator=b replicas=3"),
        ),
        (Reset, Some("generation=1 replicas=5"), "generation=2", 3, None, text("generation=2 replicas=3")),
        (Reset, Some("generation=2 replicas=3"), "generation=2", 3, None, text("generation=2 replicas=3")),
        (Rollout, Some("generation=2 replicas=5"), "generation=2", 1, Some(5), text("generation=2")),
        (Nothing, Some("generation=2 replicas=5"), "generation=2", 1, Some(5), text("generation=2")),
        (Nothing, Some("generation=2 replicas=5"), "generation=2", 0, Some(0), text("generation=2")),
        (Rollout, Some("generation=2 replicas=5"), "generation=2", 2, Some(2), text("generation=2")),
        (Nothing, None, "generation=2", 3, Some(3), text("generation=2")),
        (Rollout, Some("generation=1"), "generation=2", 3, Some(3), text("generation=2")),
        (Rollout, None, "generation=2", 3, Some(3), None),
        (Nothing, Some("generation=2"), "generation=2", 3, Some(3), text("generation=2")),
    ] {
        let expected = (preserved, annotation, preserved.is_none());
        assert_eq!(reset(write, recorded, now, old), expected, "{write:?} {recorded:?} {now} {old}");
    }
}

#[test]
fn tells_a_reset_from_other_writes_of_an_operator() {
    use OperatorWrite::{Nothing, Reset, Rollout};
    for (requested, old, leaves_rest, expected) in [
        (3, 3, true, Nothing),
        (1, 1, true, Nothing),
        (1, 3, true, Reset),
        (1, 0, true, Reset),
        (2, 3, true, Rollout),
        (1, 3, false, Rollout),
        (1, 1, false, Rollout),
    ] {
        assert_eq!(OperatorWrite::of(requested, old, leaves_rest), expected, "{requested} {old} {leaves_rest}");
    }
    let restoring = RolledOut::parse("generation=2 replicas=3");
    for (transport, declared, old, recorded, expected) in [
        (Sse, None, 3, None, true),
        (Sse, Some(3), 3, None, false),
        (Stdio, None, 3, None, false),
        (Stdio, None, 1, None, true),
        (Stdio, None, 3, Some(&restoring), true),
    ] {
        assert_eq!(resets::concerns(transport, declared, old, recorded), expected, "{transport:?} {declared:?} {old}");
    }
    let owner = |kind, api_version: &'static str| Owner {
        kind,
        name: "github".into(),
        api_version: Some(api_version.into()),
        is_by_name_only: false,
    };
    let [newest, oldest] = API_VERSIONS;
    assert!(resets::may_reset(&owner(ServerKind::McpServer, oldest)));
    assert!(!resets::may_reset(&owner(ServerKind::McpServer, newest)));
    assert!(!resets::may_reset(&owner(ServerKind::VirtualMcpServer, oldest)));
}

#[test]
fn describes_what_an_operator_would_roll_out() {
    assert_eq!(RolledOut::state(2, None, None, None), "generation=2");
    let all = RolledOut::state(2, Some("a"), Some("b"), Some("c"));
    assert_eq!(all, "generation=2 tool-config=a external-auth-config=b operator=c");
}

#[test]
fn reads_what_an_autoscaler_scales() {
    use AutoscalerKind::{HorizontalPodAutoscaler as Hpa, ScaledObject};
    use Field::{Absent, Value};
    let deployment = Ok(Target::Workload(Workload::Deployment));
    for (autoscaler, api_version, kind, expected) in [
        (Hpa, Value("apps/v1"), Value("Deployment"), deployment),
        (Hpa, Value("apps/v1"), Value("StatefulSet"), Ok(Target::Workload(Workload::StatefulSet))),
        (
            Hpa,
            Value("toolhive.stacklok.dev/v1beta1"),
            Value("MCPServer"),
            Ok(Target::CustomResource(ServerKind::McpServer)),
        ),
        (Hpa, Value("toolhive.stacklok.dev/v1alpha1"), Value("EmbeddingServer"), Ok(Target::EmbeddingServer)),
        (Hpa, Value("apps/v1"), Value("EmbeddingServer"), Ok(Target::Other)),
        (Hpa, Value("v1"), Value("Deployment"), Ok(Target::Other)),
        (Hpa, Absent, Value("Deployment"), Err(Malformed)),
        (Hpa, Value("apps/v1"), Absent, Err(Malformed)),
        (ScaledObject, Absent, Absent, deployment),
        (ScaledObject, Field::Malformed, Absent, Err(Malformed)),
    ] {
        assert_eq!(Target::read(autoscaler, api_version, kind), expected, "{autoscaler:?} {api_version:?} {kind:?}");
    }
    assert_eq!(autoscaler::known_as([("ScaledObject", "a")], "keda-hpa-a"), (ScaledObject, "a"));
    assert_eq!(autoscaler::known_as([("Rollout", "a")], "b"), (Hpa, "b"));
}

/// A range whose minimum this field decides.
fn range(minimum: u32, decided_by: &'static str, maximum: u32) -> Range {
    Range { minimum: Minimum { count: minimum, decided_by }, maximum }
}

#[test]
fn reads_how_far_an_autoscaler_scales() {
    use AutoscalerKind::{HorizontalPodAutoscaler as Hpa, ScaledObject};
    use Field::{Absent, Value};
    for (autoscaler, minimum, idle, maximum, expected) in [
        (Hpa, Value(2), Absent, Value(5), Ok(range(2, "minReplicas", 5))),
        (Hpa, Absent, Absent, Value(5), Ok(range(1, "minReplicas", 5))),
        (Hpa, Value(0), Absent, Value(5), Ok(range(0, "minReplicas", 5))),
        (Hpa, Absent, Absent, Absent, Err(Malformed)),
        (Hpa, Field::Malformed, Absent, Value(5), Err(Malformed)),
        (ScaledObject, Absent, Absent, Value(5), Ok(range(0, "minReplicaCount", 5))),
        (ScaledObject, Value(2), Absent, Absent, Ok(range(2, "minReplicaCount", 100))),
        (ScaledObject, Value(2), Value(0), Absent, Ok(range(0, "idleReplicaCount", 100))),
        (ScaledObject, Absent, Absent, Field::Malformed, Err(Malformed)),
        (ScaledObject, Absent, Field::Malformed, Absent, Err(Malformed)),
    ] {
        let raw = RawRange { minimum, idle, maximum, ..RawRange::default() };
        assert_eq!(Scales::read(autoscaler, raw), expected.map(Scales::Within), "{autoscaler:?} {raw:?}");
    }
    let busy = RawRange { is_always_active: true, ..RawRange::default() };
    assert_eq!(Scales::read(ScaledObject, busy), Ok(Scales::Within(range(1, "minReplicaCount", 100))));
}

#[test]
fn reads_the_pause_of_a_scaled_object() {
    let within = |minimum, decided_by, maximum| Scales::Within(range(minimum, decided_by, maximum));
    let usual = within(1, "minReplicaCount", 3);
    for (paused_replicas, paused, expected) in [
        (None, None, usual),
        (None, Some("false"), usual),
        (None, Some("0"), usual),
        (None, Some("true"), Scales::Nothing),
        (None, Some(""), Scales::Nothing),
        (None, Some("no"), Scales::Nothing),
        (Some("5"), None, within(5, PAUSED_REPLICAS, 5)),
        (Some("5"), Some("true"), within(5, PAUSED_REPLICAS, 5)),
        (Some("0"), Some("false"), within(0, PAUSED_REPLICAS, 0)),
        (Some("-1"), None, Scales::Unreadable),
        (Some("five"), None, Scales::Unreadable),
        (Some(""), Some("true"), Scales::Unreadable),
        (Some("2147483648"), None, Scales::Unreadable),
    ] {
        let (minimum, maximum) = (Field::Value(1), Field::Value(3));
        let raw = RawRange { minimum, maximum, paused_replicas, paused, ..RawRange::default() };
        assert_eq!(Scales::read(AutoscalerKind::ScaledObject, raw), Ok(expected), "{raw:?}");
        let of_hpa = Scales::read(AutoscalerKind::HorizontalPodAutoscaler, raw);
        assert_eq!(of_hpa, Ok(within(1, "minReplicas", 3)), "the annotations are KEDA's: {raw:?}");
    }
}

#[test]
fn finds_the_conflicts_of_an_autoscaler() {
    use Workload::{Deployment, StatefulSet};
    for (workload, transport, replicas, [minimum, maximum], found) in [
        (Deployment, Sse, None, [0, 5], (None, false, false, false, false)),
        (Deployment, Sse, Some(2), [1, 5], (Some(2), false, false, false, false)),
        (Deployment, Stdio, None, [1, 5], (None, true, false, false, false)),
        (Deployment, Stdio, None, [0, 1], (None, false, false, false, false)),
        (Deployment, Stdio, Some(1), [1, 5], (Some(1), true, false, false, false)),
        (StatefulSet, Sse, Some(2), [1, 5], (None, false, true, false, false)),
        (StatefulSet, Sse, None, [1, 1], (None, false, false, false, false)),
        (StatefulSet, Sse, None, [0, 5], (None, false, true, false, true)),
        (StatefulSet, StreamableHttp, None, [0, 5], (None, false, false, true, true)),
        (StatefulSet, StreamableHttp, None, [1, 5], (None, false, false, true, false)),
        (StatefulSet, Stdio, None, [0, 1], (None, false, false, false, true)),
    ] {
        let (declared, exceeds_stdio_cap, binds_sessions, pins_no_session, stops_backend) = found;
        let expected = Conflicts { declared, exceeds_stdio_cap, binds_sessions, pins_no_session, stops_backend };
        let range = range(minimum, "minReplicas", maximum);
        let found = conflicts(workload, range, &scaling(transport, replicas, None));
        assert_eq!(found, expected, "{workload:?} {transport:?} {replicas:?} {range:?}");
    }
}

#[test]
fn finds_who_starts_the_proxies_alone() {
    use Workload::{Deployment, StatefulSet};
    for (kind, workload, backends, old, new, expected) in [
        (ServerKind::McpServer, Deployment, None, Some(0), 1, true),
        (ServerKind::McpServer, Deployment, Some(0), Some(0), 2, true),
        (ServerKind::McpServer, Deployment, Some(1), Some(0), 1, false),
        (ServerKind::McpServer, Deployment, None, Some(0), 0, false),
        (ServerKind::McpServer, Deployment, None, Some(1), 2, false),
        (ServerKind::McpServer, Deployment, None, None, 1, false),
        (ServerKind::McpServer, StatefulSet, None, Some(0), 1, false),
        (ServerKind::VirtualMcpServer, Deployment, None, Some(0), 1, false),
    ] {
        let spec = Scaling { backend_replicas: backends, ..scaling(Sse, None, None) };
        let case = format!("{kind:?} {workload:?} {backends:?} from {old:?} to {new}");
        assert_eq!(stopped::starts_alone(kind, workload, &spec, old, new), expected, "{case}");
    }
}

#[test]
fn needs_redis_only_where_it_helps() {
    for (transport, storage, count, expected) in [
        (Sse, Memory, 2, true),
        (StreamableHttp, Memory, 2, true),
        (StreamableHttp, Memory, 1, false),
        (StreamableHttp, Redis, 2, false),
        (Stdio, Memory, 3, false),
    ] {
        assert_eq!(needs_redis(transport, storage, count), expected, "{transport:?} {storage:?} {count}");
    }
    assert!(binds_sessions_to_a_backend(Workload::StatefulSet, Sse, 2));
    assert!(!binds_sessions_to_a_backend(Workload::Deployment, Sse, 2));
    assert!(!binds_sessions_to_a_backend(Workload::StatefulSet, StreamableHttp, 2));
    for (workload, transport, replicas, expected) in [
        (Workload::StatefulSet, StreamableHttp, 2, true),
        (Workload::StatefulSet, StreamableHttp, 1, false),
        (Workload::StatefulSet, StreamableHttp, 0, false),
        (Workload::Deployment, StreamableHttp, 2, false),
        (Workload::StatefulSet, Sse, 2, false),
        (Workload::StatefulSet, Stdio, 2, false),
    ] {
        let found = pins_no_session_to_a_backend(workload, transport, replicas);
        assert_eq!(found, expected, "{workload:?} {transport:?} {replicas}");
    }
    for (kind, declared, used, expected) in [
        (ServerKind::McpServer, Some(Memory), Some(Redis), true),
        (ServerKind::VirtualMcpServer, Some(Memory), Some(Redis), true),
        (ServerKind::McpRemoteProxy, Some(Memory), Some(Redis), false),
        (ServerKind::McpServer, None, Some(Redis), false),
        (ServerKind::McpServer, Some(Redis), Some(Redis), false),
        (ServerKind::McpServer, Some(Memory), Some(Memory), false),
        (ServerKind::McpServer, Some(Memory), None, false),
    ] {
        assert_eq!(lacks_redis_password(kind, declared, used), expected, "{kind:?} {declared:?} {used:?}");
    }
    for (kind, since) in [
        (ServerKind::McpServer, "v0.16"),
        (ServerKind::VirtualMcpServer, "v0.16"),
        (ServerKind::McpRemoteProxy, "v0.30"),
    ] {
        assert_eq!(redis_since(kind), since);
    }
}

#[test]
fn finds_what_the_pods_of_an_auth_server_do_not_share() {
    use Field::{Absent, Value};
    for (storage_type, signing_keys, hmac_secrets, missing) in [
        (Absent, Absent, Absent, "storage.type redis, signingKeySecretRefs, hmacSecretRefs"),
        (Value("memory"), Value(1), Value(1), "storage.type redis"),
        (Value("redis"), Absent, Value(0), "signingKeySecretRefs, hmacSecretRefs"),
        (Value("redis"), Absent, Value(1), "signingKeySecretRefs"),
        (Value("redis"), Value(2), Absent, "hmacSecretRefs"),
        (Value("redis"), Value(1), Value(2), ""),
        (Value("etcd"), Value(1), Value(1), ""),
        (Field::Malformed, Value(1), Value(1), ""),
        (Value("redis"), Field::Malformed, Field::Malformed, ""),
    ] {
        let raw = RawAuthServer { storage_type, signing_keys, hmac_secrets };
        let auth_server = AuthServer::InSpec(Unshared::read(raw));
        assert_eq!(auth_server.may_lose_logins(StreamableHttp, 2), !missing.is_empty(), "{raw:?}");
        if !missing.is_empty() {
            let sentence = format!("2 replicas do not share logins; authServerConfig needs {missing}");
            assert_eq!(auth_server.requirement("2"), sentence, "{raw:?}");
        }
    }
    for auth_server in [AuthServer::Referenced, AuthServer::InSpec(Unshared { storage: true, ..Unshared::default() })] {
        for (transport, replicas, expected) in
            [(StreamableHttp, 2, true), (Sse, 2, true), (Sse, 1, false), (Sse, 0, false), (Stdio, 3, false)]
        {
            assert_eq!(auth_server.may_lose_logins(transport, replicas), expected, "{transport:?} {replicas}");
        }
    }
}

#[test]
fn warns_of_what_toolhives_conditions_do_not_tell() {
    use ConditionReason::{
        BackendReplicasAboveStdioCap, WorkloadReplicasAboveStdioCap, WorkloadReplicasWithoutSessionStorage,
    };
    for (transport, replicas, backend_replicas, [proxies, backends], is_unshared, expected) in [
        (Stdio, None, None, [Some(1), Some(1)], false, None),
        (Stdio, None, None, [None, None], false, None),
        (Stdio, None, None, [Some(3), Some(1)], false, Some(WorkloadReplicasAboveStdioCap)),
        (Stdio, None, None, [Some(1), Some(2)], false, Some(WorkloadReplicasAboveStdioCap)),
        (Stdio, Some(3), None, [Some(3), Some(1)], false, None),
        (Stdio, Some(3), Some(2), [Some(1), Some(1)], false, Some(BackendReplicasAboveStdioCap)),
        (Sse, None, None, [Some(3), Some(1)], true, Some(WorkloadReplicasWithoutSessionStorage)),
        (Sse, None, None, [Some(3), Some(1)], false, None),
        (Sse, Some(3), None, [Some(3), Some(1)], true, None),
    ] {
        let spec = Scaling { backend_replicas, ..scaling(transport, replicas, None) };
        let count = |workload| if workload == Workload::Deployment { proxies } else { backends };
        let case = format!("{transport:?} {replicas:?} {backend_replicas:?} {proxies:?} {backends:?}");
        assert_eq!(workload_warning(&spec, count, is_unshared), expected, "{case}");
    }
    assert_eq!(unshared_replicas(Sse, Some(Memory), [1, 3]), Some(3));
    assert_eq!(unshared_replicas(Sse, Some(Memory), [1, 1]), None);
    assert_eq!(unshared_replicas(Sse, Some(Redis), [1, 3]), None);
    assert_eq!(unshared_replicas(Sse, None, [1, 3]), None);
    assert_eq!(unshared_replicas(Sse, Some(Memory), []), None);
    assert_eq!(unshared_replicas(Stdio, Some(Memory), [1, 3]), None, "one of them has all sessions");
}

#[test]
fn ends_our_own_warning_after_its_window() {
    let warning = ConditionReason::WorkloadReplicasAboveStdioCap;
    let (warned, fit) = (warning.condition(), ConditionReason::WorkloadReplicasFit.condition());
    let as_present = |condition: Condition, is_of_this_spec| {
        Some(PresentCondition { status: Some(condition.status), reason: Some(condition.reason), is_of_this_spec })
    };
    let by_another = Some(PresentCondition { status: None, reason: None, is_of_this_spec: true });
    for (cause, present, is_in_window, expected) in [
        (Some(warning), None, false, Some(warned)),
        (Some(warning), as_present(fit, true), false, Some(warned)),
        (None, None, false, None),
        (None, as_present(fit, true), false, None),
        (None, as_present(warned, true), true, None),
        (None, as_present(warned, false), true, Some(fit)),
        (None, as_present(warned, true), false, Some(fit)),
        (None, by_another, false, Some(fit)),
    ] {
        assert_eq!(own_condition(cause, present, is_in_window), expected, "{cause:?} {present:?} {is_in_window}");
    }
}

#[test]
fn finds_the_controller_of_an_object() {
    let controller = |json: &str| {
        let references = serde_json::from_str(json).expect("is read");
        owner::controller(&references).map(|found| found.map(|found| found.name.into_owned()))
    };
    let github =
        r#"{"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPServer", "name": "github", "controller": true}"#;
    assert_eq!(controller("null"), Ok(None));
    assert_eq!(controller("[]"), Ok(None));
    assert_eq!(controller(r#"[{"kind": "x", "name": "y"}, {"controller": false}]"#), Ok(None));
    assert_eq!(controller(&format!("[7, {{}}, {github}]")), Ok(Some("github".to_owned())));
    assert_eq!(controller(r#"[{"controller": true, "kind": "x"}]"#), Err(Malformed));
    assert_eq!(controller("7"), Err(Malformed));
}

#[test]
fn corrects_no_pod_template_for_which_nothing_restarts_otherwise() {
    use TemplateChange::{New, Other, Undone, Unknown};
    use TemplateCorrection::{Correct, Keep};
    for (change, for_person, for_controller) in [
        (New, Correct, Correct),
        (Other, Correct, Correct),
        (Undone, Correct, Keep),
        (TemplateChange::None, TemplateCorrection::None, TemplateCorrection::None),
        (Unknown, TemplateCorrection::None, TemplateCorrection::None),
    ] {
        assert_eq!(pod_template::correction(change, true), for_person, "{change:?}");
        assert_eq!(pod_template::correction(change, false), for_controller, "{change:?}");
    }
}
