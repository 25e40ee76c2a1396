//! Visits all reachable states, breadth first, and finds those in which it can end.
//!
//! A step that need not happen (people, faults) leads to more states, but nobody may rely on it. So the ends are the bottom
//! components of the graph without these steps: sets of states that reach each other and nothing else. Whatever the order of
//! the other steps is, as long as none of them is put off for ever, the system ends in one of these sets and visits each of
//! its states again and again. There the invariants must hold in every state, and no write of the reconciler may be left.

use std::fmt::Write as _;
use std::hash::BuildHasherDefault;

use indexmap::IndexSet;
use rustc_hash::FxHasher;

use crate::invariants;
use crate::model::{Model, State, Transition};
use crate::trace;

/// The result of an exploration in which nothing was found.
#[derive(Clone, Copy, Debug)]
pub struct Explored {
    /// The number of states.
    pub states: usize,
    /// The number of steps between them.
    pub steps: usize,
    /// The number of sets of states in which it can end.
    pub ends: usize,
    /// The most writes that the reconciler makes while nothing disturbs and no time passes.
    pub most_writes: usize,
}

/// A state that breaks an invariant, and how it is reached.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What is wrong.
    pub fault: String,
    /// The shortest way there, as text.
    pub trace: String,
}

const IS_WRITE: u32 = 1 << 31;
const IS_TIME: u32 = 1 << 30;
const TARGET: u32 = IS_TIME - 1;

type States = IndexSet<State, BuildHasherDefault<FxHasher>>;

/// The graph of the steps that are bound to happen.
struct Graph {
    states: States,
    parents: Vec<u32>,
    /// Where the steps of each state begin in `steps`.
    begins: Vec<u32>,
    steps: Vec<u32>,
    /// The first step that must never be made, and the state before it.
    forbidden: Option<(usize, Transition, &'static str)>,
}

/// Explores a model.
///
/// # Errors
/// The first fault that is found.
pub fn explore(model: &mut Model) -> Result<Explored, Box<Counterexample>> {
    let graph = Graph::of(model);
    if let Some((index, transition, fault)) = graph.forbidden {
        let (mut trace, state) = graph.way(model, index);
        trace.push_str(&trace::step(model, &state, &transition));
        let _ = writeln!(trace, "  Wrong: {fault}.");
        return Err(Box::new(Counterexample { fault: fault.to_owned(), trace }));
    }
    let (component_of, components) = components(&graph, |_| true);
    graph.check_ends(model, &component_of, components)?;
    let most_writes = graph.most_writes(model)?;
    let ends = graph.is_bottom(&component_of, components).iter().filter(|is_bottom| **is_bottom).count();
    Ok(Explored { states: graph.states.len(), steps: graph.steps.len(), ends, most_writes })
}

impl Graph {
    fn of(model: &mut Model) -> Self {
        let mut graph = Self {
            states: States::default(),
            parents: Vec::new(),
            begins: vec![0],
            steps: Vec::new(),
            forbidden: None,
        };
        for state in model.initial_states() {
            graph.insert(state, u32::MAX);
        }
        let mut index = 0;
        while let Some(state) = graph.states.get_index(index).copied().filter(|_| graph.forbidden.is_none()) {
            for transition in model.transitions(&state) {
                if let Some(fault) = invariants::forbidden(&state, &transition).filter(|_| graph.forbidden.is_none()) {
                    graph.forbidden = Some((index, transition, fault));
                }
                let target = graph.insert(transition.to, index as u32);
                if !transition.is_disturbance() {
                    let write = if transition.is_reconcilers_write() { IS_WRITE } else { 0 };
                    let time = if transition.is_time() { IS_TIME } else { 0 };
                    graph.steps.push(target | write | time);
                }
            }
            graph.begins.push(graph.steps.len() as u32);
            index += 1;
        }
        graph
    }

    fn insert(&mut self, state: State, parent: u32) -> u32 {
        let (index, is_new) = self.states.insert_full(state);
        if is_new {
            self.parents.push(parent);
        }
        let index = index as u32;
        assert!(index <= TARGET, "there are too many states");
        index
    }

    fn steps(&self, state: usize) -> &[u32] {
        &self.steps[self.begins[state] as usize..self.begins[state + 1] as usize]
    }

    fn is_bottom(&self, component_of: &[u32], components: usize) -> Vec<bool> {
        let mut is_bottom = vec![true; components];
        for state in 0..self.states.len() {
            let own = component_of[state];
            if self.steps(state).iter().any(|step| component_of[(step & TARGET) as usize] != own) {
                is_bottom[own as usize] = false;
            }
        }
        is_bottom
    }

    /// Returns whether every end keeps the invariants.
    fn check_ends(
        &self,
        model: &mut Model,
        component_of: &[u32],
        components: usize,
    ) -> Result<(), Box<Counterexample>> {
        let is_bottom = self.is_bottom(component_of, components);
        let is_at_war = model.scenario.autoscaler.is_some();
        for (index, state) in self.states.iter().enumerate() {
            if !is_bottom[component_of[index] as usize] {
                continue;
            }
            let broken = invariants::broken(&model.scenario, state);
            if !broken.is_empty() {
                return Err(self.counterexample(model, index, component_of, &broken.join("; ")));
            }
            if !is_at_war && self.steps(index).iter().any(|step| step & IS_WRITE != 0) {
                let fault = "the reconciler writes again and again, without end";
                return Err(self.counterexample(model, index, component_of, fault));
            }
        }
        Ok(())
    }

