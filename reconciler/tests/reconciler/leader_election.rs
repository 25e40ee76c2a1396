//! Leader election: the calls for the Lease, and who leads. The tests of `candidate` explore every order of calls.

use std::time::Duration;

use mcpserver_scaling_reconciler::run::leader_election::LeaderElection;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::fake_api_server::{ApiServer, Fault, ListType};
use crate::support::{A_WHILE, SECOND, client, lines};

const LEASE: &str = "mcpserver-scaling-reconciler";

/// How long a candidate waits for a holder that does not renew the Lease. It looks every two seconds: the first and the last look
/// can each be so much late.
const TAKEOVER: Duration = Duration::from_secs(15 + 2 + 2);

/// How long a leader whose renewals fail goes on leading.
const DEADLINE: Duration = Duration::from_secs(10);

fn start(server: &ApiServer, identity: &str) -> LeaderElection {
    LeaderElection::start(&client(server), "default", identity)
}

async fn leads_within(candidate: &mut LeaderElection, limit: Duration) -> bool {
    timeout(limit, candidate.acquire()).await.is_ok_and(|acquired| acquired.is_ok())
}

async fn leads_now(candidate: &mut LeaderElection) -> bool {
    leads_within(candidate, Duration::from_millis(1)).await
}

fn holder(server: &ApiServer) -> Value {
    server.get("leases", LEASE).expect("exists")["spec"]["holderIdentity"].clone()
}

/// A Lease of another process, with this time of its last renewal.
fn lease_of_other(renewed: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE},
        "spec": {"holderIdentity": "other", "leaseDurationSeconds": 15, "leaseTransitions": 4, "renewTime": renewed}
    })
}

#[tokio::test(start_paused = true)]
async fn elects_one_of_the_candidates_that_see_a_free_lease() {
    for exists in [false, true] {
        let server = ApiServer::new(ListType::Map);
        if exists {
            server.create("leases", json!({"metadata": {"name": LEASE}, "spec": {"leaseTransitions": 2}}));
        }
        let mut candidates: Vec<LeaderElection> = ["a", "b", "c"].map(|identity| start(&server, identity)).into();
        sleep(A_WHILE).await;
        let mut leaders = 0;
        for candidate in &mut candidates {
            leaders += usize::from(leads_now(candidate).await);
        }
        assert_eq!(leaders, 1, "the Lease exists: {exists}");
        let reads = server.take_calls();
        let first_reads = reads.iter().take(3).filter(|call| call.method == "GET").count();
        assert_eq!(first_reads, 3, "all of them saw it free");
    }
}

#[tokio::test(start_paused = true)]
async fn reads_and_renews_the_lease_every_two_seconds() {
    let server = ApiServer::new(ListType::Map);
    let mut leader = start(&server, "a");
    assert!(leads_within(&mut leader, SECOND).await);
    let spec = server.get("leases", LEASE).expect("exists")["spec"].clone();
    assert_eq!((&spec["holderIdentity"], &spec["leaseDurationSeconds"]), (&json!("a"), &json!(15)));
    server.take_calls();
    sleep(SECOND * 20).await;
    let calls = server.take_calls();
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/default/leases/{LEASE}");
    assert_eq!(lines(&calls[..2]), [format!("GET {path}"), format!("PATCH {path}")]);
    assert!((18..=20).contains(&calls.len()), "{}", calls.len());
    assert!(!calls[1].body["metadata"]["resourceVersion"].is_null(), "the write is guarded");
}

