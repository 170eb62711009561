use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use privatix_adapter::{
    About, Adapter, AdapterRefusal, Allowance, Configuration, Credentials, Health, Provision, Provisioned,
    Role, UsageReporter, async_trait,
};
use privatix_channel::{ChannelId, Usage};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{about, meter::Meter, quote};

/// A channel id, a space, a password.
const LONGEST_LOGIN: u64 = 256;
const PATIENCE: Duration = Duration::from_secs(10);

/// The seller's adapter: a server of quotations.
pub struct QuoteSeller {
    listen: SocketAddr,
    channels: Arc<Meter<Credentials>>,
    /// Where it listens, once configured.
    serving: Mutex<Option<(SocketAddr, AbortOnDropHandle<()>)>>,
}

impl QuoteSeller {
    /// A server that will listen on `listen`, an address that buyers reach.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, channels: Arc::default(), serving: Mutex::default() }
    }
}

impl std::fmt::Debug for QuoteSeller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuoteSeller").field("listen", &self.listen).finish_non_exhaustive()
    }
}

#[async_trait]
impl Adapter for QuoteSeller {
    fn about(&self) -> About {
        about(Role::Agent)
    }

    async fn configure(
        &self,
        configuration: Configuration,
        reporter: UsageReporter,
    ) -> Result<(), AdapterRefusal> {
        if configuration.role != Role::Agent {
            return Err(AdapterRefusal::WrongRole { role: configuration.role });
        }
        if self.serving.lock().is_some() {
            return Ok(());
        }
        let taken = |error: std::io::Error| AdapterRefusal::Unavailable {
            reason: format!("cannot listen on {}: {error}", self.listen),
            remedy: "choose another address".into(),
        };
        let listener = TcpListener::bind(self.listen).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        self.channels.configure(reporter);
        let server = tokio::spawn(serve(listener, Arc::clone(&self.channels)));
        *self.serving.lock() = Some((address, AbortOnDropHandle::new(server)));
        Ok(())
    }

    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
        let Provision::Sell { channel, credentials, used, up_to, .. } = provision else {
            return Err(AdapterRefusal::WrongRole { role: provision.role() });
        };
        self.channels.provision(channel, credentials, used, up_to)?;
        let address = self.serving.lock().as_ref().map(|(address, _)| *address);
        Ok(Provisioned { endpoint: json!({ "address": address.ok_or(AdapterRefusal::NotConfigured)? }) })
    }

    async fn start(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.channels.set_passing(channel, true)
    }

    async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.channels.set_passing(channel, false)
    }

    async fn resume(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.channels.set_passing(channel, true)
    }

    async fn stop(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.channels.forget(channel);
        Ok(())
    }

    async fn allow(&self, channel: ChannelId, up_to: Usage) -> Result<Allowance, AdapterRefusal> {
        self.channels.allow(channel, up_to)?;
        Ok(Allowance::Enforced)
    }

    async fn health(&self) -> Health {
        Health::Well
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        self.channels.shut_down();
        *self.serving.lock() = None;
        Ok(())
    }
}

async fn serve(listener: TcpListener, channels: Arc<Meter<Credentials>>) {
    let mut connections = JoinSet::new(); // they end with this task
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let channels = Arc::clone(&channels);
                connections.spawn(async move { timeout(PATIENCE, answer(stream, &channels)).await });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// `ok <quote>`, `wait` while the channel is held, `refused` for a login that is not good.
async fn answer(mut stream: TcpStream, channels: &Meter<Credentials>) -> std::io::Result<()> {
    let mut login = String::new();
    BufReader::new((&mut stream).take(LONGEST_LOGIN)).read_line(&mut login).await?;
    let reply = match channel(&login, channels) {
        None => "refused\n".to_owned(),
        Some(channel) => match channels.pass_one(channel) {
            None => "wait\n".to_owned(),
            Some(number) => format!("ok {}\n", quote(number)),
        },
    };
    stream.write_all(reply.as_bytes()).await
}

fn channel(login: &str, channels: &Meter<Credentials>) -> Option<ChannelId> {
    let (username, password) = login.trim_end().split_once(' ')?;
    let channel = username.parse().ok()?;
    channels.details(channel)?.password.matches(password.as_bytes()).then_some(channel)
}
