//! What is wrong with a server and its workloads, and what would set it right. Pure: no client, no clock.

use mcp_scaling_rules::conditions::{LIVE_REPLICAS_WARNING, reasons};
use mcp_scaling_rules::replicas::STDIO_REPLICAS;
use mcp_scaling_rules::{Condition, Scaling, conditions, exceeds_stdio_cap, resolve, sessions_at_risk};

use crate::server::Server;
use crate::workload::Kind;

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
    /// All conditions that the status should have, where one of them is missing, wrong or stale; else none.
    pub conditions: Vec<Condition>,
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

impl Plan {
    /// The count that is planned for a workload.
    pub fn count(&self, kind: Kind) -> Option<u32> {
        match kind {
            Kind::Deployment => self.deployment,
            Kind::StatefulSet => self.statefulset,
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.deployment.is_none() && self.statefulset.is_none()
    }
}

/// Plans for one server, which declares `scaling`. A count that is not declared is left to whoever scales, but for the
/// stdio cap. `warned_lately` keeps a `LiveReplicasWarning` whose cause went only a short while ago: an autoscaler that goes
/// up and down must not have the status written each time.
pub fn plan(server: &Server, scaling: &Scaling, live: Live, warned_lately: bool) -> Plan {
    let told = conditions(scaling);
    let live_warning = live_warning(scaling, live);
    let unmet = |condition: &Condition| !is_met(condition, server);
    let is_there = |condition: &Condition| server.condition(condition.type_).is_some();
    let misleads = told.iter().any(|condition| unmet(condition) && (condition.status == "True" || is_there(condition)));
    let of_live = live_replicas_warning(server, live_warning, warned_lately);
    let wanted: Vec<Condition> = told.into_iter().chain(of_live).collect();
    Plan {
        conditions: if wanted.iter().any(unmet) { wanted } else { Vec::new() },
        deployment: correction(Kind::Deployment, scaling, live.deployment),
        statefulset: correction(Kind::StatefulSet, scaling, live.statefulset),
        misleads,
        unshared_replicas: unshared_replicas(scaling, live),
    }
}

/// Why `LiveReplicasWarning` should be `True` now, if it should: its reason. It tells what the operator's conditions, which
/// speak of the spec, do not.
pub fn live_warning(scaling: &Scaling, live: Live) -> Option<&'static str> {
    let exceeds = |count: Option<u32>| count.is_some_and(|count| exceeds_stdio_cap(scaling.transport, count));
    let was_scaled_above_cap = [(live.deployment, scaling.replicas), (live.statefulset, scaling.backend_replicas)]
        .into_iter()
        .any(|(live, declared)| exceeds(live) && !exceeds(declared));
    let is_told = scaling.replicas.is_some_and(|count| sessions_at_risk(scaling.session_storage, count));
    if was_scaled_above_cap {
        Some(reasons::LIVE_REPLICAS_ABOVE_STDIO_CAP)
    } else if !is_told && unshared_replicas(scaling, live).is_some() {
        Some(reasons::LIVE_REPLICAS_WITHOUT_SESSION_STORAGE)
    } else {
        None
    }
}

fn unshared_replicas(scaling: &Scaling, live: Live) -> Option<u32> {
    // Replicas that are to go lose their sessions anyhow.
    let corrected = |kind, count| correction(kind, scaling, count).or(count);
    let most = corrected(Kind::Deployment, live.deployment).max(corrected(Kind::StatefulSet, live.statefulset))?;
    sessions_at_risk(scaling.session_storage, most).then_some(most)
}

/// Whether the status has the condition, whoever wrote it. Its message and times do not count, and a writer may leave out
/// which generation it observed.
pub(crate) fn is_met(wanted: &Condition, server: &Server) -> bool {
    server.condition(wanted.type_).is_some_and(|there| {
        there.status == wanted.status
            && there.reason == wanted.reason
            && there.observed_generation.is_none_or(|observed| Some(observed) == server.meta.generation)
    })
}

/// The count that a workload of this server should run, where it runs another. One that runs none was stopped by
/// somebody; it stays stopped.
pub(crate) fn correction(kind: Kind, scaling: &Scaling, live: Option<u32>) -> Option<u32> {
    let live = live.filter(|count| *count > 0)?;
    let capped = exceeds_stdio_cap(scaling.transport, live).then_some(STDIO_REPLICAS);
    resolve(scaling.transport, declared(kind, scaling)).or(capped).filter(|wanted| *wanted != live)
}

/// The count that the server declares for a workload.
pub(crate) fn declared(kind: Kind, scaling: &Scaling) -> Option<u32> {
    match kind {
        Kind::Deployment => scaling.replicas,
        Kind::StatefulSet => scaling.backend_replicas,
    }
}

