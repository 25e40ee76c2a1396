//! What is wrong with a server and its workloads, and what would set it right. Pure: no client, no clock.

use mcp_scaling_rules::replicas::STDIO_REPLICAS;
use mcp_scaling_rules::{Condition, Transport, conditions, exceeds_stdio_cap, resolve, sessions_at_risk};

use crate::server::{Server, StatusCondition};

/// The replicas that a server's workloads are set to run (`spec.replicas`), `None` where there is no such workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Of the Deployment: the proxy runner.
    pub deployment: Option<u32>,
    /// Of the StatefulSet: the backend.
    pub statefulset: Option<u32>,
}

/// What would set a server right. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The conditions that the status should have, where it has others.
    pub conditions: Option<[Condition; 2]>,
    /// The count for the Deployment, where it has another.
    pub deployment: Option<u32>,
    /// The count for the StatefulSet, where it has another.
    pub statefulset: Option<u32>,
    /// Whether the status misleads its readers as it is: it says something else, or is silent where it should warn. Silence
    /// where there is nothing to warn of misleads nobody; operators before v0.13 write no such conditions.
    pub misleads: bool,
    /// Replicas that lose sessions once the counts are right, where there are any. Only the spec can set that right.
    pub unshared_replicas: Option<u32>,
}

/// Plans for one server. A count that is not declared is left to whoever scales, but for the stdio cap.
pub fn plan(server: &Server, live: Live) -> Plan {
    let scaling = &server.scaling;
    let wanted = conditions(scaling);
    let unmet: Vec<&Condition> = wanted.iter().filter(|condition| !is_met(condition, server)).collect();
    let is_there = |condition: &Condition| server.conditions.iter().any(|there| there.type_ == condition.type_);
    let deployment = correction(scaling.transport, scaling.replicas, live.deployment);
    let statefulset = correction(scaling.transport, scaling.backend_replicas, live.statefulset);
    // Replicas that are to go lose their sessions anyhow.
    let most = deployment.or(live.deployment).max(statefulset.or(live.statefulset)).unwrap_or_default();
    Plan {
        misleads: unmet.iter().any(|condition| condition.status == "True" || is_there(condition)),
        conditions: (!unmet.is_empty()).then_some(wanted),
        deployment,
        statefulset,
        unshared_replicas: sessions_at_risk(scaling.session_storage, most).then_some(most),
    }
}

/// Whether the status has the condition, whoever wrote it. Its message and times do not count.
fn is_met(wanted: &Condition, server: &Server) -> bool {
    let is_same = |there: &StatusCondition| {
        there.type_ == wanted.type_
            && there.status == wanted.status
            && there.reason == wanted.reason
            && there.observed_generation.is_none_or(|observed| Some(observed) == server.generation)
    };
    server.conditions.iter().any(is_same)
}

