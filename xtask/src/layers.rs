//! The layers of the workspace: a crate depends on crates of lower layers only, and the crates that hold decisions
//! know no I/O.
//!
//! Checked on dependencies as the manifests declare them; what tests and benches use does not count.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata};

/// The crates from the lowest layer to the highest. Those of one layer do not know each other.
pub const LAYERS: &[&[&str]] = &[
    &["privatix-channel", "privatix-db", "privatix-net", "privatix-socket-queue"],
    &["privatix-billing", "privatix-contracts", "privatix-jobs"],
    &["privatix-offering", "privatix-testkit"],
    &["privatix-market"],
    &["privatix-chain", "privatix-store", "privatix-somc", "privatix-adapter", "privatix-sim"],
    &["privatix-plugin-proxy", "privatix-tor"],
    &["privatix-node"],
    &["privatix-agent", "privatix-client"],
    &["privatix-api"],
    &["privatix-daemon"],
    &["privatix-agentd", "privatix-clientd"],
    &["privatix-examples", "privatix-demo", "privatix-deploy", "privatix-plans", "xtask"],
    &["privatix-torture"],
    &["privatix-tests"],
];

/// Crates that must stay ignorant of others even though those lie lower, directly or through any other crate.
pub const MUST_NOT_KNOW: &[(&str, &[&str])] = &[
    // Usable by any project, without a word of the marketplace.
    ("privatix-jobs", &["privatix-channel"]),
    ("privatix-db", &["privatix-channel"]),
    ("privatix-net", &["privatix-channel", "privatix-db"]),
    ("privatix-somc", &["privatix-contracts", "privatix-db"]),
    ("privatix-adapter", &["privatix-billing", "privatix-contracts", "privatix-db"]),
    ("privatix-plugin-proxy", &["privatix-billing", "privatix-contracts", "privatix-db"]),
    ("privatix-chain", &["privatix-billing", "privatix-channel", "privatix-market", "privatix-offering"]),
    ("privatix-market", &["privatix-contracts", "privatix-db", "privatix-jobs", "privatix-net"]),
    ("privatix-store", &["privatix-contracts"]),
    ("privatix-tor", &["privatix-contracts", "privatix-db"]),
    // Whoever embeds a role and wants no Tor does not build it.
    ("privatix-api", &["privatix-tor"]),
];

/// Crates of pure decisions.
pub const PURE: &[&str] = &["privatix-channel", "privatix-billing", "privatix-offering", "privatix-market"];

/// What a pure crate must not depend on, directly or through others.
pub const IMPURE: &[&str] = &[
    "alloy-provider",
    "alloy-transport",
    "axum",
    "diesel",
    "diesel-async",
    "hyper",
    "jsonrpsee",
    "reqwest",
    "tokio",
];

/// Each package's normal and build dependencies, by name.
pub type Edges = BTreeMap<String, BTreeSet<String>>;

/// The declared dependencies of the workspace's packages.
pub fn edges(metadata: &Metadata) -> Edges {
    let counts = |kind: DependencyKind| matches!(kind, DependencyKind::Normal | DependencyKind::Build);
    let of = |package: &cargo_metadata::Package| {
        let names = package.dependencies.iter().filter(|dep| counts(dep.kind)).map(|dep| dep.name.clone());
        (package.name.to_string(), names.collect())
    };
    metadata.workspace_packages().into_iter().map(of).collect()
}

/// Every breach of the layers, as a sentence.
pub fn breaches(edges: &Edges) -> Vec<String> {
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let mut found = Vec::new();
    for (package, dependencies) in edges {
        let Some(own) = layer(package) else {
            found.push(format!("{package} has no layer: give it one in xtask/src/layers.rs"));
            continue;
        };
        for dependency in dependencies {
            if layer(dependency).is_some_and(|other| other >= own) {
                found.push(format!("{package} depends on {dependency}, which is not in a lower layer"));
            }
        }
    }
    for (package, forbidden) in MUST_NOT_KNOW {
        let known = reachable(edges, package);
        for name in forbidden.iter().filter(|name| known.contains(**name)) {
            found.push(format!("{package} must not know {name}"));
        }
    }
    found
}

/// All packages of the workspace that `package` depends on, directly or not.
fn reachable<'a>(edges: &'a Edges, package: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![package];
    while let Some(name) = open.pop() {
        for next in edges.get(name).into_iter().flatten() {
            if seen.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    seen
}

/// The names in `cargo tree --prefix none --format {p}` that a pure crate must not depend on.
pub fn impurities(tree: &str) -> Vec<String> {
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    IMPURE.iter().filter(|name| names.contains(*name)).map(|&name| name.to_owned()).collect()
}
