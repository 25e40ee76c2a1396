//! Changes single values of an object and leaves all others as they are.
//!
//! The host compares the object that it gets back with the one that it sent, both as [`Value`]s, and makes the patch from the
//! difference. A round trip through a type would drop fields that the type does not know, and the patch would remove them
//! from the object.

use serde_json::{Map, Value};

use crate::memory::leave;

/// Names of the members that lead to a value.
pub(crate) type Path = &'static [&'static str];

/// A change of one value of the request's object.
#[derive(Debug)]
pub(crate) struct Edit {
    path: Path,
    /// The value is inside this item of the list at `path`, at a path of its own.
    item: Option<(usize, Path)>,
    change: Change,
}

#[derive(Debug)]
enum Change {
    Set(Value),
    Remove,
    /// Sets what the object before the request has there.
    Restore,
}

impl Edit {
    /// Sets the value at `path`.
    pub(crate) fn set(path: Path, value: impl Into<Value>) -> Self {
        Self { path, item: None, change: Change::Set(value.into()) }
    }

    /// Sets the value at `path` in the item at `index` of the list at `list`.
    pub(crate) fn set_in_item(list: Path, index: usize, path: Path, value: impl Into<Value>) -> Self {
        Self { path: list, item: Some((index, path)), change: Change::Set(value.into()) }
    }

    /// Removes the member at `path`.
    pub(crate) fn remove(path: Path) -> Self {
        Self { path, item: None, change: Change::Remove }
    }

    /// Sets the value at `path` to what it is in the object before the request.
    pub(crate) fn restore(path: Path) -> Self {
        Self { path, item: None, change: Change::Restore }
    }

    /// Changes the object. It takes from the `old` one what it restores. `None` if a path leads through anything but
    /// objects, or to nothing that can be restored.
    pub(crate) fn apply(self, object: &mut Value, old: &mut Value) -> Option<()> {
        let value = match self.change {
            Change::Set(value) => Some(value),
            Change::Remove => None,
            Change::Restore => Some(get_mut(old, self.path)?.take()),
        };
        match self.item {
            None => apply(object, self.path, value),
            Some((index, path)) => apply(get_mut(object, self.path)?.get_mut(index)?, path, value),
        }
    }
}

fn get_mut(value: &mut Value, path: Path) -> Option<&mut Value> {
    path.iter().try_fold(value, |value, name| value.get_mut(name))
}

/// Sets the value at a path, or removes it. Members on the way to it are created if they are missing or `null`. `None` if
/// the path leads through something that is no object.
pub(crate) fn apply(object: &mut Value, path: Path, value: Option<Value>) -> Option<()> {
    let (name, parents) = path.split_last()?;
    let mut members = object.as_object_mut()?;
    for parent in parents {
        let child = members.entry(*parent).or_insert(Value::Null);
        if child.is_null() {
            *child = Value::Object(Map::new());
        }
        members = child.as_object_mut()?;
    }
    let replaced = match value {
        Some(value) => members.insert((*name).to_owned(), value),
        None => members.remove(*name),
    };
    leave(replaced);
    Some(())
}

