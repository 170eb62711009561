//! The chain, both daemons, and the faults that happen to them.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::Bytes;
use privatix_demo::Result;
use privatix_demo::daemon::{Daemon, Messages};
use privatix_demo::market::Chain;
use privatix_testkit::{FaultProxy, Script, Verdict};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use toml_edit::value;

use crate::history::History;
use crate::plan::{Act, CONFIRMATIONS, FINAL, Moment, Side};

/// How long a moment is waited for before the daemon is killed at any.
const MOMENT: Duration = Duration::from_secs(3);
/// Between two looks at a log.
const LOOK: Duration = Duration::from_millis(5);

/// An endpoint of a daemon's own.
struct Endpoint {
    proxy: Arc<FaultProxy>,
    /// Counts the troubles, so that the end of one does not end a later one.
    troubles: Arc<AtomicU64>,
}

impl Endpoint {
    async fn before(chain: &Chain) -> Result<Self> {
        let proxy = Arc::new(FaultProxy::start(chain.url()).await?);
        Ok(Self { proxy, troubles: Arc::default() })
    }

    /// Follows a script for a time; the time passes by itself.
    fn misbehave(&self, script: Script, length: Duration) {
        let number = self.troubles.fetch_add(1, Ordering::SeqCst) + 1;
        self.proxy.script(script);
        let (proxy, troubles) = (Arc::clone(&self.proxy), Arc::clone(&self.troubles));
        tokio::spawn(async move {
            sleep(length).await;
            if troubles.load(Ordering::SeqCst) == number {
                proxy.script(Script::default());
                proxy.release().await;
            }
        });
    }

    async fn behave(&self) {
        self.troubles.fetch_add(1, Ordering::SeqCst);
        self.proxy.honest();
        self.proxy.release().await;
    }

