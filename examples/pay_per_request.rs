//! Pay per request over plain HTTP, with nothing but the channel crate and an HTTP library.
//!
//! A seller asks 10 base units for each answer. A buyer with a channel of 45 sends a voucher in the header `payment` with
//! each request, until its deposit is used up. On the way somebody asks without paying, sends a paid voucher again, and
//! forges one.
//!
//! `cargo run --example pay_per_request`. It checks itself and exits with 0 when all is as it should be.
//!
//! Opening the channel and cashing the best voucher are two transactions of the service contract; the crates
//! `privatix-contracts` and `privatix-chain` make and watch them. Here both sides are simply informed that it is open.
#![expect(clippy::print_stdout, reason = "this is a program for people")]

use std::{
    error::Error,
    fs::File,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use privatix_channel::{
    Accepted, AgentChannel, Amount, ChannelDescriptor, ChannelEvent, ClientChannel, Domain, Fee, LogPosition,
    SignRefused, SignedVoucher,
};
use tokio::{net::TcpListener, sync::oneshot};

/// What one answer costs.
const PRICE: Amount = Amount::new(10);
const HEADER: &str = "payment";

type Failure = Box<dyn Error + Send + Sync>;

// ---------------------------------------------------------------- the seller

struct Seller {
    channel: AgentChannel,
    /// The worth of all answers given.
    sold: Amount,
    /// Where vouchers are safe before they are acknowledged.
    disk: File,
}

impl Seller {
    /// Takes in a voucher: judges, stores, commits.
    fn take(&mut self, voucher: &SignedVoucher) -> Result<(), Failure> {
        if let Accepted::New(new) = self.channel.accept(voucher)? {
            serde_json::to_writer(&mut self.disk, new.voucher())?;
            self.disk.write_all(b"\n")?;
            self.disk.sync_data()?;
            self.channel.commit(new)?;
        }
        Ok(())
    }

    fn sell(&mut self, payment: Option<&str>) -> Result<String, Failure> {
        if let Some(text) = payment {
            self.take(&serde_json::from_str(text)?)?;
        }
        // A voucher is over everything paid so far: what is proven beyond what was sold is credit.
        let cost = self.sold.saturating_add(PRICE);
        if self.channel.proven() < cost {
            return Err(format!("{cost} in all is needed, {} is paid", self.channel.proven()).into());
        }
        self.sold = cost;
        Ok(format!("answer number {}", cost.get() / PRICE.get()))
    }
}

async fn answer(State(seller): State<Arc<Mutex<Seller>>>, headers: HeaderMap) -> (StatusCode, String) {
    let payment = headers.get(HEADER).and_then(|value| value.to_str().ok());
    let mut seller = seller.lock().unwrap_or_else(PoisonError::into_inner);
    match seller.sell(payment) {
        Ok(answer) => (StatusCode::OK, answer),
        Err(error) => (StatusCode::PAYMENT_REQUIRED, error.to_string()),
    }
}

// ---------------------------------------------------------------- the buyer

struct Buyer {
    channel: ClientChannel,
    key: PrivateKeySigner,
    disk: File,
}

impl Buyer {
    /// Pays for one answer more: proposes, signs, stores, commits. Only then may the voucher be sent.
    fn pay(&mut self) -> Result<SignedVoucher, Failure> {
        let due = self.channel.promised().saturating_add(PRICE);
        let proposal = self.channel.propose(due)?.ok_or("nothing is due")?;
        let signed = proposal.sign(&self.key)?;
        serde_json::to_writer(&mut self.disk, signed.voucher())?;
        self.disk.sync_data()?;
        Ok(self.channel.commit(signed)?)
    }
}

async fn ask(url: &str, payment: Option<&SignedVoucher>) -> Result<(u16, String), Failure> {
    let mut request = reqwest::Client::new().get(url);
    if let Some(voucher) = payment {
        request = request.header(HEADER, serde_json::to_string(voucher)?);
    }
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}

// ---------------------------------------------------------------- a sale

async fn sale() -> Result<(), Failure> {
    let (key, agent) = (PrivateKeySigner::random(), PrivateKeySigner::random().address());
    let domain = Domain::new(1, Address::repeat_byte(0x5c), Address::repeat_byte(0x70));
    let descriptor = ChannelDescriptor {
        client: key.address(),
        agent,
        offering: B256::repeat_byte(0x0f).into(),
        nonce: 1,
        signer: key.address(), // the client itself signs; named, so that no code of its account decides
    };
    let opened = ChannelEvent::Opened { deposit: Amount::new(45), fee: Fee::ZERO };

    let mut channel = AgentChannel::new(domain, descriptor);
    channel.apply(LogPosition::new(1, 0), opened);
    let seller = Arc::new(Mutex::new(Seller { channel, sold: Amount::ZERO, disk: tempfile::tempfile()? }));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let app = Router::new().route("/", get(answer)).with_state(Arc::clone(&seller));
    let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());

    let mut channel = ClientChannel::new(domain, descriptor);
    channel.apply(LogPosition::new(1, 0), opened);
    let mut buyer = Buyer { channel, key, disk: tempfile::tempfile()? };

    expect(ask(&url, None).await?, 402, "10 in all is needed, 0 is paid")?;

    let first = buyer.pay()?;
    expect(ask(&url, Some(&first)).await?, 200, "answer number 1")?;
    expect(ask(&url, Some(&first)).await?, 402, "20 in all is needed, 10 is paid")?;

    let mut forged = buyer.pay()?;
    forged.voucher.cumulative = Amount::new(40);
    expect(ask(&url, Some(&forged)).await?, 402, "the voucher is not signed by the channel's signer")?;

    // The payment for the second answer never reached the seller. The next one makes up for it: it is over the total.
    let third = buyer.pay()?;
    expect(ask(&url, Some(&third)).await?, 200, "answer number 2")?;
    expect(ask(&url, None).await?, 200, "answer number 3")?;

    let fourth = buyer.pay()?;
    expect(ask(&url, Some(&fourth)).await?, 200, "answer number 4")?;
    let refused = buyer.pay().err().ok_or("the buyer signed more than its deposit")?;
    println!("buyer: {refused}");
    if !matches!(refused.downcast_ref(), Some(SignRefused::AboveDeposit { .. })) {
        return Err(refused);
    }

    drop(stop);
    server.await??;
    let seller = seller.lock().map_err(|_| "the seller panicked")?;
    let best = seller.channel.best().ok_or("nothing was paid")?;
    println!("seller: sold {}, can cash {} with {}", seller.sold, seller.channel.claimable(), best.signature);
    if (seller.sold, seller.channel.claimable()) != (Amount::new(40), Amount::new(40)) || best != &fourth {
        return Err("the books do not add up".into());
    }
    Ok(())
}

fn expect((status, text): (u16, String), wanted: u16, beginning: &str) -> Result<(), Failure> {
    println!("{status} {text}");
    if status == wanted && text.starts_with(beginning) {
        return Ok(());
    }
    Err(format!("expected {wanted} {beginning}").into())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    sale().await
}

#[tokio::test]
async fn the_example_does_what_it_says() -> Result<(), Failure> {
    sale().await
}
