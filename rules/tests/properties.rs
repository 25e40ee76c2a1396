//! What must hold for every input. On the host only: proptest wants a clock and files.
#![cfg(not(target_arch = "wasm32"))]

use mcp_scaling_rules::grace_period::raised_to_floor;
use mcp_scaling_rules::{Transport, admitted, resolve};
use proptest::option;
use proptest::prelude::*;

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Stdio), Just(Transport::Sse), Just(Transport::StreamableHttp)]
}

/// Counts around the edges more often than not.
fn count() -> impl Strategy<Value = u32> {
    prop_oneof![0..=3u32, 0..=i32::MAX as u32]
}

proptest! {
    #[test]
    fn resolve_is_idempotent(transport in transport(), declared in option::of(count())) {
        let once = resolve(transport, declared);
        prop_assert_eq!(resolve(transport, once), once);
    }

    #[test]
    fn resolve_never_raises_and_keeps_zero_and_none(transport in transport(), declared in option::of(count())) {
        let resolved = resolve(transport, declared);
        prop_assert_eq!(resolved.is_none(), declared.is_none());
        prop_assert!(resolved <= declared);
        prop_assert_eq!(resolved == Some(0), declared == Some(0));
    }

    #[test]
    fn admitted_is_idempotent(
        transport in transport(), asked in count(), declared in option::of(count()), preserved in option::of(count())
    ) {
        let once = admitted(transport, asked, declared, preserved);
        prop_assert_eq!(admitted(transport, once, declared, preserved), once);
        prop_assert_eq!(admitted(transport, once, declared, None), once);
    }

    #[test]
    fn admitted_raises_only_to_a_declared_or_preserved_count(
        transport in transport(), asked in count(), declared in option::of(count()), preserved in option::of(count())
    ) {
        let count = admitted(transport, asked, declared, preserved);
        prop_assert!(count <= asked || Some(count) == declared.or(preserved) || count == 1);
        prop_assert!(count <= declared.or(preserved).unwrap_or(asked));
    }

    #[test]
    fn stdio_is_never_above_one(
        asked in count(), declared in option::of(count()), preserved in option::of(count())
    ) {
        prop_assert!(admitted(Transport::Stdio, asked, declared, preserved) <= 1);
    }

    #[test]
    fn a_request_for_zero_that_nothing_overrules_gets_zero(transport in transport()) {
        prop_assert_eq!(admitted(transport, 0, None, None), 0);
    }

    #[test]
    fn the_grace_period_ends_at_or_above_the_floor_and_never_falls(asked in option::of(any::<i64>()), floor in 0i64..) {
        let set = raised_to_floor(asked, floor);
        let result = set.or(asked);
        if floor > 0 {
            prop_assert!(result >= Some(floor));
        }
        prop_assert!(result >= asked);
        prop_assert_eq!(raised_to_floor(result, floor), None);
    }
}
