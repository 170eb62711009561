//! What nodes serve over their directory ports, and what a client needs to know of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{Relay, node::Node};

/// What a client needs of every relay.
const FLAGS: [&str; 7] = ["Fast", "Guard", "HSDir", "Running", "Stable", "V2Dir", "Valid"];
/// What it needs of those that are no authorities beside that. Authorities are never measured.
const FURTHER_FLAGS: [&str; 2] = ["Exit", MEASURED];
/// Not a flag of the consensus, but as good as one.
const MEASURED: &str = "Measured";

/// A directory document over plain HTTP; `None` while the node has none or does not answer.
pub(super) async fn fetch(http: &reqwest::Client, relay: &Relay, path: &str) -> Option<String> {
    let url = format!("http://127.0.0.1:{}{path}", relay.dir_port);
    let answer = http.get(url).send().await.ok()?;
    answer.error_for_status().ok()?.text().await.ok()
}

/// The relays that have a descriptor in `descriptors`.
pub(super) fn described(descriptors: &str) -> BTreeSet<String> {
    let name = |line: &str| Some(line.strip_prefix("router ")?.split(' ').next()?.to_owned());
    descriptors.lines().filter_map(name).collect()
}

/// Where a node serves the microdescriptors that are listed in `consensus`.
pub(super) fn microdescriptors_path(consensus: &Consensus) -> String {
    format!("/tor/micro/d/{}", consensus.digests.join("-"))
}

/// How many there are in an answer.
pub(super) fn microdescriptors(answer: &str) -> usize {
    answer.lines().filter(|line| *line == "onion-key").count()
}

/// What counts of a consensus.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Consensus {
    /// The relays with their flags.
    relays: BTreeMap<String, BTreeSet<String>>,
    /// The names of their microdescriptors.
    digests: Vec<String>,
}

impl Consensus {
    /// Reads a microdescriptor consensus.
    pub(super) fn parse(document: &str) -> Self {
        let mut relays = BTreeMap::<String, BTreeSet<String>>::new();
        let (mut flags, mut digests) = (None, Vec::new());
        for line in document.lines() {
            match line.split_once(' ') {
                Some(("r", rest)) => {
                    let name = rest.split(' ').next().unwrap_or_default();
                    flags = Some(relays.entry(name.to_owned()).or_default());
                }
                Some(("s", rest)) => {
                    if let Some(flags) = &mut flags {
                        flags.extend(rest.split(' ').map(str::to_owned));
                    }
                }
                Some(("m", rest)) => digests.push(rest.to_owned()),
                Some(("w", rest)) if !rest.contains("Unmeasured") => {
                    if let Some(flags) = &mut flags {
                        flags.insert(MEASURED.to_owned());
                    }
                }
                _ => {}
            }
        }
        Self { relays, digests }
    }

    /// What clients would miss in it; `None` when it is complete.
    pub(super) fn missing(&self, relays: &[Relay]) -> Option<String> {
        relays.iter().find_map(|relay| {
            let name = &relay.name;
            let Some(found) = self.relays.get(name) else { return Some(format!("it does not list {name}")) };
            let further = if relay.is_authority { &[][..] } else { &FURTHER_FLAGS };
            let lacking: Vec<_> =
                FLAGS.iter().chain(further).filter(|&&flag| !found.contains(flag)).copied().collect();
            (!lacking.is_empty()).then(|| format!("{name} lacks {}", lacking.join(", ")))
        })
    }
}

/// The part of arti's client configuration by which it finds this network.
pub(super) fn arti_toml(nodes: &[Node]) -> String {
    let mut fallbacks = String::new();
    for Relay { rsa_identity, ed_identity, or_port, .. } in nodes.iter().map(|node| &node.relay) {
        // Writing to a string does not fail.
        let _ = writeln!(
            fallbacks,
            "    {{ rsa_identity = \"{rsa_identity}\", ed_identity = \"{ed_identity}\", orports = [\"127.0.0.1:{or_port}\"] }},"
        );
    }
    let authorities = nodes.iter().filter_map(|node| Some((node.v3_identity.as_ref()?, node.relay.dir_port)));
    let (ids, ports): (Vec<_>, Vec<_>) =
        authorities.map(|(id, port)| (format!("\"{id}\""), format!("[\"127.0.0.1:{port}\"]"))).unzip();
    let (ids, ports) = (ids.join(", "), ports.join(", "));
    format!(
        "[tor_network]\n\
         fallback_caches = [\n{fallbacks}]\n\n\
         [tor_network.authorities]\n\
         v3idents = [{ids}]\n\
         uploads = [{ports}]\n\
         downloads = [{ports}]\n\
         votes = [{ports}]\n\n\
         # Longer than an address: no two relays are of one family merely for being on 127.0.0.1.\n\
         [path_rules]\n\
         ipv4_subnet_family_prefix = 33\n\
         ipv6_subnet_family_prefix = 129\n\n\
         [address_filter]\n\
         allow_local_addrs = true\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(name: &str, is_authority: bool) -> Relay {
        Relay {
            name: name.to_owned(),
            is_authority,
            or_port: 1,
            dir_port: 2,
            rsa_identity: String::new(),
            ed_identity: String::new(),
        }
    }

    const COMPLETE: &str = "\
network-status-version 3 microdesc
valid-after 2026-11-26 01:07:13
r auth00 AAAA 2026-11-26 01:07:00 127.0.0.1 1 2
m aa+a/a
s Authority Fast Guard HSDir Running Stable V2Dir Valid
w Bandwidth=0 Unmeasured=1
r relay03 BBBB 2026-11-26 01:07:00 127.0.0.1 3 4
m bbbb
s Exit Fast Guard HSDir Running Stable V2Dir Valid
w Bandwidth=10000
";

    #[test]
    fn a_consensus_is_complete_when_every_relay_has_what_clients_need() {
        let relays = [relay("auth00", true), relay("relay03", false)];
        let missing = |document: &str| Consensus::parse(document).missing(&relays);
        assert_eq!(missing(COMPLETE), None);
        assert_eq!(missing("").as_deref(), Some("it does not list auth00"));
        let unstable = COMPLETE.replacen(" Stable", "", 1);
        assert_eq!(missing(&unstable).as_deref(), Some("auth00 lacks Stable"));
        let unmeasured = COMPLETE.replace("=10000", "=20 Unmeasured=1").replace(" Exit", "");
        assert_eq!(missing(&unmeasured).as_deref(), Some("relay03 lacks Exit, Measured"));
    }

    #[test]
    fn the_microdescriptors_of_a_consensus_are_asked_for_and_counted() {
        assert_eq!(microdescriptors_path(&Consensus::parse(COMPLETE)), "/tor/micro/d/aa+a/a-bbbb");
        assert_eq!(microdescriptors("onion-key\n-----\nntor-onion-key x\nonion-key\n"), 2);
    }

    #[test]
    fn descriptors_are_found_by_name() {
        let text = "router auth00 127.0.0.1 1 0 2\nplatform Tor\nrouter relay03 127.0.0.1 3 0 4\n";
        assert_eq!(described(text), BTreeSet::from(["auth00".to_owned(), "relay03".to_owned()]));
    }
}
