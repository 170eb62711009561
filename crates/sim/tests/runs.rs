//! Runs as a whole.

use privatix_sim::{Expect, Kind, Scenario, World, run};

fn failure(scenario: &Scenario) -> String {
    run(scenario).err().map(|failure| failure.to_string()).unwrap_or_default()
}

#[test]
fn a_seed_replays() {
    for seed in 1..6 {
        let scenario = Scenario::random(seed);
        assert_eq!(scenario, Scenario::random(seed));
        let counts = run(&scenario).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(run(&scenario).ok(), Some(counts), "seed {seed}");
    }
}

#[test]
fn an_honest_channel_comes_to_its_end() {
    let world = World { clients: vec![Kind::Honest], ..World::default() };
    let scenario = Scenario { seed: 1, world, steps: Vec::new(), expect: Expect::default() };
    assert_eq!(failure(&scenario), "");
}
