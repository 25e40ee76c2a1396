//! What conflicts with an autoscaler.

use crate::scaling::Scaling;
use crate::transport::exceeds_stdio_cap;
use crate::workload::Workload;

/// The conflicts of an autoscaler with the server whose workload it scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflicts {
    /// The count that the spec declares for the workload: the two keep overwriting each other.
    pub declared: Option<u32>,
    /// Says whether the autoscaler may request more replicas than `stdio` supports.
    pub exceeds_stdio_cap: bool,
}

/// The conflicts of an autoscaler of this `maximum` with the spec of the server whose `workload` it scales.
pub fn conflicts(workload: Workload, maximum: u32, scaling: &Scaling) -> Conflicts {
    Conflicts { declared: workload.declared(scaling), exceeds_stdio_cap: exceeds_stdio_cap(scaling.transport, maximum) }
}
