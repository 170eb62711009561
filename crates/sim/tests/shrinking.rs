//! Failing runs are made smaller, and what is left is a scenario file.

use std::process::Command;

use privatix_sim::{Expect, Fault, Kind, Move, Rule, Scenario, Step, What, World, run, shrink};

/// One voucher among much else. It is expected that nothing is paid, so that the voucher breaks the expectation.
fn failing() -> Scenario {
    let world = World { clients: vec![Kind::Scripted; 3], ..World::default() };
    let use_at = |at| Step { at, who: 0, what: What::Do(Move::Use(1)) };
    let mut steps: Vec<_> = (1..20).map(|n| use_at(n * 60_000)).collect();
    steps.push(Step { at: 400_000, who: 0, what: What::Do(Move::Pay(100)) });
    steps.push(Step { at: 500_000, who: 2, what: What::Fault(Fault::Reorg(2)) });
    let expect = Expect { paid: vec![0], ..Expect::default() };
    Scenario { seed: 1, world, steps, expect }
}

#[test]
fn a_failing_run_shrinks_to_its_cause() {
    let smallest = shrink(*run(&failing()).unwrap_err(), 400);
    let pays = Step { at: 400_000, who: 0, what: What::Do(Move::Pay(100)) };
    assert_eq!(smallest.scenario.steps, [pays]);
    assert_eq!(smallest.scenario.world.clients, [Kind::Scripted]);
    assert_eq!(smallest.violation.rule, Rule::Expected);
}

#[test]
fn what_is_left_fails_alike_as_a_scenario_file() {
    let smallest = shrink(*run(&failing()).unwrap_err(), 400);
    let folder = std::env::temp_dir().join(format!("privatix_sim_failures_{}", std::process::id()));
    let file = smallest.write(&folder).unwrap();
    assert_eq!(file, folder.join("seed_1.toml"));
    let scenario: Scenario = toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(scenario, smallest.scenario);
    assert_eq!(run(&scenario).unwrap_err().violation, smallest.violation);
}

#[test]
fn shrinking_tries_no_more_runs_than_it_may() {
    assert_eq!(shrink(*run(&failing()).unwrap_err(), 0).scenario, failing());
}

#[test]
fn a_failing_scenario_ends_the_program_with_a_failure() {
    let file = std::env::temp_dir().join(format!("privatix_sim_{}.toml", std::process::id()));
    std::fs::write(&file, toml::to_string(&failing()).unwrap()).unwrap();
    let program = env!("CARGO_BIN_EXE_privatix-sim");
    let output = Command::new(program).arg("--scenario").arg(&file).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(!output.status.success());
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("expectation of the scenario: a payment of 0, and it is 100"), "{shown}");
}
