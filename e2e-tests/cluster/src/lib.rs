//! A test cluster: kube-apiserver and etcd, the policy module behind an admission webhook, and the reconciler's binary.
//! The suites in `tests/suites` and the demo run in it.
//!
//! | module | holds |
//! |---|---|
//! | [`inputs`] | the programs and files that are tested, from environment variables |
//! | [`test_cluster`] | [`TestCluster`]: its parts, its namespaces and custom resources |
//! | [`setup`] | how it starts, and what a test can rely on when it begins |
//! | [`webhook`] | the policies' webhook: installed, killed, removed |
//! | [`kubewarden`] | Kubewarden's own controller and audit scanner |
//! | [`reconcilers`] | the reconciler's processes |
//! | [`accounts`] | users, service accounts and their permissions |
//! | [`manifests`] | manifests of this repository: read and applied |
//! | [`requests`] | requests to the API server and its responses |
//! | [`kubectl`] | kubectl as a person runs it |
//! | [`objects`] | the objects that ToolHive, its operator and people create |
//! | [`toolhive`] | releases of ToolHive: their operator and proxy runner |
//! | [`toolhive_crds`] | releases of ToolHive: their custom resource definitions |
//! | [`node`] | a node that KWOK simulates |
//! | [`pods`] | the pods of an `MCPServer` and their rollouts |
//! | [`crds`] | hand-written custom resource definitions of other projects |
//! | [`faults`] | a proxy in front of the API server that injects faults |
//! | [`wait`] | waiting for something to become true |
//! | [`control_plane`] | kube-apiserver, etcd and kube-controller-manager |
//! | [`certificates`], [`kubeconfig`] | credentials |
//! | [`process`], [`run_folder`] | child processes, and the temporary folder with their files and logs |
//! | [`interrupt`] | SIGINT and SIGTERM |
//! | [`ignored`] | the error of a test whose precondition is missing |

#![forbid(unsafe_code)]

pub mod accounts;
pub mod certificates;
mod components;
pub mod control_plane;
pub mod crds;
pub mod faults;
pub mod ignored;
pub mod inputs;
pub mod interrupt;
pub mod kubeconfig;
pub mod kubectl;
pub mod kubewarden;
pub mod manifests;
pub mod node;
pub mod objects;
pub mod pods;
pub mod process;
pub mod reconcilers;
pub mod requests;
pub mod run_folder;
pub mod setup;
pub mod test_cluster;
pub mod toolhive;
pub mod toolhive_crds;
pub mod wait;
pub mod webhook;

pub use ignored::Ignored;
pub use inputs::Inputs;
pub use kubewarden::Kubewarden;
pub use pods::ServerPods;
pub use requests::{ApiClient, Response};
pub use test_cluster::TestCluster;
pub use toolhive::ToolHiveRelease;
pub use toolhive_crds::ToolHiveCrds;
