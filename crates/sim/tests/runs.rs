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

#[test]
fn every_scenario_file_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let scenario: Scenario = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(failure(&scenario), "", "{}", path.display());
        count += 1;
    }
    assert!(count > 3, "{count} files");
}

#[test]
fn a_scenario_is_read_as_it_was_written() {
    for seed in 1..40 {
        let scenario = Scenario::random(seed);
        let text = toml::to_string(&scenario).unwrap();
        assert!(toml::from_str::<Scenario>(&text).unwrap() == scenario, "{text}");
    }
}
