//! Hand-written custom resource definitions of the Prometheus operator, whose resources the chart uses.

use serde_json::{Value, json};

/// The definitions of the Prometheus operator that the manifests use, as strict as the originals in the fields that the
/// manifests set.
///
/// Source: the API reference of that project.
pub fn platform_definitions() -> Vec<Value> {
    vec![
        platform_definition("ServiceMonitor", service_monitor_schema()),
        platform_definition("PrometheusRule", prometheus_rule_schema()),
    ]
}

/// A definition with the one version `v1`. `spec` is the schema of that field.
fn platform_definition(kind: &str, spec: Value) -> Value {
    let singular = kind.to_lowercase();
    let plural = format!("{singular}s");
    let group = "monitoring.coreos.com";
    let schema = json!({"openAPIV3Schema": object(json!({"spec": spec}))});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
            "names": {"kind": kind, "plural": plural, "singular": singular, "listKind": format!("{kind}List")},
        },
    })
}

fn service_monitor_schema() -> Value {
    let endpoint = object(json!({"port": text(), "path": text(), "interval": text()}));
    with_required(json!({"selector": any(), "endpoints": list(endpoint)}), &["selector", "endpoints"])
}

fn prometheus_rule_schema() -> Value {
    let alert = json!({"alert": text(), "expr": text(), "for": text(), "labels": any(), "annotations": any()});
    let group = json!({"name": text(), "rules": list(with_required(alert, &["expr"]))});
    object(json!({"groups": list(with_required(group, &["name"]))}))
}

// Parts of a schema.

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn with_required(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn text() -> Value {
    json!({"type": "string"})
}

/// An object with any members.
fn any() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
