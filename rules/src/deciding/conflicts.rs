//! What conflicts with an autoscaler.

use crate::deciding::sessions::{binds_sessions_to_a_backend, pins_no_session_to_a_backend};
use crate::facts::transport::exceeds_stdio_cap;
use crate::facts::workload::Workload;
use crate::reading::autoscaler::Range;
use crate::reading::scaling::Scaling;

/// The conflicts of an autoscaler with the server whose workload it scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflicts {
    /// The count that the spec declares for the workload: the two keep overwriting each other.
    pub declared: Option<u32>,
    /// Says whether the autoscaler may request more replicas than `stdio` supports.
    pub exceeds_stdio_cap: bool,
    /// Says whether the autoscaler may request several backends and each session stays in one of them, whatever the storage.
    pub binds_sessions: bool,
    /// Says whether the autoscaler may request several backends, among which a session moves with its proxy, whatever the storage.
    pub pins_no_session: bool,
    /// Says whether the autoscaler may stop the backend. It knows nothing of the proxies, which fail without one.
    pub stops_backend: bool,
}

/// The conflicts of an autoscaler of this `range` with the spec of the server whose `workload` it scales.
pub fn conflicts(workload: Workload, range: Range, scaling: &Scaling) -> Conflicts {
    let Range { minimum, maximum } = range;
    Conflicts {
        declared: workload.declared(scaling),
        exceeds_stdio_cap: exceeds_stdio_cap(scaling.transport, maximum),
        binds_sessions: binds_sessions_to_a_backend(workload, scaling.transport, maximum),
        pins_no_session: pins_no_session_to_a_backend(workload, scaling.transport, maximum),
        stops_backend: workload == Workload::StatefulSet && minimum.count == 0,
    }
}