/// Returns whether two values are the same for the API server, for which a member that is `null` is absent. Differences at
/// the `ignored` paths do not count; a number in a path is the index of an item.
pub(crate) fn is_same(left: &Value, right: &Value, ignored: &[&[&str]]) -> bool {
    let is_part_same = |name: &str, left: &Value, right: &Value| {
        let through_it = ignored.iter().filter_map(|path| path.split_first()).filter(|(first, _)| **first == name);
        let rest: Vec<&[&str]> = through_it.map(|(_, rest)| rest).collect();
        rest.iter().any(|rest| rest.is_empty()) || is_same(left, right, &rest)
    };
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            left.iter().all(|(name, value)| is_part_same(name, value, right.get(name).unwrap_or(&Value::Null)))
                && right.iter().all(|(name, value)| left.contains_key(name) || is_part_same(name, &Value::Null, value))
        }
        (Value::Array(left), Value::Array(right)) => {
            let mut items = left.iter().zip(right).enumerate();
            left.len() == right.len()
                && items.all(|(index, (left, right))| match ignored {
                    [] => is_same(left, right, ignored),
                    _ => is_part_same(&index.to_string(), left, right),
                })
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Path, apply, is_same};

    #[test]
    fn compares_values_as_the_api_server_does() {
        let value = json!({"a": {"x": null, "y": [{"z": 1}, 2]}, "b": "t"});
        for (other, expected) in [
            (json!({"b": "t", "a": {"y": [{"z": 1}, 2]}}), true),
            (json!({"b": "t", "a": {"y": [{"z": 1, "n": null}, 2], "m": null}, "c": null}), true),
            (json!({"b": "t", "a": {"y": [2, {"z": 1}]}}), false),
            (json!({"b": "t", "a": {"y": [{"z": 1}]}}), false),
            (json!({"b": "t", "a": {"y": [{"z": 1}, 2], "x": {}}}), false),
            (json!({"b": "u", "a": {"y": [{"z": 1}, 2]}}), false),
            (json!({"b": "t"}), false),
            (json!([]), false),
            (json!(null), false),
        ] {
            assert_eq!(is_same(&value, &other, &[]), expected, "{other}");
            assert_eq!(is_same(&other, &value, &[]), expected, "{other}");
        }
    }

    #[test]
    fn leaves_paths_out_of_the_comparison() {
        let value = json!({"a": {"x": 1, "y": [{"z": 1}, 2]}, "b": "t"});
        let ignored: &[&[&str]] = &[&["a", "x"], &["a", "y", "0", "z"], &["c"]];
        for (other, expected) in [
            (json!({"a": {"x": 2, "y": [{"z": 2}, 2]}, "b": "t"}), true),
            (json!({"a": {"y": [{}, 2]}, "b": "t", "c": 7}), true),
            (json!({"a": {"x": 1, "y": [{"z": 1, "w": 1}, 2]}, "b": "t"}), false),
            (json!({"a": {"x": 1, "y": [{"z": 1}, 3]}, "b": "t"}), false),
            (json!({"a": {"x": 1, "y": [2, {"z": 1}]}, "b": "t"}), false),
            (json!({"a": {"x": 1, "y": [{"z": 1}]}, "b": "t"}), false),
            (json!({"a": {"x": 1, "y": [{"z": 1}, 2]}, "b": "u"}), false),
            (json!({"b": "t"}), false),
        ] {
            assert_eq!(is_same(&value, &other, ignored), expected, "{other}");
            assert_eq!(is_same(&other, &value, ignored), expected, "{other}");
        }
    }

    const REPLICAS: Path = &["spec", "replicas"];

    /// The object with one value set or removed.
    fn changed(mut object: Value, path: Path, value: Option<Value>) -> Option<Value> {
        apply(&mut object, path, value)?;
        Some(object)
    }

    #[test]
    fn sets_a_value_and_keeps_the_others() {
        assert_eq!(
            changed(json!({"z": 1, "spec": {"y": 1.0, "replicas": 3, "x": "ü"}}), REPLICAS, Some(json!(1))),
            Some(json!({"z": 1, "spec": {"y": 1.0, "replicas": 1, "x": "ü"}}))
        );
    }

    #[test]
    fn treats_null_as_missing_at_every_level() {
        for object in [json!({"spec": {"replicas": null}}), json!({"spec": null}), json!({})] {
            assert_eq!(changed(object, REPLICAS, Some(json!(1))), Some(json!({"spec": {"replicas": 1}})));
        }
    }

    #[test]
    fn leaves_a_value_that_is_no_object_alone() {
        for object in [json!({"spec": []}), json!({"spec": "x"}), json!({"spec": 7}), json!([]), json!(null)] {
            assert_eq!(changed(object.clone(), REPLICAS, Some(json!(1))), None, "{object}");
        }
    }

    #[test]
    fn removes_a_member_and_keeps_the_others() {
        assert_eq!(
            changed(json!({"x": [1.0], "a": {"b": 1, "c": {"b": 2}}}), &["a", "b"], None),
            Some(json!({"x": [1.0], "a": {"c": {"b": 2}}}))
        );
        assert_eq!(changed(json!({"a": {"c": 1}}), &["a", "b"], None), Some(json!({"a": {"c": 1}})));
        assert_eq!(changed(json!({"a": []}), &["a", "b"], None), None);
    }
}
