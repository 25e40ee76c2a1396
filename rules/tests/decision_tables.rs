//! The decision tables, row by row. They run on the host and, with wasm-bindgen-test under Node, on wasm32.

use mcp_scaling_rules::conditions::{SESSION_STORAGE_WARNING, STDIO_REPLICA_CAPPED, reasons};
use mcp_scaling_rules::grace_period::raised_to_floor;
use mcp_scaling_rules::server::{API_VERSIONS, GROUP, KINDS, MCP_SERVER};
use mcp_scaling_rules::{
    Scaling, ServerKind, SessionStorage, Transport, admitted, conditions, exceeds_stdio_cap, resolve, sessions_at_risk,
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use SessionStorage::{Memory, Redis};
use Transport::{Sse, Stdio, StreamableHttp};

#[test]
fn nothing_declared_stays_nothing() {
    for transport in [Stdio, Sse, StreamableHttp] {
        assert_eq!(resolve(transport, None), None);
    }
}

#[test]
fn stdio_resolves_to_at_most_one() {
    assert_eq!(resolve(Stdio, Some(0)), Some(0), "scale to zero works for stdio too");
    assert_eq!(resolve(Stdio, Some(1)), Some(1));
    assert_eq!(resolve(Stdio, Some(2)), Some(1));
    assert_eq!(resolve(Stdio, Some(i32::MAX as u32)), Some(1));
}

#[test]
fn other_transports_resolve_to_what_is_declared() {
    for transport in [Sse, StreamableHttp] {
        for count in [0, 1, 2, i32::MAX as u32] {
            assert_eq!(resolve(transport, Some(count)), Some(count));
        }
    }
}

#[test]
fn only_stdio_above_one_is_capped() {
    assert!(exceeds_stdio_cap(Stdio, 2));
    assert!(!exceeds_stdio_cap(Stdio, 1));
    assert!(!exceeds_stdio_cap(Stdio, 0));
    assert!(!exceeds_stdio_cap(Sse, 2));
    assert!(!exceeds_stdio_cap(StreamableHttp, 2));
}

#[test]
fn sessions_are_at_risk_above_one_replica_without_redis() {
    assert!(sessions_at_risk(Memory, 2));
    assert!(!sessions_at_risk(Memory, 1));
    assert!(!sessions_at_risk(Memory, 0));
    assert!(!sessions_at_risk(Redis, 2));
}

#[test]
fn a_declared_count_wins_over_a_preserved_one_and_over_the_asked_one() {
    assert_eq!(admitted(Sse, 1, Some(3), Some(5)), 3);
    assert_eq!(admitted(Sse, 1, None, Some(5)), 5);
    assert_eq!(admitted(Sse, 1, None, None), 1);
    assert_eq!(admitted(Sse, 4, Some(0), None), 0, "a declared zero counts");
    assert_eq!(admitted(Sse, 4, None, Some(0)), 0, "a preserved zero counts");
}

#[test]
fn whatever_wins_ends_at_the_stdio_cap() {
    assert_eq!(admitted(Stdio, 3, None, None), 1);
    assert_eq!(admitted(Stdio, 1, Some(3), None), 1);
    assert_eq!(admitted(Stdio, 1, None, Some(5)), 1);
    assert_eq!(admitted(Stdio, 0, None, None), 0);
}

#[test]
fn grace_period_floor() {
    assert_eq!(raised_to_floor(None, 30), Some(30), "absent");
    assert_eq!(raised_to_floor(Some(0), 30), Some(30), "zero is short");
    assert_eq!(raised_to_floor(Some(-1), 30), Some(30), "negative is shorter");
    assert_eq!(raised_to_floor(Some(29), 30), Some(30));
    assert_eq!(raised_to_floor(Some(30), 30), None);
    assert_eq!(raised_to_floor(Some(31), 30), None, "longer is kept");
}

#[test]
fn a_floor_of_zero_leaves_every_grace_period_alone() {
    for asked in [None, Some(-1), Some(0), Some(5)] {
        assert_eq!(raised_to_floor(asked, 0), None);
    }
}

fn server(transport: Transport, replicas: Option<u32>, session_storage: SessionStorage) -> Scaling {
    Scaling { transport, replicas, backend_replicas: None, session_storage }
}

/// (type, status, reason) of both conditions.
fn verdicts(server: &Scaling) -> [(&'static str, &'static str, &'static str); 2] {
    conditions(server).map(|condition| (condition.type_, condition.status, condition.reason))
}

const CAPPED: (&str, &str, &str) = (STDIO_REPLICA_CAPPED, "True", reasons::STDIO_TRANSPORT_CAP_AT_1);
const NOT_CAPPED: (&str, &str, &str) = (STDIO_REPLICA_CAPPED, "False", reasons::STDIO_REPLICA_CAP_NOT_ACTIVE);
const MISSING: (&str, &str, &str) = (SESSION_STORAGE_WARNING, "True", reasons::SESSION_STORAGE_MISSING_FOR_REPLICAS);
const CONFIGURED: (&str, &str, &str) = (SESSION_STORAGE_WARNING, "False", reasons::SESSION_STORAGE_CONFIGURED);
const NOT_APPLICABLE: (&str, &str, &str) =
    (SESSION_STORAGE_WARNING, "False", reasons::SESSION_STORAGE_WARNING_NOT_APPLICABLE);

#[test]
fn condition_table() {
    for storage in [Memory, Redis] {
        for transport in [Stdio, Sse, StreamableHttp] {
            for replicas in [None, Some(0), Some(1)] {
                assert_eq!(verdicts(&server(transport, replicas, storage)), [NOT_CAPPED, NOT_APPLICABLE]);
            }
        }
    }
    assert_eq!(verdicts(&server(Stdio, Some(3), Memory)), [CAPPED, MISSING], "both at once");
    assert_eq!(verdicts(&server(Stdio, Some(3), Redis)), [CAPPED, CONFIGURED]);
    assert_eq!(verdicts(&server(Sse, Some(2), Memory)), [NOT_CAPPED, MISSING]);
    assert_eq!(verdicts(&server(StreamableHttp, Some(2), Redis)), [NOT_CAPPED, CONFIGURED]);
}

#[test]
fn conditions_are_judged_from_spec_replicas_only() {
    let mut backend_only = server(Stdio, None, Memory);
    backend_only.backend_replicas = Some(5);
    assert_eq!(verdicts(&backend_only), [NOT_CAPPED, NOT_APPLICABLE]);
}

/// Dashboards and alerts are written against these words; they are part of the contract with ToolHive's operator.
#[test]
fn condition_vocabulary() {
    assert_eq!(
        [CAPPED, NOT_CAPPED, MISSING, CONFIGURED, NOT_APPLICABLE],
        [
            ("StdioReplicaCapped", "True", "StdioTransportCapAt1"),
            ("StdioReplicaCapped", "False", "StdioReplicaCapNotActive"),
            ("SessionStorageWarning", "True", "SessionStorageMissingForReplicas"),
            ("SessionStorageWarning", "False", "SessionStorageConfigured"),
            ("SessionStorageWarning", "False", "SessionStorageWarningNotApplicable"),
        ]
    );
}

#[test]
fn names_are_matched_to_the_letter() {
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
}

#[test]
fn kinds_are_found_by_group_and_name_or_by_label() {
    for kind in &KINDS {
        assert_eq!(ServerKind::from_name(GROUP, kind.name), Some(kind));
        assert_eq!(ServerKind::from_label(kind.label), Some(kind));
        assert_eq!(ServerKind::from_name("example.com", kind.name), None);
    }
    assert_eq!(MCP_SERVER.name, "MCPServer");
    assert_eq!(ServerKind::from_name(GROUP, "MCPGroup"), None);
    assert_eq!(ServerKind::from_label("nginx"), None);
}

#[test]
fn only_an_mcp_server_is_stdio_by_default() {
    for kind in &KINDS {
        assert_eq!(kind.default_transport == Stdio, kind.name == "MCPServer");
    }
}

#[test]
fn api_versions_are_of_the_group() {
    for version in API_VERSIONS {
        assert_eq!(version.split_once('/').map(|(group, _)| group), Some(GROUP));
    }
}