#[tokio::test(start_paused = true)]
async fn takes_over_from_a_leader_that_is_gone_or_that_released_the_lease() {
    let server = ApiServer::new(ListType::Map);
    let mut first = start(&server, "first");
    assert!(leads_within(&mut first, SECOND).await);
    let mut second = start(&server, "second");
    sleep(A_WHILE).await;
    assert!(!leads_now(&mut second).await);
    first.release().await.expect("is released");
    assert!(leads_within(&mut second, SECOND * 3).await, "a released Lease is free");
    assert_eq!(holder(&server), "second");
    assert_eq!(server.get("leases", LEASE).expect("exists")["spec"]["leaseTransitions"], 1);

    server.change("leases", LEASE, |lease| lease["spec"]["holderIdentity"] = "gone".into());
    let mut third = start(&server, "third");
    let since = Instant::now();
    assert!(leads_within(&mut third, TAKEOVER * 2).await || leads_now(&mut second).await);
    assert!(since.elapsed() >= SECOND * 13, "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn ignores_the_clocks_of_other_processes() {
    // Its clock is a year behind, and it renews the Lease.
    let server = ApiServer::new(ListType::Map);
    server.create("leases", lease_of_other("2025-01-01T00:00:00.000000Z"));
    let mut candidate = start(&server, "a");
    for second in 0..60 {
        sleep(SECOND).await;
        server.change("leases", LEASE, |lease| {
            lease["spec"]["renewTime"] = format!("2025-01-01T00:00:{second:02}.000000Z").into();
        });
        assert!(!leads_now(&mut candidate).await);
    }
    assert!(leads_within(&mut candidate, TAKEOVER).await, "it ended");

    // Its clock is a century ahead, and it has ended.
    let server = ApiServer::new(ListType::Map);
    server.create("leases", lease_of_other("2126-01-01T00:00:00.000000Z"));
    let mut candidate = start(&server, "a");
    assert!(leads_within(&mut candidate, TAKEOVER).await);
}

#[tokio::test(start_paused = true)]
async fn stops_leading_while_renewals_fail_and_leads_again_afterwards() {
    for fault in [Fault::Code(500, None), Fault::Code(403, None), Fault::Code(409, None), Fault::Hang, Fault::Reset] {
        let server = ApiServer::new(ListType::Map);
        let mut leader = start(&server, "a");
        assert!(leads_within(&mut leader, SECOND).await);
        server.inject_faults(move |call| call.path.contains("/leases").then_some(fault));
        let since = Instant::now();
        timeout(DEADLINE + SECOND / 10, leader.lost())
            .await
            .unwrap_or_else(|_| panic!("{fault:?}: it goes on leading"));
        assert!(since.elapsed() > DEADLINE / 2, "{fault:?}: {:?}", since.elapsed());
        sleep(A_WHILE).await;
        assert!(!leads_now(&mut leader).await, "{fault:?}");
        server.inject_faults(|_| None);
        assert!(leads_within(&mut leader, SECOND * 10).await, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn goes_on_leading_through_a_short_failure() {
    let server = ApiServer::new(ListType::Map);
    let mut leader = start(&server, "a");
    assert!(leads_within(&mut leader, SECOND).await);
    let lost = leader.lost();
    server.inject_faults(|call| call.path.contains("/leases").then_some(Fault::Code(503, None)));
    sleep(SECOND * 5).await;
    server.inject_faults(|_| None);
    assert!(timeout(A_WHILE, lost).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn stops_leading_at_once_when_another_process_holds_the_lease() {
    let server = ApiServer::new(ListType::Map);
    let mut leader = start(&server, "a");
    assert!(leads_within(&mut leader, SECOND).await);
    server.change("leases", LEASE, |lease| lease["spec"]["holderIdentity"] = "other".into());
    timeout(SECOND * 3, leader.lost()).await.expect("it sees the other holder");
    assert!(leads_within(&mut leader, TAKEOVER).await, "the other one never renewed it");
}

#[tokio::test(start_paused = true)]
async fn makes_a_deleted_lease_again() {
    let server = ApiServer::new(ListType::Map);
    let mut leader = start(&server, "a");
    assert!(leads_within(&mut leader, SECOND).await);
    let lost = leader.lost();
    server.delete("leases", LEASE);
    assert!(timeout(A_WHILE, lost).await.is_err(), "it leads without a break");
    assert_eq!(holder(&server), "a");
}
