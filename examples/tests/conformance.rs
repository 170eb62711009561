//! The seller's adapter keeps the rules that every plug-in must keep: a plug-in's author needs no more than this to know.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use privatix_adapter::conformance::{self, Attempt, Driver, Flow};
use privatix_adapter::{Adapter, Configuration, Credentials, Provision, Provisioned, Role, async_trait};
use privatix_channel::{ChannelId, Usage};
use privatix_examples::quotes::QuoteSeller;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Reader;

struct Login {
    address: String,
    line: String,
}

#[async_trait]
impl Driver for Reader {
    fn configuration(&self) -> Configuration {
        Configuration { role: Role::Agent, settings: json!({}) }
    }

    async fn provision(&self, channel: ChannelId) -> Provision {
        let credentials = Credentials { username: channel.to_string(), password: "secret".into() };
        Provision::Sell { channel, credentials, parameters: json!({}), used: Usage::ZERO, up_to: Usage::MAX }
    }

    async fn open(&self, provision: &Provision, provisioned: &Provisioned) -> Option<Box<dyn Flow>> {
        let address = provisioned.endpoint["address"].as_str()?.to_owned();
        Some(Box::new(Login { address, line: format!("{} secret\n", provision.channel()) }))
    }
}

impl Login {
    async fn answer(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.write_all(self.line.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

#[async_trait]
impl Flow for Login {
    async fn pass(&mut self, amount: u64) -> Attempt {
        let amount = amount.min(5);
        for _ in 0..amount {
            match self.answer().await.as_deref() {
                Ok("wait\n") => return Attempt::Blocked,
                Ok(answer) if answer.starts_with("ok ") => {}
                _ => return Attempt::Broken,
            }
        }
        Attempt::Passed(Usage::new(amount))
    }
}

#[tokio::test]
async fn the_seller_s_adapter_keeps_the_rules() {
    let seller = || Arc::new(QuoteSeller::new("127.0.0.1:0".parse().unwrap())) as Arc<dyn Adapter>;
    conformance::run(seller, &Reader).await.unwrap();
}
