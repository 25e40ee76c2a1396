//! The explorations. `cargo test -p exploration -- --nocapture` shows the number of states of each, and for each seeded fault
//! the shortest way to it.

use std::time::Instant;

use exploration::model::{Era, Model, Scenario, Scope};
use exploration::mutant::Mutant;
use exploration::search::{Counterexample, explore};
use mcp_scaling_rules::SessionStorage;

/// Policy and reconciler beside a current operator; people do one thing at any time.
const BOTH: Scenario = Scenario {
    era: Era::Declares,
    policy: true,
    reconcilers: 1,
    couple_zero: false,
    stale_operator: true,
    autoscaler: None,
    default_storage: SessionStorage::Memory,
    people: 1,
    faults: 0,
    scope: Scope::Deployment,
    counts: &[0, 1, 3],
    mutant: None,
};
/// The policy alone. There are fewer states, so that people may do two things.
const POLICY: Scenario = Scenario { reconcilers: 0, people: 2, ..BOTH };
/// The reconciler alone.
const RECONCILER: Scenario = Scenario { policy: false, ..BOTH };
/// The reconciler couples the backend to its proxies.
const COUPLED: Scenario = Scenario { couple_zero: true, scope: Scope::StatefulSetAndProxies, ..BOTH };
/// Nobody does anything but the programs.
const QUIET: Scenario = Scenario { people: 0, counts: &[0, 1, 2], ..BOTH };

/// The most writes of the reconciler while nothing changes and no time passes: three to each of two counts and the conditions.
const WRITES_WITHOUT_DELAY: usize = 9;

const WORKLOADS: [Scope; 2] = [Scope::Deployment, Scope::StatefulSet];

/// A scenario beside the operators of an era.
fn of(era: Era, scenario: Scenario) -> Scenario {
    Scenario { era, stale_operator: era != Era::Resets, ..scenario }
}

fn try_explore(scenario: Scenario) -> Result<(), Box<Counterexample>> {
    let start = Instant::now();
    let explored = explore(&mut Model::new(scenario))?;
    eprintln!("{scenario:?}\n  {explored:?} in {:.1?}", start.elapsed());
    assert!(explored.most_writes <= WRITES_WITHOUT_DELAY, "{explored:?}");
    assert!(scenario.policy && scenario.reconcilers == 0 || explored.most_writes > 0, "the reconciler writes at all");
    Ok(())
}

#[track_caller]
fn assert_keeps_the_invariants(scenario: Scenario) {
    if let Err(counterexample) = try_explore(scenario) {
        panic!("{scenario:?}\n{}", counterexample.trace);
    }
}

/// Explores a scenario beside the operators of all eras, with each of the workloads in turn.
#[track_caller]
fn assert_keeps_the_invariants_in_every_era(scenario: Scenario) {
    for era in [Era::Resets, Era::CapsStdio, Era::Declares] {
        for scope in WORKLOADS {
            assert_keeps_the_invariants(Scenario { scope, ..of(era, scenario) });
        }
    }
}

#[test]
fn keeps_the_invariants_with_policy_and_reconciler() {
    assert_keeps_the_invariants_in_every_era(BOTH);
}

#[test]
fn keeps_the_invariants_with_the_policy_alone() {
    assert_keeps_the_invariants_in_every_era(POLICY);
}

#[test]
fn keeps_the_invariants_with_the_reconciler_alone() {
    assert_keeps_the_invariants_in_every_era(RECONCILER);
}

#[test]
fn keeps_the_invariants_after_crashes_lost_answers_and_failed_lookups() {
    assert_keeps_the_invariants_in_every_era(Scenario { people: 0, faults: 1, ..BOTH });
    assert_keeps_the_invariants_in_every_era(Scenario { people: 1, faults: 1, ..POLICY });
}

#[test]
fn keeps_the_invariants_with_the_backend_coupled_to_its_proxies() {
    for policy in [true, false] {
        assert_keeps_the_invariants(of(Era::CapsStdio, Scenario { policy, ..COUPLED }));
        assert_keeps_the_invariants(Scenario { policy, people: 0, faults: 1, ..COUPLED });
        assert_keeps_the_invariants(of(Era::Resets, Scenario { policy, people: 0, ..COUPLED }));
    }
    // With one count there are fewer states. The reconciler scales backends to 0 all the same.
    assert_keeps_the_invariants(Scenario { counts: &[3], ..COUPLED });
    assert_keeps_the_invariants(Scenario { autoscaler: Some(3), people: 0, ..COUPLED });
}

