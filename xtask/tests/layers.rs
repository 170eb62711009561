//! The workspace keeps its layers, and the check that says so finds a breach.

use std::collections::{BTreeMap, BTreeSet};

use xtask::{command, layers, metadata};

fn made_up(edges: &[(&str, &[&str])]) -> layers::Edges {
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    edges.iter().map(|(package, names)| ((*package).to_owned(), set(names))).collect::<BTreeMap<_, _>>()
}

#[test]
fn no_crate_of_the_workspace_depends_on_a_higher_layer() {
    let edges = layers::edges(&metadata::load().unwrap());
    assert!(edges["privatix-agent"].len() > 3, "the dependencies are read: {edges:?}");
    let breaches = layers::breaches(&edges);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn every_layered_crate_exists() {
    let edges = layers::edges(&metadata::load().unwrap());
    let restricted = layers::MUST_NOT_KNOW.iter().flat_map(|(name, others)| others.iter().chain([name]));
    for name in layers::LAYERS.iter().copied().flatten().chain(restricted).chain(layers::PURE) {
        assert!(edges.contains_key(*name), "{name} is in xtask/src/layers.rs but not in the workspace");
    }
}

#[test]
fn a_dependency_that_points_up_or_sideways_is_found() {
    let up = made_up(&[("privatix-channel", &["serde", "privatix-store"]), ("privatix-store", &[])]);
    assert_eq!(
        layers::breaches(&up),
        ["privatix-channel depends on privatix-store, which is not in a lower layer"]
    );
    let sideways = made_up(&[("privatix-agent", &["privatix-client"]), ("privatix-client", &[])]);
    assert_eq!(layers::breaches(&sideways).len(), 1);
    let down = made_up(&[("privatix-agent", &["privatix-channel"]), ("privatix-channel", &[])]);
    assert!(layers::breaches(&down).is_empty());
}

#[test]
fn a_crate_without_a_layer_is_found() {
    let breaches = layers::breaches(&made_up(&[("privatix-new", &[])]));
    assert_eq!(breaches, ["privatix-new has no layer: give it one in xtask/src/layers.rs"]);
}

#[test]
fn what_a_crate_must_not_know_is_found_behind_another_crate() {
    let edges = made_up(&[
        ("privatix-somc", &["privatix-offering"]),
        ("privatix-offering", &["privatix-contracts"]),
        ("privatix-contracts", &["privatix-channel"]),
        ("privatix-channel", &[]),
    ]);
    assert_eq!(layers::breaches(&edges), ["privatix-somc must not know privatix-contracts"]);
}

#[test]
fn dev_dependencies_may_point_anywhere() {
    // `privatix-contracts` is tested on a node of the test kit, which deploys by `privatix-contracts`.
    let json = |kind: &str| {
        format!(
            r#"{{"packages":[{{"name":"privatix-channel","version":"0.1.0","id":"a","dependencies":[{{
            "name":"privatix-store","req":"*","kind":{kind},"optional":false,"uses_default_features":true,
            "features":[]}}],"targets":[],"features":{{}},"manifest_path":"/a/Cargo.toml"}}],
            "workspace_members":["a"],"workspace_default_members":["a"],"target_directory":"/t",
            "workspace_root":"/a","version":1}}"#
        )
    };
    let breaches = |kind: &str| {
        layers::breaches(&layers::edges(&cargo_metadata::MetadataCommand::parse(json(kind)).unwrap()))
    };
    assert!(breaches("\"dev\"").is_empty());
    assert_eq!(breaches("null").len(), 1, "a normal one");
    assert_eq!(breaches("\"build\"").len(), 1);
}

#[test]
fn the_crates_of_decisions_depend_on_no_runtime_database_or_endpoint() {
    for package in layers::PURE {
        let mut cargo = command::cargo();
        // Each alone: in the whole workspace alloy has the features that the others need.
        cargo.args(["tree", "--package", package, "--edges", "normal,build", "--prefix", "none"]);
        let tree = command::output(cargo.args(["--format", "{p}"])).unwrap();
        assert!(tree.starts_with(package), "{tree}");
        let impurities = layers::impurities(&tree);
        assert!(impurities.is_empty(), "{package} depends on {}", impurities.join(", "));
    }
}

#[test]
fn an_impure_dependency_is_found_in_a_tree() {
    let tree = "privatix-channel v0.1.0 (/p)\nserde v1.0.0\ntokio-util v0.7.0\ntokio v1.0.0\ndiesel v2.0.0\n";
    assert_eq!(layers::impurities(tree), ["diesel", "tokio"]);
    assert!(layers::impurities("privatix-channel v0.1.0 (/p)\ntokio-util v0.7.0\n").is_empty());
}
