//! The annotations of ToolHive that matter for scaling, and our own.

/// On the pod templates of both workloads of an `MCPServer`, from ToolHive v0.24.1 on: the server's generation.
pub const MCPSERVER_GENERATION: &str = "toolhive.stacklok.dev/mcpserver-generation";

/// Our annotation on a StatefulSet: the newest generation that it was written from, if its pod template tells an older one.
pub const APPLIED_GENERATION: &str = "mcpserver-scaling-policy/applied-generation";
/// Our annotation on the Deployment of an operator that resets counts: what the operator last rolled out.
pub const ROLLED_OUT: &str = "mcpserver-scaling-policy/rolled-out";
/// Our annotation on a StatefulSet that the reconciler scales to 0 with its proxies: the count to restore.
pub const REPLICAS_BEFORE_ZERO: &str = "mcpserver-scaling-policy/replicas-before-zero";
/// Our annotation on a custom resource: the counts that it asked for before `declaredReplicas: cap` lowered them.
pub const REQUESTED_REPLICAS: &str = "mcpserver-scaling-policy/requested-replicas";
