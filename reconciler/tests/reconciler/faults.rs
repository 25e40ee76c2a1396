//! Recovery from faults of the API server, of its watches, and of the reconciler itself.

use mcpserver_scaling_reconciler::decide::stabilization::WINDOW;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::fake_api_server::{Fault, ListType};
use crate::support::*;

/// The writes for this cluster without a fault: four statuses and four counts.
const WRITES: usize = 8;

#[tokio::test(start_paused = true)]
async fn writes_everything_once_without_a_fault() {
    for list_type in [ListType::Atomic, ListType::Map] {
        let server = cluster_with_problems(list_type);
        let _running = start(&server).await;
        sleep(A_WHILE).await;
        assert_reconciled(&server, "no fault");
        assert_eq!(server.take_writes().len(), WRITES);
        sleep(WINDOW * 3).await;
        assert_eq!(server.take_writes().len(), 1, "the warning of the capped stdio server is cleared");
        assert_eq!(
            status_and_reason(&server, "stdio", "WorkloadReplicasWarning"),
            pair("False", "WorkloadReplicasFit")
        );
        sleep(WINDOW * 3).await;
        assert_eq!(lines(&server.take_writes()), [""; 0], "nothing is left to write");
    }
}

#[tokio::test(start_paused = true)]
async fn recovers_from_each_fault_at_each_call() {
    let faults = [
        Fault::Code(409, None),
        Fault::Code(410, None),
        Fault::Code(429, Some(7)),
        Fault::Code(429, None),
        Fault::Code(500, None),
        Fault::Code(503, Some(2)),
        Fault::Hang,
        Fault::HangInBody,
        Fault::Reset,
        Fault::ResetAfterwards,
        Fault::Garbage,
    ];
    let calls = {
        let server = cluster_with_problems(ListType::Atomic);
        let _running = start(&server).await;
        sleep(A_WHILE).await;
        server.take_calls().len()
    };
    assert!(calls > 2 * WRITES);
    for fault in faults {
        for at in 0..calls {
            let server = cluster_with_problems(ListType::Atomic);
            let mut seen = 0;
            server.inject_faults(move |_| {
                seen += 1;
                (seen == at + 1).then_some(fault)
            });
            let _running = start(&server).await;
            sleep(10 * A_WHILE).await;
            let case = format!("{fault:?} at call {at}");
            assert_reconciled(&server, &case);
            let writes = server.take_writes().len();
            assert!(writes <= WRITES + 2, "{case}: {writes} writes");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn recovers_from_an_api_server_that_fails_every_fourth_call() {
    for seed in 0..20 {
        let server = cluster_with_problems(ListType::Map);
        let mut random = fastrand::Rng::with_seed(seed);
        server.inject_faults(move |_| match random.u32(0..28) {
            0 => Some(Fault::Code(409, None)),
            1 => Some(Fault::Code(429, Some(1))),
            2 => Some(Fault::Code(500, None)),
            3 => Some(Fault::Hang),
            4 => Some(Fault::Reset),
            5 => Some(Fault::ResetAfterwards),
            6 => Some(Fault::Garbage),
            _ => None,
        });
        let _running = start(&server).await;
        sleep(400 * A_WHILE).await;
        assert_reconciled(&server, &format!("seed {seed}"));
        server.take_calls();
        server.inject_faults(|_| None);
        sleep(10 * A_WHILE).await;
        assert_eq!(lines(&server.take_writes()), [""; 0], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn recovers_from_being_killed_at_any_call() {
    for moment in 0..40 {
        let server = cluster_with_problems(ListType::Atomic);
        let (kill, killed) = oneshot::channel();
        let mut kill = Some(kill);
        let mut seen = 0;
        server.inject_faults(move |_| {
            seen += 1;
            if seen == moment {
                kill.take().map(|kill| kill.send(()));
                return Some(Fault::ResetAfterwards);
            }
            None
        });
        let running = start(&server).await;
        tokio::select! {
            _ = killed => {}
            () = sleep(A_WHILE) => {}
        }
        drop(running);
        let _restarted = start(&server).await;
        sleep(10 * A_WHILE).await;
        assert_reconciled(&server, &format!("killed at call {moment}"));
        assert!(server.take_writes().len() <= WRITES + 1, "killed at call {moment}");
    }
}

#[tokio::test(start_paused = true)]
async fn handles_expired_watches_and_duplicate_or_unordered_events() {
    let server = cluster_with_problems(ListType::Map);
    server.shuffle_events();
    let _running = start(&server).await;
    sleep(A_WHILE).await;
    assert_reconciled(&server, "disorder");
    server.take_calls();
    for round in 0..10 {
        server.compact();
        server.change("deployments", "stdio", |object| object["spec"]["replicas"] = 2.into());
        server.change("mcpservers", "shared", |object| object["spec"]["replicas"] = (2 + round % 2).into());
        server.change("mcpservers", "shared", |object| object["spec"]["replicas"] = 2.into());
        sleep(WINDOW * 3).await;
        assert_reconciled(&server, &format!("round {round}"));
        // One count, the warning set and cleared, and the generation of the server whose spec changed.
        let writes = lines(&server.take_writes());
        assert!(writes.len() <= 5, "{writes:?}");
    }
}
