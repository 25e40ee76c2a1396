//! ToolHive's custom resource definitions as far as scaling goes, in the three shapes that matter.

use mcp_scaling_rules::server::GROUP;
use serde_json::{Value, json};

/// The definitions of others that our manifests use, as strict as theirs in the fields that we set: Kubewarden's, and those of the
/// Prometheus operator. Source: their API references.
pub(crate) fn platform_definitions() -> Vec<Value> {
    let any = || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let list = |items: Value| json!({"type": "array", "items": items});
    let text = || json!({"type": "string"});
    let seconds = || json!({"type": "integer", "minimum": 2, "maximum": 30});
    let rule = json!({"type": "object", "properties": {
        "apiGroups": list(text()), "apiVersions": list(text()), "resources": list(text()), "operations": list(text()), "scope": text(),
    }});
    let admission = json!({
        "type": "object", "required": ["module", "rules", "mutating"],
        "properties": {
            "policyServer": text(), "mode": {"type": "string", "enum": ["protect", "monitor"]}, "module": text(),
            "settings": any(), "rules": list(rule), "failurePolicy": {"type": "string", "enum": ["Fail", "Ignore"]},
            "mutating": {"type": "boolean"}, "backgroundAudit": {"type": "boolean"}, "matchPolicy": text(),
            "matchConditions": list(json!({"type": "object", "required": ["name", "expression"], "properties": {"name": text(), "expression": text()}})),
            "namespaceSelector": any(), "objectSelector": any(), "sideEffects": text(), "message": text(),
            "timeoutSeconds": seconds(), "timeoutEvalSeconds": seconds(),
            "contextAwareResources": list(json!({"type": "object", "required": ["apiVersion", "kind"], "properties": {"apiVersion": text(), "kind": text()}})),
        },
    });
    let monitor = json!({"type": "object", "required": ["selector", "endpoints"], "properties": {
        "selector": any(), "endpoints": list(json!({"type": "object", "properties": {"port": text(), "path": text(), "interval": text()}})),
    }});
    let alert = json!({"type": "object", "required": ["expr"], "properties": {
        "alert": text(), "expr": text(), "for": text(), "labels": any(), "annotations": any(),
    }});
    let alerts = json!({"type": "object", "properties": {"groups": list(json!({
        "type": "object", "required": ["name"], "properties": {"name": text(), "rules": list(alert)},
    }))}});
    [
        ("policies.kubewarden.io", "ClusterAdmissionPolicy", "clusteradmissionpolicies", "Cluster", admission),
        ("monitoring.coreos.com", "ServiceMonitor", "servicemonitors", "Namespaced", monitor),
        ("monitoring.coreos.com", "PrometheusRule", "prometheusrules", "Namespaced", alerts),
    ]
    .map(|(group, kind, plural, scope, spec)| {
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group, "scope": scope, "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            },
        })
    })
    .to_vec()
}

/// A shape of the definitions, by the ToolHive releases that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Before v0.13: one version, no count can be declared, the list of conditions is atomic.
    Before013,
    /// v0.13 to v0.15: counts can be declared, the list is still atomic.
    Since013,
    /// At present: two versions, and a list with one condition of each type.
    Present,
}

impl Shape {
    /// The version that the API server prefers.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Before013 | Self::Since013 => "v1alpha1",
            Self::Present => "v1beta1",
        }
    }

    /// The definitions of the three kinds.
    pub(crate) fn definitions(self) -> Vec<Value> {
        ["MCPServer", "VirtualMCPServer", "MCPRemoteProxy"].map(|kind| self.definition(kind)).to_vec()
    }

    fn definition(self, kind: &str) -> Value {
        let versions = match self {
            Self::Before013 | Self::Since013 => json!([self.version_of(kind, "v1alpha1", true)]),
            Self::Present => json!([self.version_of(kind, "v1beta1", true), self.version_of(kind, "v1alpha1", false)]),
        };
        let singular = kind.to_lowercase();
        let plural = if kind == "MCPRemoteProxy" { "mcpremoteproxies".to_owned() } else { format!("{singular}s") };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{GROUP}")},
            "spec": {
                "group": GROUP, "scope": "Namespaced", "versions": versions,
                "names": {"kind": kind, "plural": plural, "singular": singular, "listKind": format!("{kind}List")},
            },
        })
    }

    fn version_of(self, kind: &str, name: &str, is_storage: bool) -> Value {
        let count = json!({"type": "integer", "format": "int32", "minimum": 0});
        let mut spec = json!({"image": {"type": "string"}, "env": {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
        if kind == "MCPServer" {
            spec["transport"] =
                json!({"type": "string", "enum": ["stdio", "streamable-http", "sse"], "default": "stdio"});
        }
        if self != Self::Before013 {
            spec["replicas"] = count.clone();
            spec["sessionStorage"] = json!({
                "type": "object", "required": ["provider"],
                "properties": {"provider": {"type": "string", "enum": ["memory", "redis"]}, "address": {"type": "string"}},
            });
            if kind == "MCPServer" {
                spec["backendReplicas"] = count;
            }
        }
        let mut conditions = json!({"type": "array", "items": {
            "type": "object", "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "message": {"type": "string", "maxLength": 32768},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "type": {"type": "string", "maxLength": 316},
            },
        }});
        if self == Self::Present {
            conditions["x-kubernetes-list-type"] = "map".into();
            conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
        }
        let status = json!({"type": "object", "properties": {
            "conditions": conditions, "phase": {"type": "string"}, "url": {"type": "string"}, "message": {"type": "string"},
        }});
        json!({
            "name": name, "served": true, "storage": is_storage, "subresources": {"status": {}},
            "deprecated": !is_storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": spec}, "status": status,
            }}},
        })
    }
}
