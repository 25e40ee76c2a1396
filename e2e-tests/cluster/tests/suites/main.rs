//! The suites: the policy and the reconciler as their users see them, in one test cluster that the first test starts.
//!
//! `cargo test -p cluster-tests` runs all tests, `cargo test -p cluster-tests -- scale` those with `scale` in their
//! name. [`cluster_tests::inputs`] lists the environment variables that tell what is tested.

#![forbid(unsafe_code)]

mod assertions;
mod chart;
mod harness;

mod control_plane;
mod exploration;
mod faults;
mod kubewarden;
mod load;
mod manifests;
mod permissions;
mod policy;
mod reconciler;
mod releases;
mod toolhive;
mod toolhive_paths;
mod toolhive_releases;

use std::process::ExitCode;

use anyhow::Result;
use harness::Test;

fn main() -> ExitCode {
    match suites() {
        Ok(tests) => harness::run(tests),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Every test, in the order in which they run. The suite of permissions comes last: it reads in the audit log which
/// permissions the other tests used.
fn suites() -> Result<Vec<Test>> {
    let tests = [
        control_plane::tests(),
        toolhive::tests()?,
        policy::tests(),
        reconciler::tests(),
        releases::tests(),
        exploration::tests(),
        kubewarden::tests(),
        load::tests(),
        faults::tests(),
        manifests::tests(),
        permissions::tests(),
    ];
    Ok(tests.concat())
}
