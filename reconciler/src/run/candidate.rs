//! When a candidate of the leader election may write the Lease, and until when it leads. Pure: the caller passes the time.
//!
//! The algorithm is that of `client-go/tools/leaderelection`. No time that another process wrote is compared with the own clock,
//! so that clocks may differ by any amount: a candidate takes a Lease that it has seen unchanged for the whole lease duration on
//! its own clock, and the leader stops leading earlier than that after its last renewal on its own clock. Two processes
//! lead at the same time only if one clock runs faster than the other by half. Each write is guarded by the resource version
//! that was read.
//!
//! kube-lease-manager 0.13 was used before: it compares `renewTime` with the own clock, takes an expired Lease without a guard,
//! and goes on leading while its renewals fail.

use std::time::Duration;

/// The durations of an election.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// How long a candidate must see the Lease unchanged before it takes it.
    pub(crate) lease: Duration,
    /// How long after its last renewal the leader stops leading; less than `lease`.
    pub(crate) deadline: Duration,
}

/// The part of a Lease that the election depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// `spec.holderIdentity`, `None` if it is released.
    pub(crate) holder: Option<String>,
    /// `spec.renewTime` as text. Only whether it changes matters.
    pub(crate) renewed: Option<String>,
    /// `spec.leaseTransitions`: how often the holder changed.
    pub(crate) transitions: i32,
    /// `spec.leaseDurationSeconds`: how long the holder asks others to wait.
    pub(crate) duration: Duration,
}

/// What a candidate does after it has read the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Create the Lease, and hold it.
    Create,
    /// Become the holder.
    Take,
    /// Renew the Lease that it holds.
    Renew,
    /// Leave it to the holder.
    Wait,
}

/// A candidate. Times are those of a clock of this process that never goes back.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    identity: String,
    timing: Timing,
    /// The Lease as it was last read, and when it was first read like this.
    seen: Option<(Record, Duration)>,
    /// Until when this process leads.
    leads_until: Option<Duration>,
}

impl Candidate {
    /// A candidate that does not lead.
    pub(crate) fn new(identity: &str, timing: Timing) -> Self {
        Self { identity: identity.to_owned(), timing, seen: None, leads_until: None }
    }

    /// Decides what to do with the Lease that was read at `now`.
    pub(crate) fn next_step(&mut self, lease: Option<&Record>, now: Duration) -> Step {
        let Some(record) = lease else { return Step::Create };
        let Some(holder) = &record.holder else { return Step::Take };
        if *holder == self.identity {
            return Step::Renew;
        }
        self.leads_until = None;
        match &self.seen {
            Some((seen, since)) if seen == record => {
                let duration = self.timing.lease.max(record.duration);
                if now >= *since + duration { Step::Take } else { Step::Wait }
            }
            _ => {
                self.seen = Some((record.clone(), now));
                Step::Wait
            }
        }
    }

    /// Records that the Lease was written. The write was sent at this time, so that the API server has executed it later.
    pub(crate) fn renewed(&mut self, sent: Duration) {
        self.leads_until = Some(sent + self.timing.deadline);
    }

