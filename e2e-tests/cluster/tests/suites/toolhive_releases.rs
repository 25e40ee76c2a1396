//! The releases of ToolHive from which on something holds, and the namespaces of a release in the test cluster.

use anyhow::Result;
use cluster_tests::{TestCluster, ToolHiveRelease};

/// Major, minor and patch version.
pub(crate) type Version = (u32, u32, u32);

/// The first release whose operator leaves the count of transports other than stdio alone.
pub(crate) const FIRST_WITHOUT_RESETS: Version = (0, 10, 1);
/// The first release with `spec.replicas` and `spec.backendReplicas`.
pub(crate) const FIRST_WITH_COUNTS: Version = (0, 13, 0);
/// The first release whose proxy runner writes the same pod template at each start; the ones before order the environment
/// variables of the container at random.
pub(crate) const FIRST_WITH_STABLE_TEMPLATES: Version = (0, 27, 0);
/// The first release whose operator adopts StatefulSets.
pub(crate) const FIRST_WITH_ADOPTION: Version = (0, 45, 0);

/// Reads a tag such as `v0.44.0`.
pub(crate) fn parse_version(tag: &str) -> Option<Version> {
    let mut numbers = tag.strip_prefix('v')?.splitn(3, '.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// Creates a namespace of this release's own.
pub(crate) async fn create_namespace(cluster: &TestCluster, release: &ToolHiveRelease, name: &str) -> Result<String> {
    cluster.create_namespace(&format!("{name}-{}", release.tag().replace('.', "-"))).await
}
