//! A way between two sides that can be cut and opened again.

use std::net::{Ipv4Addr, SocketAddr};

use privatix_demo::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a port of this machine, while it is open.
pub(crate) struct Relay {
    port: u16,
    open: watch::Sender<bool>,
}

impl Relay {
    /// Listens for what is to reach `to`.
    pub(crate) async fn start(to: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(pass(from, SocketAddr::from((Ipv4Addr::LOCALHOST, to)), is_open.clone()));
            }
        });
        Ok(Self { port, open })
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection, and each new one at once.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Passes connections on again.
    pub(crate) fn restore(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(mut from: TcpStream, to: SocketAddr, mut is_open: watch::Receiver<bool>) {
    if !*is_open.borrow() {
        return;
    }
    let passing = async {
        if let Ok(mut to) = TcpStream::connect(to).await {
            let _ = copy_bidirectional(&mut from, &mut to).await; // either side has gone
        }
    };
    tokio::select! {
        () = passing => {}
        _ = is_open.wait_for(|open| !open) => {}
    }
}
