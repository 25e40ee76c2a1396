//! The part of watched objects that is kept, by the server that they belong to. The whole objects would take fifty times the
//! memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use kube::runtime::watcher::Event;

use crate::observe::server_key::ServerKey;

/// Something of one kind for each server, updated by the events of a watch.
#[derive(Debug)]
pub(crate) struct WatchCache<T> {
    values: HashMap<ServerKey, Value<T>>,
    /// Number of the current listing.
    listing: u32,
    is_complete: bool,
}

#[derive(Debug)]
struct Value<T> {
    value: T,
    /// The listing that this value was last seen in or after.
    listing: u32,
}

impl<T> Default for WatchCache<T> {
    fn default() -> Self {
        Self { values: HashMap::new(), listing: 0, is_complete: false }
    }
}

impl<T: Clone + PartialEq> WatchCache<T> {
    /// Applies an event, and returns the servers whose value changed. `read` tells the server that an object belongs to, and the
    /// value, if the object counts.
    pub(crate) fn apply<K>(&mut self, event: Event<K>, read: impl Fn(K) -> (ServerKey, Option<T>)) -> Vec<ServerKey> {
        match event {
            Event::Init => {
                self.listing = self.listing.wrapping_add(1);
                Vec::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let (server, value) = read(object);
                self.set(server, value).into_iter().collect()
            }
            Event::Delete(object) => self.set(read(object).0, None).into_iter().collect(),
            Event::InitDone => {
                self.is_complete = true;
                self.remove_unlisted()
            }
        }
    }

    /// Returns whether there is a value of this server.
    pub(crate) fn contains(&self, server: ServerKey) -> bool {
        self.values.contains_key(&server)
    }

    /// The value of one server.
    pub(crate) fn get(&self, server: ServerKey) -> Option<T> {
        self.values.get(&server).map(|value| value.value.clone())
    }

    /// The values of all servers.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.values().map(|value| &value.value)
    }

    /// Returns whether the objects have been listed.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn set(&mut self, server: ServerKey, value: Option<T>) -> Option<ServerKey> {
        let value = value.map(|value| Value { value, listing: self.listing });
        let is_changed = match (self.values.entry(server), value) {
            (Entry::Vacant(_), None) => false,
            (Entry::Vacant(entry), Some(value)) => {
                entry.insert(value);
                true
            }
            (Entry::Occupied(entry), None) => {
                entry.remove();
                true
            }
            (Entry::Occupied(mut entry), Some(value)) => entry.insert(value).value != entry.get().value,
        };
        is_changed.then_some(server)
    }

    fn remove_unlisted(&mut self) -> Vec<ServerKey> {
        let listing = self.listing;
        self.values.extract_if(|_, value| value.listing != listing).map(|(server, _)| server).collect()
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;

    use super::WatchCache;
    use crate::observe::server_key::ServerKey;

    /// An object is a name and a value.
    type Object = (&'static str, Option<u32>);

    fn read(object: Object) -> (ServerKey, Option<u32>) {
        (key(object.0), object.1)
    }

    fn key(name: &str) -> ServerKey {
        ServerKey::of("default", name)
    }

    /// The names of the servers whose value an event changed.
    fn changed(listed: &mut WatchCache<u32>, event: Event<Object>) -> Vec<&'static str> {
        let changed = listed.apply(event, read);
        ["a", "b", "c"].into_iter().filter(|name| changed.contains(&key(name))).collect()
    }

    #[test]
    fn returns_only_servers_whose_value_changed() {
        let mut listed = WatchCache::default();
        assert_eq!(changed(&mut listed, Event::Apply(("a", Some(1)))), ["a"]);
        assert!(changed(&mut listed, Event::Apply(("a", Some(1)))).is_empty(), "a status update, or a duplicate");
        assert_eq!(changed(&mut listed, Event::Apply(("a", Some(2)))), ["a"]);
        assert_eq!(listed.get(key("a")), Some(2));
        assert_eq!(changed(&mut listed, Event::Apply(("a", None))), ["a"], "it counts no more");
        assert!(changed(&mut listed, Event::Delete(("a", Some(2)))).is_empty());
        assert_eq!(listed.get(key("a")), None);
    }

    #[test]
    fn drops_what_a_new_listing_does_not_have() {
        let mut listed = WatchCache::default();
        for name in ["a", "b", "c"] {
            changed(&mut listed, Event::Apply((name, Some(1))));
        }
        assert!(!listed.is_complete());
        changed(&mut listed, Event::Init);
        assert!(changed(&mut listed, Event::InitApply(("a", Some(1)))).is_empty());
        assert_eq!(changed(&mut listed, Event::InitApply(("b", Some(2)))), ["b"]);
        assert_eq!(changed(&mut listed, Event::InitDone), ["c"]);
        assert_eq!((listed.get(key("b")), listed.is_complete()), (Some(2), true));
    }

    #[test]
    fn does_not_grow_with_servers_that_are_created_and_deleted() {
        let mut listed = WatchCache::default();
        for index in 0..100_000 {
            let server = key(&format!("server-{index}"));
            listed.apply(Event::Apply(()), |()| (server, Some(3_u32)));
            listed.apply(Event::Delete(()), |()| (server, Some(3_u32)));
        }
        assert!(listed.values.is_empty() && listed.values.capacity() < 16, "{}", listed.values.capacity());
    }
}
