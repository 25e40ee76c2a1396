//! Tests of the policy module as it ships: they load `policy.wasm` into a host that behaves as Kubewarden's, send it
//! admission requests and check its responses. `make policy.wasm` builds the module.
//!
//! They are one test program, so that the module is compiled once for all of them.

/// Requests to create or update a `HorizontalPodAutoscaler` or a KEDA `ScaledObject`.
mod autoscaler;
/// The pod template of a StatefulSet, where only the server's generation changes.
mod backend_template;
/// Malformed requests, objects and settings: the module rejects or ignores them and never traps.
mod bad_input;
/// Limits for the size of the module, and for the instructions and the memory that an evaluation takes.
mod budgets;
/// Random sequences of writes by people, autoscalers and ToolHive: the replica counts settle.
mod convergence;
/// With `corrections: reject` nothing is changed, and what needs a change is refused.
mod corrections;
/// Requests to create or update a Deployment: replicas, grace period, owner and lookup.
mod deployment;
/// With `readAutoscalers`, the autoscalers that scale a server already.
mod existing_autoscalers;
/// Requests to create or update an `MCPServer`.
mod mcpserver;
/// The messages of Kubewarden's protocol.
mod messages;
/// The metadata, manifests and documents that describe the policy agree with the module.
mod metadata;
/// `VirtualMCPServer`, `MCPRemoteProxy` and their Deployments.
mod other_kinds;
/// The pod template of ToolHive's Deployments: no pod restarts for a correction alone.
mod pod_template;
/// The preStop hook of ToolHive's Deployments.
mod pre_stop;
/// Statements that hold for every request, checked with random requests.
mod properties;
/// The resets of replica counts that older releases of ToolHive make, write by write.
mod resets;
/// Operators before v0.10.1 roll out changes although their resets are undone.
mod rollouts;
/// A changed object comes back with all of its other values as they were.
mod round_trip;
/// Requests to update a Scale: `kubectl scale` and autoscalers.
mod scale;
/// Sessions that Redis alone does not keep together.
mod sessions;
/// The settings of the policy: valid and invalid values.
mod settings;
/// Requests to create or update a StatefulSet.
mod statefulset;
/// One of the two workloads of an `MCPServer` is stopped and the other one is not.
mod stopped;
/// The example requests in `test_data`, which `make run` evaluates.
mod test_data;
