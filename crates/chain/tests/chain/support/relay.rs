use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Carries TCP connections to a node, until it is told to cut them.
pub struct Relay {
    address: std::net::SocketAddr,
    state: Arc<watch::Sender<Line>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum Line {
    Up,
    /// Connections are closed, those there are and new ones.
    Cut,
}

impl Relay {
    /// To `url`, of any scheme.
    pub async fn start(url: &str) -> Self {
        let target = url.rsplit('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(Line::Up));
        let line = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut line = line.subscribe();
                if *line.borrow() == Line::Cut {
                    continue;
                }
                let target = target.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = carry(client, &target) => {}
                        _ = line.wait_for(|line| *line == Line::Cut) => {}
                    }
                });
            }
        });
        Self { address, state, task }
    }

    /// Its address, with the scheme `http` or `ws`.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    pub fn cut(&self) {
        self.state.send_replace(Line::Cut);
    }

    pub fn mend(&self) {
        self.state.send_replace(Line::Up);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, target: &str) {
    if let Ok(mut node) = TcpStream::connect(target).await {
        // How a connection ends is its ends' business.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
    }
}
