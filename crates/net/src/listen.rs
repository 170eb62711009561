//! How the servers of both daemons listen.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};

/// As `TcpListener::bind` of Tokio.
const BACKLOG: u32 = 1024;

/// Listens on `address`; port 0 takes any free one.
///
/// `[::]` stands for every address of both families, whatever the system's default is (`net.ipv6.bindv6only`), and for
/// every IPv4 address on a machine without IPv6. IPv4 peers then have mapped addresses (`::ffff:192.0.2.1`).
///
/// # Errors
/// Those of the system, e.g. for a port in use.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return TcpListener::bind(address).await;
    }
    match listen_on_both(address) {
        Err(error) if lacks_ipv6(&error) => {
            let only: SocketAddr = (Ipv4Addr::UNSPECIFIED, address.port()).into();
            tracing::warn!(wanted = %address, listen = %only, %error, "this machine has no IPv6, so IPv4 is listened on alone");
            TcpListener::bind(only).await
        }
        listener => listener,
    }
}

fn listen_on_both(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?; // so that a restart need not wait for old connections to be forgotten
    set_ipv6_v6only(&socket, false)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether an error says that there is no IPv6: compiled without it, or switched off.
fn lacks_ipv6(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| {
        [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT].contains(&errno)
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn the_unspecified_address_of_version_6_is_reached_over_both_families() {
        let listener = listen("[::]:0".parse().unwrap()).await.unwrap();
        let local = listener.local_addr().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, local.port())).await.unwrap();
        // Without IPv6 on this machine nobody could ask for it.
        if local.is_ipv6() && std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, local.port())).await.unwrap();
        }
    }

    #[tokio::test]
    async fn other_addresses_are_listened_on_as_they_are() {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let address: SocketAddr = address.parse().unwrap();
            let listener = listen(address).await.unwrap();
            assert_eq!(listener.local_addr().unwrap().ip(), address.ip());
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_for_both_families() {
        let taken = listen("[::]:0".parse().unwrap()).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = listen((Ipv6Addr::UNSPECIFIED, port).into()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_machine_without_ipv6_is_told_from_a_port_in_use() {
        assert!(lacks_ipv6(&Errno::AFNOSUPPORT.into()));
        assert!(lacks_ipv6(&Errno::ADDRNOTAVAIL.into()));
        assert!(!lacks_ipv6(&Errno::ADDRINUSE.into()));
        assert!(!lacks_ipv6(&Errno::ACCESS.into()));
        assert!(!lacks_ipv6(&io::Error::other("not the system's")));
    }
}
