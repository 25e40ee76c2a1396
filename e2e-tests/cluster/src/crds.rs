//! Hand-written custom resource definitions of the other projects whose resources the manifests of this repository use.

use serde_json::{Value, json};

/// The definitions of Kubewarden and of the Prometheus operator that the manifests use, as strict as the originals in
/// the fields that the manifests set.
///
/// Source: the API references of both projects.
pub fn platform_definitions() -> Vec<Value> {
    vec![
        platform_definition("policies.kubewarden.io", "ClusterAdmissionPolicy", "Cluster", admission_policy_schema()),
        platform_definition("monitoring.coreos.com", "ServiceMonitor", "Namespaced", service_monitor_schema()),
        platform_definition("monitoring.coreos.com", "PrometheusRule", "Namespaced", prometheus_rule_schema()),
    ]
}

/// A definition with the one version `v1`. `spec` is the schema of that field.
fn platform_definition(group: &str, kind: &str, scope: &str, spec: Value) -> Value {
    let singular = kind.to_lowercase();
    let plural = singular.strip_suffix('y').map_or_else(|| format!("{singular}s"), |stem| format!("{stem}ies"));
    let schema = json!({"openAPIV3Schema": object(json!({"spec": spec}))});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": scope,
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
            "names": {"kind": kind, "plural": plural, "singular": singular, "listKind": format!("{kind}List")},
        },
    })
}

fn admission_policy_schema() -> Value {
    let seconds = || json!({"type": "integer", "minimum": 2, "maximum": 30});
    let rule = object(json!({
        "apiGroups": list(text()), "apiVersions": list(text()), "resources": list(text()), "operations": list(text()),
        "scope": text(),
    }));
    let match_condition = json!({"name": text(), "expression": text()});
    let resource = json!({"apiVersion": text(), "kind": text()});
    let properties = json!({
        "policyServer": text(), "mode": choice(&["protect", "monitor"]), "module": text(), "settings": any(),
        "rules": list(rule), "failurePolicy": choice(&["Fail", "Ignore"]), "mutating": boolean(),
        "backgroundAudit": boolean(), "matchPolicy": text(),
        "matchConditions": list(with_required(match_condition, &["name", "expression"])),
        "namespaceSelector": any(), "objectSelector": any(), "sideEffects": text(), "message": text(),
        "timeoutSeconds": seconds(), "timeoutEvalSeconds": seconds(),
        "contextAwareResources": list(with_required(resource, &["apiVersion", "kind"])),
    });
    with_required(properties, &["module", "rules", "mutating"])
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

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn choice(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

/// An object with any members.
fn any() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