/// Leader election lets one reconciler run, but for moments: a process that was held up may not know that it no longer leads.
#[test]
fn keeps_the_invariants_with_two_reconcilers() {
    assert_keeps_the_invariants_in_every_era(Scenario { reconcilers: 2, people: 0, counts: &[1, 3], ..BOTH });
}

#[test]
fn keeps_the_invariants_where_redis_is_the_default() {
    let default_storage = SessionStorage::Redis;
    assert_keeps_the_invariants_in_every_era(Scenario { default_storage, ..QUIET });
}

#[test]
fn writes_seldom_beside_an_autoscaler_that_insists() {
    assert_keeps_the_invariants_in_every_era(Scenario { autoscaler: Some(3), people: 0, ..BOTH });
    assert_keeps_the_invariants_in_every_era(Scenario {
        autoscaler: Some(3),
        people: 0,
        counts: &[0, 3],
        ..RECONCILER
    });
}

/// Such an operator may act on a server that it has not yet seen as it is now. The policy sees the server as it is, and takes
/// the operator's next write for the one that rolls the change out. The events of one second would have to arrive in the wrong
/// order for that; nothing in the write tells the policy.
#[test]
fn finds_the_change_that_an_operator_before_v0_10_1_misses_with_an_old_cache() {
    let scenario = Scenario { stale_operator: true, ..of(Era::Resets, POLICY) };
    let counterexample = try_explore(scenario).expect_err("it is known");
    assert!(counterexample.fault.contains("is to be rolled out"), "{}", counterexample.trace);
}

/// The operator writes a declared count that was removed a moment before and that somebody has changed since, and just then the
/// policy cannot read the `MCPServer`. A declared count that is applied looks the same.
#[test]
fn finds_the_count_that_an_old_cache_and_a_failed_lookup_set_back() {
    let counterexample = try_explore(Scenario { faults: 1, counts: &[0, 1], ..POLICY }).expect_err("it is known");
    assert!(counterexample.fault.contains("its owner chose"), "{}", counterexample.trace);
}

#[test]
#[ignore = "takes minutes and gigabytes; `make exploration` runs it"]
fn keeps_the_invariants_within_a_larger_bound() {
    let counts = &[0, 1, 2, 3];
    for era in [Era::Resets, Era::CapsStdio] {
        for scope in WORKLOADS {
            assert_keeps_the_invariants(Scenario { scope, people: 2, ..of(era, BOTH) });
            assert_keeps_the_invariants(Scenario { scope, people: 1, faults: 1, ..of(era, BOTH) });
            assert_keeps_the_invariants(Scenario { scope, people: 2, faults: 1, counts, ..of(era, POLICY) });
        }
        assert_keeps_the_invariants(Scenario { scope: Scope::Both, counts, ..of(era, BOTH) });
    }
    for scope in WORKLOADS {
        assert_keeps_the_invariants(Scenario { scope, counts, ..BOTH });
        assert_keeps_the_invariants(Scenario { scope, people: 2, counts: &[1, 3], ..BOTH });
        assert_keeps_the_invariants(Scenario { scope, people: 1, faults: 1, counts: &[0, 1, 3], ..BOTH });
        // With an old cache as well, see `finds_the_count_that_an_old_cache_and_a_failed_lookup_set_back`.
        assert_keeps_the_invariants(Scenario { scope, people: 2, counts, faults: 1, stale_operator: false, ..POLICY });
        let default_storage = SessionStorage::Redis;
        assert_keeps_the_invariants(Scenario { scope, people: 1, default_storage, ..BOTH });
    }
    assert_keeps_the_invariants(Scenario { scope: Scope::Both, counts: &[1, 3], people: 1, ..BOTH });
    assert_keeps_the_invariants_in_every_era(Scenario { autoscaler: Some(3), people: 0, ..RECONCILER });
}

