//! The key of what is kept of each server.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// The key of a server: a hash of its namespace and name. It has 8 bytes where the texts take 70, and there are several for each server of
/// a cluster. Of 100,000 servers, two share a hash with a probability of one in three billion. Nobody can choose names that do,
/// because each process hashes in a way of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServerKey(u64);

impl ServerKey {
    /// The key of the server with this namespace and name.
    pub(crate) fn of(namespace: &str, name: &str) -> Self {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(HASHER.hash_one((namespace, name)))
    }
}

#[cfg(test)]
mod tests {
    use super::ServerKey;

    #[test]
    fn tells_servers_apart() {
        let key = ServerKey::of("default", "github");
        assert_eq!(key, ServerKey::of("default", "github"));
        for (namespace, name) in
            [("default", "slack"), ("other", "github"), ("defaultg", "ithub"), ("github", "default")]
        {
            assert_ne!(key, ServerKey::of(namespace, name));
        }
    }
}
