//! What is told of the policy and the reconciler, each as its user would see it. They play one after the other in one cluster.

mod admission;
mod load;
mod manifests;
mod reconciling;
mod releases;
mod rights;

use anyhow::Result;
use futures::future::LocalBoxFuture;

use crate::world::World;

/// A scenario: what it tells, and how it plays.
pub(crate) type Scenario = (&'static str, for<'w> fn(&'w mut World) -> LocalBoxFuture<'w, Result<()>>);

/// Scenarios that need the same to be running.
pub(crate) struct Act {
    /// What is running.
    pub(crate) name: &'static str,
    /// Whether the policy stands in the way of requests.
    pub(crate) has_webhook: bool,
    /// The scenarios, in order.
    pub(crate) scenarios: Vec<Scenario>,
}

macro_rules! scenarios {
    ($($told:literal => $play:path,)*) => {
        vec![$(($told, |world| Box::pin($play(world)))),*]
    };
}

/// All of them. The last act needs what the others left in the audit log.
pub(crate) fn acts() -> Vec<Act> {
    vec![
        Act {
            name: "the policy alone",
            has_webhook: true,
            scenarios: scenarios! {
                "somebody creates a stdio server with three replicas, and the operator its Deployment" => admission::stdio_server,
                "somebody scales a stdio server's Deployment and StatefulSet" => admission::person_scales_stdio,
                "somebody scales a server with another transport and no Redis" => admission::person_scales_sse,
                "an autoscaler scales" => admission::autoscaler_scales,
                "somebody creates an autoscaler for a stdio server" => admission::autoscaler_created,
                "an operator of v0.6 resets a Deployment" => admission::old_operator_resets,
                "a present operator sets a declared count" => admission::present_operator_sets,
                "a proxy runner starts, with a forced server-side apply of its StatefulSet" => admission::proxy_runner_starts,
                "GitOps applies the same manifests again and again" => admission::gitops,
                "a dry run" => admission::dry_run,
                "a server of the older API version" => admission::older_version,
                "a VirtualMCPServer and an MCPRemoteProxy" => admission::other_kinds,
                "what is not ToolHive's passes" => admission::foreign,
                "reject: what broke the rule before can be edited, finalized and deleted" => admission::reject_ratchets,
                "the webhook goes down and comes back" => admission::webhook_down,
            },
        },
        Act {
            name: "the reconciler alone",
            has_webhook: false,
            scenarios: scenarios! {
                "it finds what nobody admitted" => reconciling::what_admission_missed,
                "an autoscaler runs a server without Redis" => reconciling::autoscaler_without_redis,
                "beside a present operator it writes nothing" => reconciling::beside_present_operator,
                "beside an operator of v0.6" => reconciling::beside_old_operator,
                "it is killed and started again" => reconciling::killed,
                "two of them, of which the leader dies" => reconciling::two,
                "the API server restarts" => reconciling::api_server_restarts,
            },
        },
        Act {
            name: "both, and other releases of ToolHive",
            has_webhook: true,
            scenarios: scenarios! {
                "an autoscaler, the policy and the reconciler have one opinion" => releases::together,
                "ToolHive v0.13, whose list of conditions is atomic" => releases::since_013,
                "ToolHive before v0.13, where no count can be declared" => releases::before_013,
                "ToolHive is upgraded from v1alpha1 to v1beta1 while everything runs" => releases::upgrade,
            },
        },
        Act {
            name: "many at once",
            has_webhook: false,
            scenarios: scenarios! {
                "500 servers are created at once, without and with the policy" => load::many_at_once,
            },
        },
        Act {
            name: "manifests",
            has_webhook: false,
            scenarios: scenarios! {
                "the plain manifests, to the letter" => manifests::plain,
                "the chart, with several values and with wrong ones" => manifests::chart,
                "the chart says what the plain manifests say" => manifests::chart_is_plain,
                "the reconciler's pod in a namespace of the restricted profile" => manifests::restricted,
                "the CEL that docs/comparison.md compares with" => manifests::cel_in_docs,
            },
        },
        Act {
            name: "rights",
            has_webhook: false,
            scenarios: scenarios! {
                "the reconciler has used every right that it has, and lacked none" => rights::of_reconciler,
                "the policy server has used every right that it has, and lacked none" => rights::of_policy_server,
            },
        },
    ]
}