    /// Until when this process leads, unless it renews the Lease; `None` if it does not lead.
    pub(crate) fn leads_until(&self, now: Duration) -> Option<Duration> {
        self.leads_until.filter(|end| now < *end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};
    use std::time::Duration;

    use super::{Candidate, Record, Step, Timing};

    const SECOND: Duration = Duration::from_secs(1);
    const TIMING: Timing = Timing { lease: Duration::from_secs(15), deadline: Duration::from_secs(10) };

    fn held_by(holder: &str, renewed: u64) -> Record {
        Record { holder: Some(holder.to_owned()), renewed: Some(renewed.to_string()), ..Record::default() }
    }

    #[test]
    fn takes_a_lease_that_is_free_or_was_not_renewed_for_its_duration() {
        let mut candidate = Candidate::new("a", TIMING);
        assert_eq!(candidate.next_step(None, SECOND), Step::Create);
        assert_eq!(candidate.next_step(Some(&Record::default()), SECOND), Step::Take);
        assert_eq!(candidate.next_step(Some(&held_by("a", 1)), SECOND), Step::Renew);
        assert_eq!(candidate.next_step(Some(&held_by("b", 1)), SECOND), Step::Wait);
        assert_eq!(candidate.next_step(Some(&held_by("b", 1)), SECOND * 15), Step::Wait);
        assert_eq!(candidate.next_step(Some(&held_by("b", 2)), SECOND * 16), Step::Wait, "renewed");
        assert_eq!(candidate.next_step(Some(&held_by("b", 2)), SECOND * 30), Step::Wait);
        assert_eq!(candidate.next_step(Some(&held_by("b", 2)), SECOND * 31), Step::Take);
        let longer = Record { duration: SECOND * 60, ..held_by("b", 3) };
        assert_eq!(candidate.next_step(Some(&longer), SECOND * 40), Step::Wait);
        assert_eq!(candidate.next_step(Some(&longer), SECOND * 99), Step::Wait, "the holder asks for 60 seconds");
        assert_eq!(candidate.next_step(Some(&longer), SECOND * 100), Step::Take);
    }

    #[test]
    fn leads_for_the_deadline_after_a_renewal_was_sent_or_until_another_holds_the_lease() {
        let mut candidate = Candidate::new("a", TIMING);
        assert_eq!(candidate.leads_until(SECOND), None);
        candidate.renewed(SECOND);
        assert_eq!(candidate.leads_until(SECOND * 10), Some(SECOND * 11));
        assert_eq!(candidate.leads_until(SECOND * 11), None);
        candidate.renewed(SECOND * 12);
        candidate.next_step(Some(&held_by("b", 1)), SECOND * 13);
        assert_eq!(candidate.leads_until(SECOND * 13), None);
    }

    // A model of two candidates with the code above. Every order of their calls is explored, with reads and writes that take any
    // time, writes that fail, answers that are lost, and clocks that differ in time and in speed.

    /// The times of the model: those above in units of 3 seconds.
    const LEASE: u8 = 5;
    const DEADLINE: u8 = 3;

    const CLOCK_ADVANCES: &str = "sees its clock advance";

    /// The present on the clock of each candidate. They differ by an hour.
    const CLOCKS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(3610)];