/// The count that a workload should run, where it runs another.
fn correction(transport: Transport, declared: Option<u32>, live: Option<u32>) -> Option<u32> {
    let live = live?;
    let capped = exceeds_stdio_cap(transport, live).then_some(STDIO_REPLICAS);
    resolve(transport, declared).or(capped).filter(|wanted| *wanted != live)
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::conditions::{SESSION_STORAGE_WARNING, STDIO_REPLICA_CAPPED};
    use mcp_scaling_rules::{Scaling, SessionStorage, Transport, conditions};

    use super::{Live, Plan, plan};
    use crate::server::{Server, StatusCondition};

    /// A server with redis whose conditions are right.
    fn server(transport: Transport, replicas: Option<u32>, backend_replicas: Option<u32>) -> Server {
        let scaling = Scaling { transport, replicas, backend_replicas, session_storage: SessionStorage::Redis };
        let right = conditions(&scaling).map(|condition| StatusCondition {
            type_: condition.type_.to_owned(),
            status: condition.status.to_owned(),
            reason: condition.reason.to_owned(),
            observed_generation: Some(2),
        });
        Server {
            namespace: "default".to_owned(),
            name: "github".to_owned(),
            generation: Some(2),
            scaling,
            conditions: right.into(),
        }
    }

    fn live(deployment: u32, statefulset: u32) -> Live {
        Live { deployment: Some(deployment), statefulset: Some(statefulset) }
    }

    #[test]
    fn counts() {
        use Transport::{Sse, Stdio};
        for (transport, declared, live, wanted) in [
            (Stdio, None, 0, None),
            (Stdio, None, 1, None),
            (Stdio, None, 3, Some(1)),
            (Stdio, Some(3), 3, Some(1)),
            (Stdio, Some(3), 1, None),
            (Stdio, Some(0), 1, Some(0)),
            (Sse, None, 0, None),
            (Sse, None, 5, None),
            (Sse, Some(3), 3, None),
            (Sse, Some(3), 5, Some(3)),
            (Sse, Some(3), 1, Some(3)),
            (Sse, Some(0), 2, Some(0)),
        ] {
            let what = format!("{transport:?}, {declared:?} declared, {live} live");
            let of_deployment = Live { deployment: Some(live), statefulset: None };
            let deployment = Plan { deployment: wanted, ..Plan::default() };
            assert_eq!(plan(&server(transport, declared, None), of_deployment), deployment, "{what}");
            let of_statefulset = Live { deployment: None, statefulset: Some(live) };
            let statefulset = Plan { statefulset: wanted, ..Plan::default() };
            assert_eq!(plan(&server(transport, None, declared), of_statefulset), statefulset, "{what}");
        }
        assert_eq!(plan(&server(Sse, Some(3), Some(3)), Live::default()), Plan::default(), "no workloads yet");
    }

    #[test]
    fn conditions_that_are_right_are_left_to_whoever_wrote_them() {
        let mut server = server(Transport::Sse, Some(1), None);
        assert_eq!(plan(&server, live(1, 1)).conditions, None);
        server.conditions.iter_mut().for_each(|condition| condition.observed_generation = None);
        assert_eq!(plan(&server, live(1, 1)).conditions, None, "a writer that does not say what it observed");
        server.conditions.reverse();
        assert_eq!(plan(&server, live(1, 1)).conditions, None, "in another order");
    }

    #[test]
    fn conditions_that_are_missing_wrong_or_stale_are_planned_together() {
        let right = server(Transport::Stdio, Some(3), None);
        let wanted = Some(conditions(&right.scaling));
        for index in 0..2 {
            let with = |change: fn(&mut StatusCondition)| {
                let mut server = right.clone();
                change(&mut server.conditions[index]);
                plan(&server, live(1, 1)).conditions
            };
            assert_eq!(with(|condition| condition.type_ = "Other".to_owned()), wanted);
            assert_eq!(with(|condition| condition.status = "Unknown".to_owned()), wanted);
            assert_eq!(with(|condition| condition.reason = "Other".to_owned()), wanted);
            assert_eq!(with(|condition| condition.observed_generation = Some(1)), wanted, "an older spec was judged");
        }
        let types = conditions(&right.scaling).map(|condition| condition.type_);
        assert_eq!(types, [STDIO_REPLICA_CAPPED, SESSION_STORAGE_WARNING]);
    }

    #[test]
    fn a_silent_status_misleads_only_where_it_should_warn() {
        let misleads = |replicas, change: fn(&mut Server)| {
            let mut server = server(Transport::Stdio, replicas, None);
            change(&mut server);
            plan(&server, live(1, 1)).misleads
        };
        assert!(!misleads(Some(3), |_| {}));
        assert!(misleads(Some(3), |server| server.conditions.clear()));
        assert!(!misleads(None, |server| server.conditions.clear()), "nothing to warn of");
        assert!(misleads(None, |server| server.conditions[0].status = "True".to_owned()), "a warning of nothing");
    }

    #[test]
    fn live_replicas_without_redis() {
        let mut server = server(Transport::Sse, None, None);
        assert_eq!(plan(&server, live(3, 1)).unshared_replicas, None);
        server.scaling.session_storage = SessionStorage::Memory;
        assert_eq!(plan(&server, live(3, 1)).unshared_replicas, Some(3));
        assert_eq!(plan(&server, live(1, 2)).unshared_replicas, Some(2));
        assert_eq!(plan(&server, live(1, 1)).unshared_replicas, None);
        assert_eq!(plan(&server, Live::default()).unshared_replicas, None);
        server.scaling.replicas = Some(1);
        assert_eq!(plan(&server, live(3, 1)).unshared_replicas, None, "the third is to go");
        server.scaling.replicas = Some(2);
        assert_eq!(plan(&server, live(1, 1)).unshared_replicas, Some(2), "the second is to come");
    }
}