#[test]
#[ignore = "takes minutes and gigabytes; `make exploration` runs it"]
fn keeps_the_invariants_within_a_larger_bound_with_the_backend_coupled_to_its_proxies() {
    for policy in [true, false] {
        for era in [Era::Resets, Era::CapsStdio, Era::Declares] {
            assert_keeps_the_invariants(of(era, Scenario { policy, ..COUPLED }));
            assert_keeps_the_invariants(of(era, Scenario { policy, people: 0, faults: 1, ..COUPLED }));
        }
        assert_keeps_the_invariants(of(Era::CapsStdio, Scenario { policy, people: 2, ..COUPLED }));
        assert_keeps_the_invariants(of(Era::CapsStdio, Scenario { policy, people: 1, faults: 1, ..COUPLED }));
    }
    assert_keeps_the_invariants(of(Era::CapsStdio, Scenario { people: 3, counts: &[3], ..COUPLED }));
    assert_keeps_the_invariants(of(Era::CapsStdio, Scenario { people: 2, faults: 1, counts: &[3], ..COUPLED }));
    assert_keeps_the_invariants(Scenario { people: 1, faults: 1, counts: &[3], ..COUPLED });
    assert_keeps_the_invariants(Scenario { people: 2, counts: &[3], ..COUPLED });
    assert_keeps_the_invariants(of(Era::CapsStdio, Scenario { scope: Scope::Both, counts: &[0, 2], ..COUPLED }));
    assert_keeps_the_invariants(Scenario { scope: Scope::Both, counts: &[0, 2], people: 0, faults: 1, ..COUPLED });
    assert_keeps_the_invariants(of(Era::CapsStdio, Scenario { reconcilers: 2, people: 0, counts: &[1, 3], ..COUPLED }));
}