    /// A call of a candidate. The version is the one that it read.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    enum Call {
        None,
        Read { version: u8, holder: Option<u8> },
        Sent { version: u8, sent: u8 },
        Executed { sent: u8, is_done: bool },
    }

    /// Versions and times are relative to the present, and those that no longer matter are capped, so that the number of
    /// states is finite.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Process {
        call: Call,
        /// How many versions ago the version was written that was last seen, and for how long it is seen.
        seen: Option<(u8, u8)>,
        /// How much longer the process leads.
        leads: u8,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct State {
        holder: Option<u8>,
        processes: [Process; 2],
        /// How far each clock is ahead of the other, which is the drift since the start.
        ahead: [u8; 2],
    }

    /// Versions older than this are all alike: a write that is guarded by one fails.
    const OLD: u8 = 9;

    impl State {
        /// The candidate of the code above that is in the state of a process.
        fn candidate(&self, index: usize) -> Candidate {
            let process = &self.processes[index];
            let mut candidate = Candidate::new(&index.to_string(), timing());
            candidate.seen = process.seen.map(|(age, since)| {
                let holder = (1 - index).to_string();
                (held_by(&holder, u64::from(OLD - age)), CLOCKS[index] - SECOND * u32::from(since))
            });
            candidate.leads_until = (process.leads > 0).then(|| CLOCKS[index] + SECOND * u32::from(process.leads));
            candidate
        }

        fn put(&mut self, index: usize, candidate: &Candidate) {
            let process = &mut self.processes[index];
            process.seen = candidate.seen.as_ref().map(|(record, since)| {
                let version: u8 = record.renewed.as_deref().unwrap_or_default().parse().expect("is a version");
                (OLD - version, (CLOCKS[index] - *since).as_secs() as u8)
            });
            process.leads = candidate.leads_until(CLOCKS[index]).map_or(0, |end| (end - CLOCKS[index]).as_secs() as u8);
        }

        /// A write of the Lease makes each known version one older.
        fn write(&mut self, holder: Option<u8>) {
            self.holder = holder;
            for process in &mut self.processes {
                if let Call::Read { version, .. } | Call::Sent { version, .. } = &mut process.call {
                    *version = (*version + 1).min(OLD);
                }
                if let Some((age, _)) = &mut process.seen {
                    *age = (*age + 1).min(OLD);
                }
            }
        }

        /// All states that one step leads to, with the candidate and the name of the step.
        fn next(&self, drift: u8) -> Vec<(usize, &'static str, Self)> {
            let mut next = Vec::new();
            let mut add = |index: usize, name: &'static str, change: &dyn Fn(&mut Self)| {
                let mut state = self.clone();
                change(&mut state);
                next.push((index, name, state));
            };
            for (index, process) in self.processes.iter().enumerate() {
                let me = index as u8;
                if self.ahead[index] < drift {
                    add(index, CLOCK_ADVANCES, &|state| {
                        state.ahead[index] += 1;
                        let both = state.ahead[0].min(state.ahead[1]);
                        state.ahead = state.ahead.map(|steps| steps - both);
                        let process = &mut state.processes[index];
                        process.leads = process.leads.saturating_sub(1);
                        if let Some((_, since)) = &mut process.seen {
                            *since = (*since + 1).min(LEASE);
                        }
                        if let Call::Sent { sent, .. } | Call::Executed { sent, .. } = &mut process.call {
                            *sent = (*sent + 1).min(DEADLINE);
                        }
                    });
                }
                match process.call.clone() {
                    Call::None => add(index, "reads the Lease", &|state| {
                        state.processes[index].call = Call::Read { version: 0, holder: state.holder };
                    }),
                    Call::Read { version, holder } => add(index, "decides", &|state| {
                        let mut candidate = state.candidate(index);
                        let record = match holder {
                            Some(holder) => held_by(&holder.to_string(), u64::from(OLD - version)),
                            None => Record::default(),
                        };
                        let step = candidate.next_step(Some(&record), CLOCKS[index]);
                        state.put(index, &candidate);
                        state.processes[index].call = match step {
                            Step::Wait => Call::None,
                            Step::Create | Step::Take | Step::Renew => Call::Sent { version, sent: 0 },
                        };
                    }),
                    Call::Sent { version, sent } => {
                        add(index, "has its write executed", &|state| {
                            let is_done = version == 0;
                            if is_done {
                                state.write(Some(me));
                            }
                            state.processes[index].call = Call::Executed { sent, is_done };
                        });
                        add(index, "has its write lost", &|state| {
                            state.processes[index].call = Call::None;
                        });
                    }
                    Call::Executed { sent, is_done } => {
                        add(index, "receives the answer", &|state| {
                            let mut candidate = state.candidate(index);
                            if is_done {
                                candidate.renewed(CLOCKS[index] - SECOND * u32::from(sent));
                            }
                            state.put(index, &candidate);
                            state.processes[index].call = Call::None;
                        });
                        add(index, "has the answer lost", &|state| {
                            state.processes[index].call = Call::None;
                        });
                    }
                }
            }
            next
        }
    }

    fn timing() -> Timing {
        Timing { lease: SECOND * LEASE.into(), deadline: SECOND * DEADLINE.into() }
    }

    /// The number of states that can be reached if each clock drifts at most this far ahead of the other, and the steps to
    /// the first one with two leaders.
    fn explore(drift: u8) -> (usize, Option<Vec<(usize, &'static str)>>) {
        let idle = Process { call: Call::None, seen: None, leads: 0 };
        let start = State { holder: None, processes: [idle.clone(), idle], ahead: [0, 0] };
        let mut states = vec![(start.clone(), 0, (0, ""))];
        let mut known = HashSet::from([start]);
        let mut queue = VecDeque::from([0]);
        while let Some(index) = queue.pop_front() {
            let state = states[index].0.clone();
            if state.processes.iter().all(|process| process.leads > 0) {
                let mut story = Vec::new();
                let mut at = index;
                while at > 0 {
                    story.push(states[at].2);
                    at = states[at].1;
                }
                story.reverse();
                return (states.len(), Some(story));
            }
            for (process, name, next) in state.next(drift) {
                if known.insert(next.clone()) {
                    states.push((next, index, (process, name)));
                    queue.push_back(states.len() - 1);
                }
            }
        }
        (states.len(), None)
    }

    #[test]
    fn never_has_two_leaders_in_any_order_of_calls() {
        let (states, story) = explore(1);
        assert_eq!(story, None);
        assert!(states > 10_000, "{states}");
    }

    #[test]
    fn has_two_leaders_only_if_a_clock_drifts_further_than_the_margin() {
        let (_, story) = explore(2);
        let story = story.expect("5 units of one clock pass during 2 of the other");
        let advances = |index| story.iter().filter(|step| **step == (index, CLOCK_ADVANCES)).count();
        assert!(advances(0).abs_diff(advances(1)) <= 2, "{story:#?}");
    }
}
