//! Whether clients can come in where a daemon announces itself: over the family of addresses that it listens on.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use privatix_net::Resolver;

/// A name or address that others are given, and where this machine listens for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The setting with the name or address, e.g. `somc.announce`.
    pub setting: &'static str,
    /// The name, or the address without brackets.
    pub host: String,
    /// The setting with the address that is listened on, e.g. `somc.listen`.
    pub listen_setting: &'static str,
    /// Its value.
    pub listen: SocketAddr,
}

/// What stands between clients and a daemon, as a sentence for each trouble.
pub(crate) async fn troubles(announced: &[Announced]) -> Vec<String> {
    let (names, mut found) = (Resolver::system().share(), Vec::new());
    for one in announced {
        // Somebody forwards connections to a loopback address, which decides on their family; unless loopback is all
        // that is announced.
        let literal = one.host.parse::<IpAddr>().ok();
        if one.listen.ip().is_loopback() && !literal.is_some_and(|address| address.is_loopback()) {
            continue;
        }
        let addresses = match literal {
            Some(address) => vec![address],
            None => names.lookup(&one.host).await.unwrap_or_default(),
        };
        found.extend(trouble(one, &addresses));
    }
    found
}

/// The trouble with an announced host that has these addresses, if there is any.
fn trouble(announced: &Announced, addresses: &[IpAddr]) -> Option<String> {
    let Announced { setting, host, listen_setting, listen } = announced;
    if addresses.is_empty() {
        return Some(format!(
            "{setting}: the name {host} has no address here; check its spelling and its DNS records"
        ));
    }
    let meets = |address: &IpAddr| match listen.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
        IpAddr::V6(_) => address.to_canonical().is_ipv6(),
        IpAddr::V4(_) => address.to_canonical().is_ipv4(),
    };
    if addresses.iter().any(meets) {
        return None;
    }
    let (has, takes) = if listen.is_ipv4() { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
    Some(format!(
        "{setting}: {host} has an {has} address only, but {listen_setting} is {listen}, which takes {takes} connections \
         only, so clients cannot come in: set {listen_setting} to \"[::]:{}\"",
        listen.port()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(host: &str, listen: &str) -> Announced {
        Announced {
            setting: "somc.announce",
            host: host.to_owned(),
            listen_setting: "somc.listen",
            listen: listen.parse().unwrap(),
        }
    }

    #[test]
    fn families_that_cannot_meet_are_found() {
        let v4 = "192.0.2.1".parse().unwrap();
        let v6 = "2001:db8::1".parse().unwrap();
        let check = |listen: &str, addresses: &[IpAddr]| trouble(&announced("h.example", listen), addresses);
        for (listen, addresses) in [
            ("[::]:9500", &[v4][..]),
            ("[::]:9500", &[v6]),
            ("0.0.0.0:9500", &[v4]),
            ("0.0.0.0:9500", &[v6, v4]),
            ("[2001:db8::1]:9500", &[v6]),
            ("192.0.2.7:9500", &["::ffff:192.0.2.7".parse().unwrap()]),
        ] {
            assert_eq!(check(listen, addresses), None, "{listen} {addresses:?}");
        }
        let said = check("0.0.0.0:9500", &[v6]).unwrap();
        for part in ["h.example", "IPv6", "IPv4", "somc.announce", "somc.listen", "\"[::]:9500\""] {
            assert!(said.contains(part), "{said}");
        }
        assert!(check("[2001:db8::1]:9500", &[v4]).is_some());
        assert!(check("[::]:9500", &[]).unwrap().contains("no address"));
    }

    #[tokio::test]
    async fn whoever_forwards_to_loopback_decides_on_the_family() {
        let found = async |host, listen| troubles(&[announced(host, listen)]).await.len();
        assert_eq!(found("2001:db8::1", "127.0.0.1:9500").await, 0);
        assert_eq!(found("agent.invalid", "127.0.0.1:9500").await, 0, "not even looked up");
        assert_eq!(found("::1", "127.0.0.1:9500").await, 1);
        assert_eq!(found("::1", "0.0.0.0:9500").await, 1);
        assert_eq!(found("::1", "[::]:9500").await, 0);
    }
}