/// Our own condition, where the status should have it. It is never written to say that nothing was ever wrong.
fn live_replicas_warning(server: &Server, cause: Option<&'static str>, warned_lately: bool) -> Option<Condition> {
    let there = server.condition(LIVE_REPLICAS_WARNING);
    if let Some(reason) = cause {
        let message = if reason == reasons::LIVE_REPLICAS_ABOVE_STDIO_CAP {
            "a workload was set to more than 1 replica; transport stdio runs 1"
        } else {
            "a workload runs more than 1 replica and spec.sessionStorage.provider is not redis: replicas do not share sessions"
        };
        return Some(Condition { type_: LIVE_REPLICAS_WARNING, status: "True", reason, message });
    }
    // What somebody else wrote over it is as good as a warning whose cause is gone.
    let there = there.filter(|there| there.status != "False" || there.reason != reasons::LIVE_REPLICAS_FIT)?;
    let same_spec = there.observed_generation == server.meta.generation;
    let fit = Condition {
        type_: LIVE_REPLICAS_WARNING,
        status: "False",
        reason: reasons::LIVE_REPLICAS_FIT,
        message: "the live replicas fit the transport and the session storage",
    };
    (!(same_spec && warned_lately)).then_some(fit)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use mcp_scaling_rules::conditions::{
        LIVE_REPLICAS_WARNING, SESSION_STORAGE_WARNING, STDIO_REPLICA_CAPPED, reasons,
    };
    use mcp_scaling_rules::{Scaling, SessionStorage, Transport, conditions};
    use serde_json::json;

    use super::{Live, Plan};
    use crate::server::{Server, StatusCondition};

    const RIGHT: SessionStorage = SessionStorage::Redis;

    /// A server whose conditions are right, with what it declares.
    fn server(
        transport: Transport,
        replicas: Option<u32>,
        backend_replicas: Option<u32>,
        session_storage: SessionStorage,
    ) -> (Server, Scaling) {
        let scaling = Scaling { transport, replicas, backend_replicas, session_storage };
        let right = conditions(&scaling).map(|condition| StatusCondition {
            type_: condition.type_,
            status: condition.status,
            reason: condition.reason,
            observed_generation: Some(2),
        });
        let mut server: Server = serde_json::from_value(json!({})).expect("is read");
        server.meta = ObjectMeta { generation: Some(2), ..ObjectMeta::default() };
        server.conditions = right.into();
        (server, scaling)
    }

    fn plan((server, scaling): &(Server, Scaling), live: Live) -> Plan {
        super::plan(server, scaling, live, false)
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
            (Stdio, Some(3), 0, None),
            (Stdio, Some(3), 3, Some(1)),
            (Stdio, Some(3), 1, None),
            (Stdio, Some(0), 1, Some(0)),
            (Sse, None, 0, None),
            (Sse, None, 5, None),
            (Sse, Some(3), 0, None),
            (Sse, Some(3), 3, None),
            (Sse, Some(3), 5, Some(3)),
            (Sse, Some(3), 1, Some(3)),
            (Sse, Some(0), 2, Some(0)),
        ] {
            let what = format!("{transport:?}, {declared:?} declared, {live} live");
            let of_deployment = Live { deployment: Some(live), statefulset: None };
            let planned = plan(&server(transport, declared, None, RIGHT), of_deployment);
            assert_eq!((planned.deployment, planned.statefulset), (wanted, None), "{what}");
            let of_statefulset = Live { deployment: None, statefulset: Some(live) };
            let planned = plan(&server(transport, None, declared, RIGHT), of_statefulset);
            assert_eq!((planned.deployment, planned.statefulset), (None, wanted), "{what}");
        }
        assert_eq!(plan(&server(Sse, Some(3), Some(3), RIGHT), Live::default()), Plan::default(), "no workloads yet");
    }

    #[test]
    fn conditions_that_are_right_are_left_to_whoever_wrote_them() {
        let mut server = server(Transport::Sse, Some(1), None, RIGHT);
        assert_eq!(plan(&server, live(1, 1)).conditions, []);
        server.0.conditions.iter_mut().for_each(|condition| condition.observed_generation = None);
        assert_eq!(plan(&server, live(1, 1)).conditions, [], "a writer that does not say what it observed");
        server.0.conditions.reverse();
        assert_eq!(plan(&server, live(1, 1)).conditions, [], "in another order");
    }

    #[test]
    fn conditions_that_are_missing_wrong_or_stale_are_planned_together() {
        let right = server(Transport::Stdio, Some(3), None, RIGHT);
        let wanted = conditions(&right.1).to_vec();
        for index in 0..2 {
            let with = |change: fn(&mut StatusCondition)| {
                let mut server = right.clone();
                change(&mut server.0.conditions[index]);
                plan(&server, live(1, 1)).conditions
            };
            assert_eq!(with(|condition| condition.type_ = "Other"), wanted);
            assert_eq!(with(|condition| condition.status = ""), wanted);
            assert_eq!(with(|condition| condition.reason = ""), wanted);
            assert_eq!(with(|condition| condition.observed_generation = Some(1)), wanted, "an older spec was judged");
        }
        let types = conditions(&right.1).map(|condition| condition.type_);
        assert_eq!(types, [STDIO_REPLICA_CAPPED, SESSION_STORAGE_WARNING]);
    }

    #[test]
    fn a_silent_status_misleads_only_where_it_should_warn() {
        let misleads = |replicas, change: fn(&mut Server)| {
            let mut server = server(Transport::Stdio, replicas, None, RIGHT);
            change(&mut server.0);
            plan(&server, live(1, 1)).misleads
        };
        assert!(!misleads(Some(3), |_| {}));
        assert!(misleads(Some(3), |server| server.conditions = [].into()));
        assert!(!misleads(None, |server| server.conditions = [].into()), "nothing to warn of");
        assert!(misleads(None, |server| server.conditions[0].status = "True"), "a warning of nothing");
    }

    #[test]
    fn live_replicas_without_redis() {
        let unshared =
            |replicas, storage, live| plan(&server(Transport::Sse, replicas, None, storage), live).unshared_replicas;
        assert_eq!(unshared(None, SessionStorage::Redis, live(3, 1)), None);
        for (replicas, live, count) in [
            (None, live(3, 1), Some(3)),
            (None, live(1, 2), Some(2)),
            (None, live(1, 1), None),
            (None, Live::default(), None),
            // The third is to go, the second is to come.
            (Some(1), live(3, 1), None),
            (Some(2), live(1, 1), Some(2)),
        ] {
            assert_eq!(unshared(replicas, SessionStorage::Memory, live), count, "{replicas:?}, {live:?}");
        }
    }

    /// Our own condition as a plan has it: status and reason.
    fn of_live(plan: &Plan) -> Option<(&'static str, &'static str)> {
        let own = plan.conditions.iter().find(|condition| condition.type_ == LIVE_REPLICAS_WARNING);
        own.map(|condition| (condition.status, condition.reason))
    }

    #[test]
    fn the_live_warning_tells_what_the_operator_does_not() {
        use SessionStorage::{Memory, Redis};
        use Transport::{Sse, Stdio};
        let above = Some(("True", reasons::LIVE_REPLICAS_ABOVE_STDIO_CAP));
        let unshared = Some(("True", reasons::LIVE_REPLICAS_WITHOUT_SESSION_STORAGE));
        for (transport, replicas, backend, storage, live, warning) in [
            (Stdio, None, None, Memory, live(1, 1), None),
            (Stdio, None, None, Memory, live(3, 1), above),
            (Stdio, None, None, Redis, live(1, 3), above),
            (Stdio, Some(1), None, Redis, live(3, 1), above),
            // Declared: StdioReplicaCapped tells it.
            (Stdio, Some(3), None, Redis, live(3, 1), None),
            (Sse, None, None, Redis, live(3, 3), None),
            (Sse, None, None, Memory, live(3, 1), unshared),
            (Sse, None, None, Memory, live(1, 3), unshared),
            // SessionStorageWarning speaks of spec.replicas only.
            (Sse, Some(3), None, Memory, live(3, 1), None),
            (Sse, None, Some(3), Memory, live(1, 3), unshared),
            (Sse, Some(1), None, Memory, live(3, 1), None),
        ] {
            let what = format!("{transport:?}, {replicas:?}/{backend:?} declared, {storage:?}, {live:?}");
            assert_eq!(of_live(&plan(&server(transport, replicas, backend, storage), live)), warning, "{what}");
        }
    }

    #[test]
    fn the_live_warning_goes_some_time_after_its_cause_or_with_the_spec() {
        let mut server = server(Transport::Sse, None, None, SessionStorage::Memory);
        let warned = |status: &'static str, reason: &'static str, generation| StatusCondition {
            type_: LIVE_REPLICAS_WARNING,
            status,
            reason,
            observed_generation: Some(generation),
        };
        let right = server.0.conditions.clone();
        let mut with = |own: StatusCondition, live: Live, warned_lately: bool| {
            server.0.conditions = right.iter().copied().chain([own]).collect();
            let (server, scaling) = &server;
            of_live(&super::plan(server, scaling, live, warned_lately))
        };
        let unshared = reasons::LIVE_REPLICAS_WITHOUT_SESSION_STORAGE;
        let fit = Some(("False", reasons::LIVE_REPLICAS_FIT));
        assert_eq!(with(warned("True", unshared, 2), live(3, 1), true), None, "still so: nothing to write");
        assert_eq!(with(warned("True", unshared, 2), live(1, 1), true), None, "an autoscaler may go up again");
        assert_eq!(with(warned("True", unshared, 2), live(1, 1), false), fit);
        assert_eq!(with(warned("True", unshared, 1), live(1, 1), true), fit, "somebody changed the spec since");
        assert_eq!(with(warned("False", reasons::LIVE_REPLICAS_FIT, 1), live(1, 1), false), None, "an old all-clear");
        assert_eq!(with(warned("", "", 2), live(1, 1), false), fit, "somebody wrote over it");
        assert_eq!(with(warned("False", reasons::LIVE_REPLICAS_FIT, 2), live(3, 1), false), Some(("True", unshared)));
    }
}
