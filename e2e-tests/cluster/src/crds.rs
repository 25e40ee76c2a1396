//! Custom resource definitions: those of several releases of ToolHive, with the fields that matter for scaling, and
//! those of other projects that the manifests of this repository use.

use mcp_scaling_rules::kind::{GROUP, ServerKind};
use serde_json::{Value, json};

/// ToolHive's definitions at one point of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrdRelease {
    /// Before v0.13: version `v1alpha1`, no field declares a count, the list of conditions is atomic.
    Before013,
    /// v0.13 to v0.15: fields declare counts, the list of conditions is still atomic.
    Since013,
    /// The current release: versions `v1beta1` and `v1alpha1`, and a list of conditions with one entry for each type.
    Current,
    /// The current release without `v1alpha1`, as a later release may be.
    OnlyV1beta1,
}

impl CrdRelease {
    /// The version that the API server prefers and stores.
    pub fn version(self) -> &'static str {
        match self {
            Self::Before013 | Self::Since013 => "v1alpha1",
            Self::Current | Self::OnlyV1beta1 => "v1beta1",
        }
    }

    /// The definitions of the three kinds.
    pub fn definitions(self) -> Vec<Value> {
        ServerKind::ALL.map(|kind| self.definition(kind)).to_vec()
    }

    fn definition(self, kind: ServerKind) -> Value {
        let mut versions = vec![self.version_schema(kind, self.version(), true)];
        if self == Self::Current {
            versions.push(self.version_schema(kind, "v1alpha1", false));
        }
        let (plural, kind) = (resource_of(kind), kind.name());
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{GROUP}")},
            "spec": {
                "group": GROUP, "scope": "Namespaced", "versions": versions,
                "names": {
                    "kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List"),
                },
            },
        })
    }

    fn version_schema(self, kind: ServerKind, name: &str, is_storage: bool) -> Value {
        let count = json!({"type": "integer", "format": "int32", "minimum": 0});
        let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let mut spec = json!({"image": {"type": "string"}, "env": {"type": "array", "items": any}});
        if kind == ServerKind::McpServer {
            spec["transport"] =
                json!({"type": "string", "enum": ["stdio", "streamable-http", "sse"], "default": "stdio"});
        }
        if self != Self::Before013 {
            spec["replicas"] = count.clone();
            spec["sessionStorage"] = json!({
                "type": "object", "required": ["provider"],
                "properties": {
                    "provider": {"type": "string", "enum": ["memory", "redis"]}, "address": {"type": "string"},
                },
            });
            if kind == ServerKind::McpServer {
                spec["backendReplicas"] = count;
            }
        }
        let mut conditions = json!({"type": "array", "items": {
            "type": "object", "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "message": {"type": "string", "maxLength": 32768},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "type": {"type": "string", "maxLength": 316},
            },
        }});
        if self.version() == "v1beta1" {
            conditions["x-kubernetes-list-type"] = "map".into();
            conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
        }
        let status = json!({"type": "object", "properties": {
            "conditions": conditions, "phase": {"type": "string"}, "url": {"type": "string"},
            "message": {"type": "string"},
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

/// The plural of a kind, which names it in paths.
pub fn resource_of(kind: ServerKind) -> &'static str {
    match kind {
        ServerKind::McpServer => "mcpservers",
        ServerKind::VirtualMcpServer => "virtualmcpservers",
        ServerKind::McpRemoteProxy => "mcpremoteproxies",
    }
}

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
