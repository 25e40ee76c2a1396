//! The decision tables, row by row. They run on the host and, with wasm-bindgen-test under Node, on wasm32.

use mcp_scaling_rules::applied_generation::{self, TemplateDecision};
use mcp_scaling_rules::field::replica_count;
use mcp_scaling_rules::grace_period::raised_to_floor;
use mcp_scaling_rules::kind::{API_VERSIONS, GROUP};
use mcp_scaling_rules::owner::{OwnerLabels, OwnerReference};
use mcp_scaling_rules::{
    ConditionReason, ConditionStatus, ConditionType, Field, InvalidField, Owner, RawSpec, RolledOut, Scaling,
    ServerKind, SessionStorage, Transport, Workload, accounts, admitted, exceeds_stdio_cap, resolve, sessions_at_risk,
    spec_conditions,
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
fn admits_the_declared_count_before_the_preserved_and_the_requested_one() {
    assert_eq!(admitted(Sse, 1, Some(3), Some(5)), 3);
    assert_eq!(admitted(Sse, 1, None, Some(5)), 5);
    assert_eq!(admitted(Sse, 1, None, None), 1);
    assert_eq!(admitted(Sse, 4, Some(0), None), 0, "a declared zero counts");
    assert_eq!(admitted(Sse, 4, None, Some(0)), 0, "a preserved zero counts");
}

#[test]
fn caps_stdio_wherever_the_count_comes_from() {
    assert_eq!(admitted(Stdio, 3, None, None), 1);
    assert_eq!(admitted(Stdio, 1, Some(3), None), 1);
    assert_eq!(admitted(Stdio, 1, None, Some(5)), 1);
    assert_eq!(admitted(Stdio, 0, None, None), 0);
}

#[test]
fn raises_a_grace_period_to_the_floor() {
    assert_eq!(raised_to_floor(None, 30), Some(30), "absent");
    assert_eq!(raised_to_floor(Some(0), 30), Some(30), "zero is short");
    assert_eq!(raised_to_floor(Some(-1), 30), Some(30), "negative is shorter");
    assert_eq!(raised_to_floor(Some(29), 30), Some(30));
    assert_eq!(raised_to_floor(Some(30), 30), None);
    assert_eq!(raised_to_floor(Some(31), 30), None, "longer is kept");
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
            ("LiveReplicasWarning", "True", "BackendReplicasAboveStdioCap"),
            ("LiveReplicasWarning", "True", "LiveReplicasAboveStdioCap"),
            ("LiveReplicasWarning", "True", "LiveReplicasWithoutSessionStorage"),
            ("LiveReplicasWarning", "False", "LiveReplicasFit"),
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
        assert_eq!(ServerKind::from_name(GROUP, kind.name()), Some(kind));
        assert_eq!(ServerKind::from_app_name(kind.app_name()), Some(kind));
        assert_eq!(ServerKind::from_name("example.com", kind.name()), None);
    }
    assert_eq!(ServerKind::from_name(GROUP, "MCPGroup"), None);
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

#[test]
fn reads_what_a_spec_says() {
    let absent = Scaling::read(ServerKind::McpServer, RawSpec::default());
    assert_eq!(absent, Ok(scaling(Stdio, None, None)));
    let absent = Scaling::read(ServerKind::VirtualMcpServer, RawSpec::default());
    assert_eq!(absent, Ok(scaling(StreamableHttp, None, None)));
    let raw = RawSpec {
        transport: Field::Value("sse".into()),
        replicas: Field::Value(3),
        backend_replicas: Field::Value(0),
        session_storage_provider: Field::Value("redis".into()),
    };
    let expected = Scaling { backend_replicas: Some(0), ..scaling(Sse, Some(3), Some(Redis)) };
    assert_eq!(Scaling::read(ServerKind::McpServer, raw), Ok(expected));
    assert_eq!(expected.session_storage_or(Memory), Redis);
    assert_eq!(scaling(Sse, None, None).session_storage_or(Redis), Redis);
}

#[test]
fn names_the_field_of_a_spec_that_is_wrong() {
    let read = |raw| Scaling::read(ServerKind::McpServer, raw);
    for transport in [Field::Malformed, Field::Value("STDIO".into())] {
        assert_eq!(read(RawSpec { transport, ..RawSpec::default() }), Err(InvalidField("spec.transport")));
    }
    for count in [Field::Malformed, Field::Value(-1), Field::Value(3_000_000_000)] {
        let raw = RawSpec { replicas: count.clone(), ..RawSpec::default() };
        assert_eq!(read(raw), Err(InvalidField("spec.replicas")));
        let raw = RawSpec { backend_replicas: count, ..RawSpec::default() };
        assert_eq!(read(raw), Err(InvalidField("spec.backendReplicas")));
    }
    for session_storage_provider in [Field::Malformed, Field::Value("valkey".into())] {
        let raw = RawSpec { session_storage_provider, ..RawSpec::default() };
        assert_eq!(read(raw), Err(InvalidField("spec.sessionStorage.provider")));
    }
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
    let owner = |controller, labels| {
        let owner = Owner::of_workload(controller, labels)?;
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
    let owner = |selector| Owner::of_deployment_selector(selector).map(|owner| (owner.kind.name(), owner.name));
    let ours =
        "app=mcpserver,app.kubernetes.io/instance=x,app.kubernetes.io/name=mcpserver,toolhive=true,toolhive-name=x";
    assert_eq!(owner(ours), Some(("MCPServer", "x".into())));
    let virtual_server = "app.kubernetes.io/name=virtualmcpserver,toolhive=true,toolhive-name=y";
    assert_eq!(owner(virtual_server), Some(("VirtualMCPServer", "y".into())));
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
    assert!(accounts::is_kubernetes_controller("system:serviceaccount:kube-system:horizontal-pod-autoscaler"));
    assert!(accounts::is_kubernetes_controller("system:kube-controller-manager"));
    assert!(!accounts::is_kubernetes_controller(accounts::OPERATOR));
    assert!(!accounts::is_kubernetes_controller("kubernetes-admin"));
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
        let scaling = Scaling { transport: Sse, replicas, backend_replicas, session_storage: None };
        assert_eq!(scaling.stopped_alone(), expected, "{replicas:?} and {backend_replicas:?}");
    }
}
