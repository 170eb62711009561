use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::{
    network::{EthereumWallet, TransactionBuilder as _},
    primitives::{Address, B256, Bytes, U256, b256, hex},
    providers::{DynProvider, Provider, ProviderBuilder, RootProvider},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
    transports::{TransportError, TransportErrorKind},
};
use privatix_channel::{ChainTime, Period};
use serde_json::{Value, json};

use crate::{Process, TestkitError, toolchain::Tool};

/// How long a node may take until it answers; it takes a second on a quiet machine.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How long a transaction may take; with automining it takes milliseconds.
const RECEIPT_LIMIT: Duration = Duration::from_secs(30);
/// How often providers ask for receipts and new blocks.
const POLL: Duration = Duration::from_millis(50);

/// What derives from [`Anvil::MNEMONIC`] at `m/44'/60'/0'/0/n`: public, never to hold anything of value.
const KEYS: [B256; 10] = [
    b256!("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    b256!("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    b256!("0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    b256!("0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    b256!("0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    b256!("0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    b256!("0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    b256!("0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    b256!("0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    b256!("0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
];

static SIGNERS: LazyLock<Vec<PrivateKeySigner>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the keys are constants below the curve's order")]
    KEYS.iter().map(|key| PrivateKeySigner::from_bytes(key).expect("a valid key")).collect()
});

/// How to start an [`Anvil`].
#[derive(Debug, Clone, Default)]
pub struct AnvilBuilder {
    port: u16,
    args: Vec<String>,
}

impl AnvilBuilder {
    /// The chain's id; 31337 when not given.
    #[must_use]
    pub fn chain_id(self, id: u64) -> Self {
        self.arg("--chain-id").arg(id.to_string())
    }

    /// A block every `seconds` instead of one for each transaction.
    #[must_use]
    pub fn block_time(self, seconds: u64) -> Self {
        self.arg("--block-time").arg(seconds.to_string())
    }

    /// The port to listen on; one that the system gives when not given.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Any other argument of anvil.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Starts the node and waits until it answers. Runs `npm ci` first when anvil is not installed.
    pub async fn start(self) -> Result<Anvil, TestkitError> {
        let located = tokio::task::spawn_blocking(|| Tool::Anvil.locate()).await;
        let program = located.map_err(|join| TestkitError::Signal {
            action: "await the search for",
            name: "anvil".to_owned(),
            source: join.into(),
        })??;
        let mut process = Process::builder("anvil", program)
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string(), "--color", "never"])
            .args(self.args)
            .spawn()?;
        let line = process.wait_for_line("Listening on 127.0.0.1:", START_LIMIT).await?;
        let port = line.rsplit(':').next().unwrap_or_default().trim().to_owned();
        let url = format!("http://127.0.0.1:{port}");
        let root = root_provider(&url)?;
        let chain_id = process
            .wait_while_alive("answer to eth_chainId", START_LIMIT, async |_| root.get_chain_id().await.ok())
            .await?;
        Ok(Anvil { process, url, chain_id, root })
    }
}

/// A local EVM node of the test's own: anvil on a free port, killed when dropped.
///
/// Blocks are mined one for each transaction until [`Anvil::set_automine`] says otherwise. The ten accounts of
/// [`Anvil::MNEMONIC`] hold 10,000 ether each; [`Anvil::deploy`] uses the first as the deployer.
#[derive(Debug)]
pub struct Anvil {
    process: Process,
    url: String,
    chain_id: u64,
    root: RootProvider,
}

/// A state that [`Anvil::revert`] goes back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotId(String);

impl Anvil {
    /// The phrase that the accounts derive from, at `m/44'/60'/0'/0/n`.
    pub const MNEMONIC: &str = "test test test test test test test test test test test junk";

    /// Starts a node with the defaults.
    pub async fn start() -> Result<Self, TestkitError> {
        Self::builder().start().await
    }

    /// Starts a node otherwise.
    pub fn builder() -> AnvilBuilder {
        AnvilBuilder::default()
    }

    /// The HTTP endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The WebSocket endpoint.
    pub fn ws_url(&self) -> String {
        self.url.replacen("http", "ws", 1)
    }

    /// The chain's id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The process, to pause, kill or read.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The key of the funded account `index`, below 10.
    ///
    /// # Panics
    /// When there is no such account.
    pub fn key(&self, index: usize) -> PrivateKeySigner {
        SIGNERS[index].clone()
    }

    /// The address of the funded account `index`, below 10.
    ///
    /// # Panics
    /// When there is no such account.
    pub fn account(&self, index: usize) -> Address {
        SIGNERS[index].address()
    }

    /// A wallet with all funded accounts; the first is the default.
    pub fn wallet(&self) -> EthereumWallet {
        let mut wallet = EthereumWallet::from(self.key(0));
        for key in SIGNERS.iter().skip(1) {
            wallet.register_signer(key.clone());
        }
        wallet
    }

    /// A new provider that signs for all funded accounts, asks the node for each nonce (so that reorgs and snapshots
    /// do not confuse it) and polls every 50 ms. Use it in the runtime it was made in.
    pub fn provider(&self) -> DynProvider {
        self.provider_with(self.wallet())
    }

    /// As [`Self::provider`], signing with `wallet` instead.
    pub fn provider_with(&self, wallet: EthereumWallet) -> DynProvider {
        // Its own transport: alloy's tasks belong to the runtime that first polls.
        let root = root_provider(&self.url).unwrap_or_else(|_| self.root.clone());
        ProviderBuilder::default()
            .with_gas_estimation()
            .with_simple_nonce_management()
            .fetch_chain_id()
            .wallet(wallet)
            .connect_provider(root)
            .erased()
    }

    /// Any request; the answer is decoded into `T`.
    pub async fn rpc<T>(&self, method: &'static str, params: Value) -> Result<T, TestkitError>
    where
        T: alloy::rpc::json_rpc::RpcRecv,
    {
        self.root.raw_request(method.into(), params).await.map_err(|source: TransportError| {
            TestkitError::Rpc { method: method.to_owned(), source: source.into() }
        })
    }

    async fn command(&self, method: &'static str, params: Value) -> Result<(), TestkitError> {
        self.rpc::<Value>(method, params).await.map(drop)
    }

    /// Sends a contract call from the funded account `from` and waits for its receipt. A revert is an error: by the
    /// refused gas estimate as [`TestkitError::Rpc`] with its data, mined as [`TestkitError::Reverted`].
    ///
    /// # Panics
    /// When there is no such account.
    pub async fn send(
        &self,
        from: usize,
        to: Address,
        call: &impl SolCall,
    ) -> Result<TransactionReceipt, TestkitError> {
        let request = TransactionRequest::default()
            .with_from(self.account(from))
            .with_to(to)
            .with_input(call.abi_encode());
        let refused = |source: TransportError| TestkitError::Rpc {
            method: "eth_sendRawTransaction".to_owned(),
            source: source.into(),
        };
        let pending = self.provider().send_transaction(request).await.map_err(refused)?;
        let receipt = pending
            .with_timeout(Some(RECEIPT_LIMIT))
            .get_receipt()
            .await
            .map_err(|source| TestkitError::NoReceipt { to, source: source.into() })?;
        if receipt.status() {
            Ok(receipt)
        } else {
            Err(TestkitError::Reverted { tx: receipt.transaction_hash, to })
        }
    }

    /// Calls a view of a contract on the last block.
    pub async fn view<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return, TestkitError> {
        let request = TransactionRequest::default().with_to(to).with_input(call.abi_encode());
        let refused = |source: TransportError| TestkitError::Rpc {
            method: "eth_call".to_owned(),
            source: source.into(),
        };
        let answer = self.root.call(request).await.map_err(refused)?;
        C::abi_decode_returns(&answer).map_err(|error| refused(TransportErrorKind::custom(error)))
    }

    /// The number of the last block.
    pub async fn block_number(&self) -> Result<u64, TestkitError> {
        self.rpc::<alloy::primitives::U64>("eth_blockNumber", json!([])).await.map(|n| n.to::<u64>())
    }

    /// Ether of `account`, in wei.
    pub async fn balance(&self, account: Address) -> Result<U256, TestkitError> {
        self.rpc("eth_getBalance", json!([account, "latest"])).await
    }

    /// Mines `blocks` blocks; the first takes what waits in the pool.
    pub async fn mine(&self, blocks: u64) -> Result<(), TestkitError> {
        self.command("anvil_mine", json!([blocks])).await
    }

    /// Moves the chain's clock on by `period` and mines a block with the new time: for the periods of the service contract.
    pub async fn warp(&self, period: Period) -> Result<(), TestkitError> {
        self.set_next_block_time(self.time().await?.plus(period)).await?;
        self.mine(1).await
    }

    /// The time of the next block, which must be later than the newest one's. Blocks after it count on from there.
    pub async fn set_next_block_time(&self, time: ChainTime) -> Result<(), TestkitError> {
        self.command("evm_setNextBlockTimestamp", json!([time])).await
    }

    /// The time of the newest block.
    pub async fn time(&self) -> Result<ChainTime, TestkitError> {
        let block: Value = self.rpc("eth_getBlockByNumber", json!(["latest", false])).await?;
        let hex = block.get("timestamp").and_then(Value::as_str).unwrap_or("0x0");
        Ok(ChainTime::new(u64::from_str_radix(hex.trim_start_matches("0x"), 16).unwrap_or_default()))
    }

    /// Gives the chain another id, as a fork may have. [`Self::chain_id`] stays what it was at the start, and so do providers
    /// that know it.
    pub async fn set_chain_id(&self, id: u64) -> Result<(), TestkitError> {
        self.command("anvil_setChainId", json!([id])).await
    }

    /// The code at `account`.
    pub async fn code(&self, account: Address) -> Result<Vec<u8>, TestkitError> {
        let code: Bytes = self.rpc("eth_getCode", json!([account, "latest"])).await?;
        Ok(code.to_vec())
    }

    /// Gives `account` this code, whether it is a contract's or a key's.
    pub async fn set_code(&self, account: Address, code: &[u8]) -> Result<(), TestkitError> {
        self.command("anvil_setCode", json!([account, hex::encode_prefixed(code)])).await
    }

    /// Replaces the last `depth` blocks by as many empty ones with other hashes. Their transactions are gone.
    pub async fn reorg(&self, depth: u64) -> Result<(), TestkitError> {
        self.reorg_with(depth, &[]).await
    }

    /// Replaces the last `depth` blocks; each of `transactions` is put into the new block with the given offset, 0
    /// being the lowest. Anvil sends them as their (funded) sender.
    pub async fn reorg_with(
        &self,
        depth: u64,
        transactions: &[(TransactionRequest, u64)],
    ) -> Result<(), TestkitError> {
        self.command("anvil_reorg", json!([depth, transactions])).await
    }

    /// Takes back the last `depth` blocks, so that the chain is shorter for a while.
    pub async fn rollback(&self, depth: u64) -> Result<(), TestkitError> {
        self.command("anvil_rollback", json!([depth])).await
    }

    /// Whether each transaction gets a block of its own at once. Off, they wait for [`Self::mine`].
    pub async fn set_automine(&self, on: bool) -> Result<(), TestkitError> {
        self.command("evm_setAutomine", json!([on])).await
    }

    /// Sets the ether of `account`, in wei.
    pub async fn set_balance(&self, account: Address, wei: U256) -> Result<(), TestkitError> {
        self.command("anvil_setBalance", json!([account, wei])).await
    }

    /// Sets the base fee of the next block, in wei per gas.
    pub async fn set_next_base_fee(&self, wei: u128) -> Result<(), TestkitError> {
        self.command("anvil_setNextBlockBaseFeePerGas", json!([U256::from(wei)])).await
    }

    /// Throws a transaction out of the pool.
    pub async fn drop_transaction(&self, hash: B256) -> Result<(), TestkitError> {
        self.command("anvil_dropTransaction", json!([hash])).await
    }

    /// Remembers the state.
    pub async fn snapshot(&self) -> Result<SnapshotId, TestkitError> {
        self.rpc("evm_snapshot", json!([])).await.map(SnapshotId)
    }

    /// Goes back to a snapshot, which is used up by it. False when it was used before.
    pub async fn revert(&self, snapshot: SnapshotId) -> Result<bool, TestkitError> {
        self.rpc("evm_revert", json!([snapshot.0])).await
    }

    /// The time of the last block, as the system's clock has it.
    pub async fn block_time(&self) -> Result<SystemTime, TestkitError> {
        Ok(UNIX_EPOCH + Duration::from_secs(self.time().await?.seconds()))
    }
}

/// A provider over HTTP that keeps no connection between requests, hence nothing that belongs to one runtime.
fn root_provider(url: &str) -> Result<RootProvider, TestkitError> {
    let refused = |error: String| TestkitError::Rpc {
        method: url.to_owned(),
        source: Box::new(TransportErrorKind::custom_str(&error)),
    };
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(|e| refused(e.to_string()))?;
    let url = url.parse().map_err(|_| refused("not a URL".to_owned()))?;
    let provider: RootProvider = ProviderBuilder::default().connect_reqwest(client, url);
    provider.client().set_poll_interval(POLL);
    Ok(provider)
}