/// Where each seeded fault shows, and what is wrong then.
fn seeded_faults() -> Vec<(Mutant, Scenario, &'static str)> {
    use Mutant::*;
    let resets = of(Era::Resets, Scenario { people: 1, ..POLICY });
    let stdio_only = of(Era::CapsStdio, Scenario { people: 1, counts: &[0, 1, 2], ..POLICY });
    let caps_stdio = of(Era::CapsStdio, QUIET);
    let statefulset = Scenario { scope: Scope::StatefulSet, ..QUIET };
    // With an operator whose cache is up to date, so that there are fewer states.
    let two_changes = Scenario { people: 2, stale_operator: false, counts: &[1, 2], ..caps_stdio };
    let coupled = of(Era::CapsStdio, Scenario { counts: &[0, 1, 2], ..COUPLED });
    let declared = Scenario { people: 0, counts: &[0, 1, 2], ..COUPLED };
    vec![
        // Rules.
        (StdioSupportsTwo, Scenario { scope: Scope::StatefulSet, ..stdio_only }, "has 2 replicas; its owner chose 1"),
        (DeclaredCountsSwapped, QUIET, "are declared"),
        (DeclaredZeroIsNothing, statefulset, "has 1 replicas, and 0 are declared"),
        (TwoReplicasShareSessions, QUIET, "SessionStorageMissingForReplicas"),
        (RedisIsNotRead, QUIET, "WorkloadReplicasWarning should be None"),
        // Policy.
        (ScalesNotValidated, Scenario { scope: Scope::StatefulSet, ..stdio_only }, "has 2 replicas; its owner chose 1"),
        (
            StatefulSetsNotValidated,
            Scenario { scope: Scope::StatefulSet, ..stdio_only },
            "the StatefulSet has 1 replicas",
        ),
        (ResetsNotUndone, resets, "the Deployment has 1 replicas; its owner chose"),
        (EveryResetUndone, resets, "is to be rolled out"),
        (EveryResetLetThrough, resets, "the Deployment has 1 replicas; its owner chose"),
        (CountBeforeResetForgotten, resets, "the Deployment has 1 replicas; its owner chose"),
        (OperatorsPodIgnored, Scenario { people: 0, faults: 1, ..resets }, "of release 1 is to be rolled out"),
        (DeclaredCountsNotRead, Scenario { people: 1, ..POLICY }, "are declared"),
        (PeoplesScalingUndone, stdio_only, "its owner chose"),
        (CapsWhereLookupFails, Scenario { faults: 1, ..stdio_only }, "its owner chose 2"),
        (ZeroIsRaised, resets, "its owner chose 0"),
        // Reconciler.
        (
            ConditionsOfDefaultStorage,
            Scenario { default_storage: SessionStorage::Redis, ..QUIET },
            "SessionStorageMissingForReplicas",
        ),
        (BackendReplicasNotTold, statefulset, "should be Some(BackendReplicasAboveStdioCap) and is None"),
        (BackendReplicasInToolhivesCondition, statefulset, "StdioReplicaCapNotActive"),
        (ZeroIsCorrected, caps_stdio, "scaled to zero"),
        (StdioNotCorrected, Scenario { scope: Scope::StatefulSet, ..caps_stdio }, "of a stdio server has 2 replicas"),
        (DeclaredBackendsNotCorrected, statefulset, "are declared"),
        (UndeclaredCountsCorrected, caps_stdio, "its owner chose 2"),
        (
            CountBeforeResetNotRestored,
            of(Era::Resets, Scenario { faults: 1, counts: &[1, 2], ..BOTH }),
            "the Deployment has 1 replicas; its owner chose 2",
        ),
        (OldResetsUndone, Scenario { people: 2, counts: &[1, 2], ..caps_stdio }, "its owner chose 1"),
        (OldGenerationsAccepted, Scenario { people: 1, ..caps_stdio }, "generation: 2 } and is Some"),
        (WarningKeptForEver, Scenario { people: 1, ..caps_stdio }, "WorkloadReplicasWarning should be None"),
        (OwnConditionWithOthersOnly, Scenario { people: 1, ..caps_stdio }, "WorkloadReplicasWarning should be Some"),
        (NeverBacksOff, Scenario { autoscaler: Some(2), policy: false, ..QUIET }, "again and again without a delay"),
        (WritesScalesUnguarded, two_changes, "its owner chose"),
        (DoesNotReadTheSpecAgain, two_changes, "its owner chose 2"),
        // Reconciler that couples the backend to its proxies.
        (CountPreservedAfterScaling, Scenario { people: 0, faults: 1, ..coupled }, "gets 2 replicas back"),
        (CouplesCachedBackends, coupled, "that somebody else scaled to zero"),
        (CouplesByCachedProxies, coupled, "that still has proxies"),
        (OldAnnotationsAccepted, Scenario { people: 0, ..coupled }, "gets 2 replicas back"),
        (PreservedCountNotForgotten, Scenario { people: 0, ..coupled }, "is left beside proxies"),
        (EndingProxiesNotAwaited, coupled, "that still has proxies"),
        (StoppedProxiesNotAwaited, coupled, "that still has proxies"),
        (StartsWithoutAnnotation, Scenario { people: 0, ..coupled }, "that somebody else scaled to zero"),
        (DeclaredBackendsNotRestored, declared, "another count than the declared or preserved one"),
        (RestoresOne, Scenario { people: 0, ..coupled }, "another count than the declared or preserved one"),
        (CouplesUnguarded, coupled, "its owner"),
        (CouplesByAnOldSpec, Scenario { people: 1, ..declared }, "another count than the declared or preserved one"),
        // Reconciler that makes its calls in another order.
        (ReadsTheSpecBeforeTheScale, two_changes, "its owner chose 2"),
        (CountForgottenBeforeScaling, Scenario { people: 0, faults: 1, ..coupled }, "its owner chose"),
        (RefusedWritesRepeated, two_changes, "its owner chose"),
    ]
}

#[test]
fn finds_every_seeded_fault() {
    for (mutant, scenario, expected) in seeded_faults() {
        let scenario = Scenario { mutant: Some(mutant), ..scenario };
        match explore(&mut Model::new(scenario)) {
            Ok(explored) => panic!("{mutant:?} is not found: {scenario:?} {explored:?}"),
            Err(counterexample) => {
                assert!(
                    counterexample.fault.contains(expected),
                    "{mutant:?}, but not {expected}\n{}",
                    counterexample.trace
                );
                eprintln!("{mutant:?}:\n{}", counterexample.trace);
            }
        }
    }
}
