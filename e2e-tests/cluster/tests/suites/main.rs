//! The suites: the policy and the reconciler as their users see them, in one test cluster that the first test starts.
//!
//! `cargo test -p cluster-tests` runs all tests, `cargo test -p cluster-tests -- scale` those with `scale` in their
//! name. [`cluster_tests::inputs`] lists the environment variables that tell what is tested.

#![forbid(unsafe_code)]

mod assertions;
mod harness;

mod control_plane;
mod load;
mod manifests;
mod permissions;
mod policy;
mod reconciler;
mod releases;

use std::process::ExitCode;

use harness::Test;

fn main() -> ExitCode {
    harness::run(suites())
}

/// Every test, in the order in which they run. The suite of permissions comes last: it reads in the audit log which
/// permissions the other tests used.
fn suites() -> Vec<Test> {
    [
        control_plane::tests(),
        policy::tests(),
        reconciler::tests(),
        releases::tests(),
        load::tests(),
        manifests::tests(),
        permissions::tests(),
    ]
    .concat()
}
