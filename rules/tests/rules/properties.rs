//! What must hold for every input.

use mcp_scaling_rules::grace_period::{DEFAULT_GRACE_PERIOD, raised_to_floor};
use mcp_scaling_rules::{Transport, replicas, resolve};
use proptest::option;
use proptest::prelude::*;

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Stdio), Just(Transport::Sse), Just(Transport::StreamableHttp)]
}

/// Counts around the edges more often than not.
fn count() -> impl Strategy<Value = u32> {
    prop_oneof![0..=3u32, 0..=i32::MAX as u32]
}

/// The count that a workload gets.
fn admitted(transport: Transport, requested: u32, declared: Option<u32>, preserved: Option<u32>) -> u32 {
    let replicas = replicas::decide(transport, requested, declared, preserved);
    assert_eq!(replicas.rule.is_some(), replicas.count != requested, "a rule is named for each change");
    replicas.count
}

proptest! {
    #[test]
    fn resolves_to_the_same_when_repeated(transport in transport(), declared in option::of(count())) {
        let once = resolve(transport, declared);
        prop_assert_eq!(resolve(transport, once), once);
    }

    #[test]
    fn resolves_to_no_more_than_declared_and_keeps_zero_and_none(transport in transport(), declared in option::of(count())) {
        let resolved = resolve(transport, declared);
        prop_assert_eq!(resolved.is_none(), declared.is_none());
        prop_assert!(resolved <= declared);
        prop_assert_eq!(resolved == Some(0), declared == Some(0));
    }

    #[test]
    fn admits_the_same_when_repeated(
        transport in transport(), requested in count(), declared in option::of(count()), preserved in option::of(count())
    ) {
        let once = admitted(transport, requested, declared, preserved);
        prop_assert_eq!(admitted(transport, once, declared, preserved), once);
        prop_assert_eq!(admitted(transport, once, declared, None), once);
    }

    #[test]
    fn raises_only_to_a_declared_or_preserved_count(
        transport in transport(), requested in count(), declared in option::of(count()), preserved in option::of(count())
    ) {
        let count = admitted(transport, requested, declared, preserved);
        prop_assert!(count <= requested || Some(count) == declared.or(preserved) || count == 1);
        prop_assert!(count <= declared.or(preserved).unwrap_or(requested));
    }

    #[test]
    fn never_admits_stdio_above_one(
        requested in count(), declared in option::of(count()), preserved in option::of(count())
    ) {
        prop_assert!(admitted(Transport::Stdio, requested, declared, preserved) <= 1);
    }

    #[test]
    fn admits_a_request_for_zero_that_nothing_overrides(transport in transport()) {
        prop_assert_eq!(admitted(transport, 0, None, None), 0);
    }

    #[test]
    fn raises_the_grace_period_to_the_floor_and_never_lowers_it(requested in option::of(any::<i64>()), floor in 0i64..) {
        let set = raised_to_floor(requested, floor);
        let result = set.or(requested);
        if floor > 0 {
            prop_assert!(result >= Some(floor));
            prop_assert!(requested.is_some() || result >= Some(DEFAULT_GRACE_PERIOD.into()));
        }
        prop_assert!(result >= requested);
        prop_assert_eq!(raised_to_floor(result, floor), None);
    }
}