    /// The most writes of the reconciler on a way without disturbances on which no time passes.
    fn most_writes(&self, model: &mut Model) -> Result<usize, Box<Counterexample>> {
        let is_immediate = |step: u32| step & IS_TIME == 0;
        let (component_of, components) = components(self, is_immediate);
        let mut most = vec![0_usize; components];
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); components];
        for (state, component) in component_of.iter().enumerate() {
            members[*component as usize].push(state as u32);
        }
        // A component has a higher number than those that it leads to.
        for component in 0..components {
            let mut own = 0;
            for state in &members[component] {
                for step in self.steps(*state as usize).iter().filter(|step| is_immediate(**step)) {
                    let target = component_of[(step & TARGET) as usize] as usize;
                    let is_write = step & IS_WRITE != 0;
                    if target != component {
                        own = own.max(most[target] + usize::from(is_write));
                    } else if is_write {
                        let fault = "the reconciler writes again and again without a delay";
                        return Err(self.counterexample(model, *state as usize, &component_of, fault));
                    }
                }
            }
            most[component] = own;
        }
        Ok(most.into_iter().max().unwrap_or_default())
    }

    /// The shortest way to a state, as text, and the state.
    fn way(&self, model: &mut Model, index: usize) -> (String, State) {
        let mut path = vec![index];
        while let Some(parent) =
            path.last().and_then(|last| self.parents.get(*last)).filter(|parent| **parent != u32::MAX)
        {
            path.push(*parent as usize);
        }
        path.reverse();
        let states: Vec<State> = path.iter().map(|index| self.states[*index]).collect();
        let mut text = trace::begin(model, &states[0]);
        for pair in states.windows(2) {
            let transition = find(model, &pair[0], &pair[1]);
            text.push_str(&trace::step(model, &pair[0], &transition));
        }
        (text, states[states.len() - 1])
    }

    fn counterexample(
        &self,
        model: &mut Model,
        index: usize,
        component_of: &[u32],
        fault: &str,
    ) -> Box<Counterexample> {
        let (mut text, last) = self.way(model, index);
        let own = component_of[index];
        let goes_on: Vec<Transition> = model
            .transitions(&last)
            .into_iter()
            .filter(|transition| {
                let target = self.states.get_index_of(&transition.to);
                !transition.is_disturbance() && target.is_some_and(|target| component_of[target] == own)
            })
            .collect();
        if goes_on.is_empty() {
            text.push_str("  Nothing more happens.\n");
        } else {
            text.push_str("  It goes on without end:\n");
            let mut state = last;
            let mut seen = vec![last];
            while let Some(transition) = model.transitions(&state).into_iter().find(|transition| {
                let target = self.states.get_index_of(&transition.to);
                !transition.is_disturbance()
                    && target.is_some_and(|target| component_of[target] == own)
                    && (!seen.contains(&transition.to) || transition.to == last && seen.len() > 1)
            }) {
                text.push_str(&trace::step(model, &state, &transition));
                state = transition.to;
                if seen.contains(&state) || seen.len() > 40 {
                    break;
                }
                seen.push(state);
            }
        }
        let _ = writeln!(text, "  Wrong: {fault}.");
        Box::new(Counterexample { fault: fault.to_owned(), trace: text })
    }
}

/// The step from one state to another one.
fn find(model: &mut Model, from: &State, to: &State) -> Transition {
    let mut transitions = model.transitions(from).into_iter();
    transitions.find(|transition| transition.to == *to).expect("the step was there before")
}

/// The strongly connected components of the graph with some of its steps: the number of the component of each state, and how
/// many there are. Tarjan's algorithm without recursion; a component is numbered after those that it leads to.
fn components(graph: &Graph, is_used: impl Fn(u32) -> bool) -> (Vec<u32>, usize) {
    const UNSEEN: u32 = u32::MAX;
    let count = graph.states.len();
    let mut order = vec![UNSEEN; count];
    let mut low = vec![0_u32; count];
    let mut component_of = vec![UNSEEN; count];
    let mut stack = Vec::new();
    let mut next = 0_u32;
    let mut components = 0_u32;
    let mut calls: Vec<(usize, usize)> = Vec::new();
    for root in 0..count {
        if order[root] != UNSEEN {
            continue;
        }
        calls.push((root, 0));
        while let Some((state, position)) = calls.pop() {
            if position == 0 {
                order[state] = next;
                low[state] = next;
                next += 1;
                stack.push(state);
            }
            let steps = graph.steps(state);
            let mut position = position;
            let mut descended = false;
            while let Some(step) = steps.get(position) {
                position += 1;
                if !is_used(*step) {
                    continue;
                }
                let target = (step & TARGET) as usize;
                if order[target] == UNSEEN {
                    calls.push((state, position));
                    calls.push((target, 0));
                    descended = true;
                    break;
                }
                if component_of[target] == UNSEEN {
                    low[state] = low[state].min(order[target]);
                }
            }
            if descended {
                continue;
            }
            if low[state] == order[state] {
                while let Some(member) = stack.pop() {
                    component_of[member] = components;
                    if member == state {
                        break;
                    }
                }
                components += 1;
            }
            if let Some((parent, _)) = calls.last() {
                low[*parent] = low[*parent].min(low[state]);
            }
        }
    }
    (component_of, components as usize)
}
