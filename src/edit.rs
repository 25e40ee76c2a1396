//! Changes single values of an object and leaves all others as they are.
//!
//! The host compares the object that it gets back with the one that it sent, both as [`Value`]s, and makes the patch from the
//! difference. A round trip through a type would drop fields that the type does not know, and the patch would remove them
//! from the object.

use serde_json::{Map, Value};

/// Names of the members that lead to a value.
pub(crate) type Path = &'static [&'static str];

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
    match value {
        Some(value) => members.insert((*name).to_owned(), value),
        None => members.remove(*name),
    };
    Some(())
}

/// Returns whether two values are the same for the API server, for which a member that is `null` is absent.
pub(crate) fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let is_in =
                |members: &Map<String, Value>, name, value| is_same(value, members.get(name).unwrap_or(&Value::Null));
            left.iter().all(|(name, value)| is_in(right, name, value))
                && right.iter().all(|(name, value)| value.is_null() || left.contains_key(name))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
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
            assert_eq!(is_same(&value, &other), expected, "{other}");
            assert_eq!(is_same(&other, &value), expected, "{other}");
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
