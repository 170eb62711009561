use std::io;
use std::net::SocketAddr;

use privatix_adapter::{
    About, Access, Adapter, AdapterRefusal, Configuration, Health, Provision, Provisioned, Role,
    UsageReporter, async_trait,
};
use privatix_channel::{ChannelId, Usage};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{about, meter::Meter};

const LONGEST_ANSWER: u64 = 1024;

/// The buyer's adapter. The program that made it asks it for quotes; one for strangers' programs would open a port of its
/// own instead, as the proxy's does.
#[derive(Default)]
pub struct QuoteBuyer {
    channels: Meter<(SocketAddr, Access)>,
}

/// Why there is no quote.
#[derive(Debug, thiserror::Error)]
pub enum QuoteError {
    /// The seller was not reached.
    #[error("cannot ask for a quote: {0}")]
    Io(#[from] io::Error),
    /// The seller does not know our login.
    #[error("the seller refused the login of channel {0}")]
    Refused(ChannelId),
}

impl QuoteBuyer {
    /// A quote, or `None` while the service is held: ask again once it is paid.
    ///
    /// # Errors
    /// [`QuoteError`].
    pub async fn quote(&self, channel: ChannelId) -> Result<Option<String>, QuoteError> {
        let Some(details) = self.channels.details(channel).filter(|_| self.channels.passes(channel)) else {
            return Ok(None);
        };
        let (address, Access { credentials, .. }) = &*details;
        let mut stream = TcpStream::connect(address).await?;
        let login = format!("{} {}\n", credentials.username, credentials.password.expose());
        stream.write_all(login.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(LONGEST_ANSWER).read_to_string(&mut answer).await?;
        match answer.trim_end().split_once(' ') {
            Some(("ok", quote)) => {
                self.channels.pass_one(channel); // our own meter: it is what we pay for
                Ok(Some(quote.to_owned()))
            }
            _ if answer == "wait\n" => Ok(None),
            _ => Err(QuoteError::Refused(channel)),
        }
    }
}

impl std::fmt::Debug for QuoteBuyer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuoteBuyer").finish_non_exhaustive()
    }
}

#[async_trait]
impl Adapter for QuoteBuyer {
    fn about(&self) -> About {
        about(Role::Client)
    }

    async fn configure(
        &self,
        configuration: Configuration,
        reporter: UsageReporter,
    ) -> Result<(), AdapterRefusal> {
        if configuration.role != Role::Client {
            return Err(AdapterRefusal::WrongRole { role: configuration.role });
        }
        self.channels.configure(reporter);
        Ok(())
    }

    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
        let Provision::Buy { channel, access, .. } = provision else {
            return Err(AdapterRefusal::WrongRole { role: provision.role() });
        };
        let address = access.endpoint["address"].as_str().and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| AdapterRefusal::Parameters {
            field: "endpoint.address".into(),
            reason: "must be an IP address and a port".into(),
        })?;
        self.channels.provision(channel, (address, access), Usage::ZERO, Usage::MAX)?;
        Ok(Provisioned { endpoint: json!({}) })
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

    async fn health(&self) -> Health {
        Health::Well
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        self.channels.shut_down();
        Ok(())
    }
}
