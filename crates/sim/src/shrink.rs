//! Makes a failing scenario smaller: leaves out steps, then clients, as long as the same invariant fails.

use crate::run::{Failure, run};
use crate::scenario::{Scenario, Step};

/// The smallest scenario that was found to break the same invariant. It tries at most `most` runs.
pub fn shrink(failure: Failure, most: u32) -> Failure {
    let mut shrinking = Shrinking { smallest: failure, left: most };
    shrinking.steps();
    shrinking.clients();
    shrinking.smallest
}

struct Shrinking {
    smallest: Failure,
    left: u32,
}

impl Shrinking {
    /// Whether a scenario fails alike; it is the smallest then.
    fn fails(&mut self, scenario: &Scenario) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        let Err(failure) = run(scenario) else { return false };
        // Another fault may be hidden in the same run.
        if failure.violation.rule != self.smallest.violation.rule {
            return false;
        }
        self.smallest = *failure;
        true
    }

    /// Delta debugging: leaves out ever smaller parts of the steps.
    fn steps(&mut self) {
        let mut part = self.smallest.scenario.steps.len().div_ceil(2);
        while part > 0 && self.left > 0 {
            let mut first = 0;
            while first < self.smallest.scenario.steps.len() {
                let mut scenario = self.smallest.scenario.clone();
                let last = (first + part).min(scenario.steps.len());
                scenario.steps.drain(first..last);
                if !self.fails(&scenario) {
                    first += part;
                }
            }
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
    }

    /// Fewer clients, if the steps are about the others.
    fn clients(&mut self) {
        while self.smallest.scenario.world.clients.len() > 1 {
            let mut scenario = self.smallest.scenario.clone();
            let last = scenario.world.clients.len() - 1;
            scenario.world.clients.pop();
            scenario.steps.retain(|step: &Step| step.who < last);
            if !self.fails(&scenario) {
                return;
            }
        }
    }
}