    /// Waits until the node was asked `method`. With `done` the node answers, else it hears nothing of it; the daemon hears
    /// nothing in either case. False if that does not happen in time.
    async fn withhold(&self, method: &'static str, done: bool, deadline: Instant) -> bool {
        let before = self.proxy.silenced();
        let mut armed = true;
        self.proxy.rule(move |asked, _| match (armed && asked == method, done) {
            (false, _) => Verdict::Forward,
            (true, true) => {
                armed = false;
                Verdict::ForwardThenSilence
            }
            (true, false) => {
                armed = false;
                Verdict::Silence
            }
        });
        while self.proxy.silenced() == before {
            if Instant::now() > deadline {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }
}

/// Everything that faults happen to.
pub(crate) struct World {
    pub(crate) chain: Chain,
    pub(crate) agent: Daemon,
    pub(crate) client: Daemon,
    agent_endpoint: Endpoint,
    client_endpoint: Endpoint,
}

impl World {
    /// Starts the chain and both daemons, with funds and a block each second.
    pub(crate) async fn start(bins: &Path) -> Result<Self> {
        let chain = Chain::start().await?;
        let agent_endpoint = Endpoint::before(&chain).await?;
        let client_endpoint = Endpoint::before(&chain).await?;
        let mut agent = daemon(bins, Side::Agent, &chain, &agent_endpoint).await?;
        let mut client = daemon(bins, Side::Client, &chain, &client_endpoint).await?;
        chain.fund(agent.account).await?;
        chain.fund(client.account).await?;
        // What happened until now is not taken back by any fault.
        chain.anvil.mine(FINAL).await?;
        chain.mine_every_second().await?;
        agent.start().await?;
        client.start().await?;
        Ok(Self { chain, agent, client, agent_endpoint, client_endpoint })
    }

    pub(crate) const fn daemon(&self, side: Side) -> &Daemon {
        match side {
            Side::Agent => &self.agent,
            Side::Client => &self.client,
        }
    }

    const fn daemon_mut(&mut self, side: Side) -> &mut Daemon {
        match side {
            Side::Agent => &mut self.agent,
            Side::Client => &mut self.client,
        }
    }

    const fn endpoint(&self, side: Side) -> &Endpoint {
        match side {
            Side::Agent => &self.agent_endpoint,
            Side::Client => &self.client_endpoint,
        }
    }

    /// Ends all faults.
    pub(crate) async fn quiet(&self) {
        self.agent_endpoint.behave().await;
        self.client_endpoint.behave().await;
    }

    /// Has a fault happen, to its end; the trouble of an endpoint ends by itself.
    pub(crate) async fn suffer(
        &mut self,
        act: &Act,
        acknowledgements: &watch::Receiver<u64>,
        history: &History,
    ) -> Result<()> {
        match *act {
            Act::Kill { side, at, pause } => {
                let reached = self.reach(side, at, acknowledgements).await;
                self.daemon_mut(side).check_alive()?;
                self.daemon_mut(side).kill()?;
                history.note(format!("killed, {}", if reached { "at that moment" } else { "at none" }));
                self.endpoint(side).proxy.rule(|_, _| Verdict::Forward);
                sleep(pause).await;
                self.daemon_mut(side).start_unready(&[]).await?;
                history.note(format!("{} answers again", side.daemon()));
            }
            Act::KillBoth { pause } => {
                for side in Side::BOTH {
                    self.daemon_mut(side).check_alive()?;
                    self.daemon_mut(side).kill()?;
                }
                sleep(pause).await;
                for side in Side::BOTH {
                    self.daemon_mut(side).start_unready(&[]).await?;
                }
                history.note("both answer again");
            }
            Act::Freeze { side, length } => {
                self.daemon_mut(side).freeze()?;
                sleep(length).await;
                self.daemon_mut(side).thaw()?;
            }
            Act::Reorg { depth, again } => self.reorganise(depth, again, history).await?,
            Act::Endpoint { side, trouble, length } => {
                self.endpoint(side).misbehave(trouble.script(), length);
            }
        }
        Ok(())
    }

    /// Waits for a moment in a daemon's life. False if it does not come in time.
    async fn reach(&self, side: Side, at: Moment, acknowledgements: &watch::Receiver<u64>) -> bool {
        let deadline = Instant::now() + MOMENT;
        match at {
            Moment::Any => true,
            Moment::Asked(method) => self.endpoint(side).withhold(method, false, deadline).await,
            Moment::Done(method) => self.endpoint(side).withhold(method, true, deadline).await,
            Moment::Acknowledged => {
                let mut acknowledgements = acknowledgements.clone();
                acknowledgements.mark_unchanged();
                timeout_at(deadline, acknowledgements.changed()).await.is_ok()
            }
            Moment::Logged(text) => logged(&self.daemon(side).log(), text, deadline).await,
        }
    }

    /// Replaces the last blocks by empty ones.
    async fn reorganise(&self, depth: u64, again: bool, history: &History) -> Result<()> {
        let anvil = &self.chain.anvil;
        let head = anvil.block_number().await?;
        let mut taken: Vec<Bytes> = Vec::new();
        let mut count = 0;
        for block in head.saturating_sub(depth - 1)..=head {
            let block: Value =
                anvil.rpc("eth_getBlockByNumber", json!([format!("{block:#x}"), false])).await?;
            for hash in block["transactions"].as_array().into_iter().flatten() {
                count += 1;
                if again {
                    taken.push(anvil.rpc("eth_getRawTransactionByHash", json!([hash])).await?);
                }
            }
        }
        anvil.reorg(depth).await?;
        let mut back = 0;
        for raw in taken {
            // One that a daemon has replaced meanwhile is refused.
            let sent: std::result::Result<Value, _> = anvil.rpc("eth_sendRawTransaction", json!([raw])).await;
            back += u32::from(sent.is_ok());
        }
        history
            .note(format!("{count} transactions were in these blocks, {back} of them are back in the pool"));
        Ok(())
    }
}

async fn daemon(bins: &Path, side: Side, chain: &Chain, endpoint: &Endpoint) -> Result<Daemon> {
    let daemon = Daemon::init(bins, side.daemon(), chain, &Messages::Direct).await?;
    let (confirmations, finality) = (i64::try_from(CONFIRMATIONS)?, i64::try_from(FINAL)?);
    daemon.configure(|document| {
        let chain = &mut document["chain"];
        chain["endpoint"] = value(endpoint.proxy.url());
        chain["confirmations"] = value(confirmations);
        chain["final"] = value(finality);
        // So that an endpoint that is silent is noticed while it is.
        chain["request_timeout"] = value("2s");
        chain["max_view_age"] = value("20s");
        // The challenges are passed by moving the chain's time.
        chain["max_clock_skew"] = value("0s");
    })?;
    Ok(daemon)
}

/// Waits until a line with `text` is added to a log. False if that does not happen in time.
async fn logged(log: &Path, text: &str, deadline: Instant) -> bool {
    let Ok(mut from) = log.metadata().map(|metadata| metadata.len()) else { return false };
    let mut tail = Vec::new();
    while Instant::now() < deadline {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(log)?;
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        if let Ok(bytes) = read() {
            from += bytes.len() as u64;
            tail.extend(bytes);
            if String::from_utf8_lossy(&tail).contains(text) {
                return true;
            }
        }
        sleep(LOOK).await;
    }
    false
}
