//! A real node for the tests of this crate: anvil from `contracts/node_modules`, with accounts whose keys never change.

use std::{env, path::PathBuf, time::Duration};

use alloy::{
    eips::BlockId,
    network::{EthereumWallet, TransactionBuilder as _},
    node_bindings::{Anvil, AnvilInstance},
    primitives::{Address, B256, keccak256},
    providers::{DynProvider, Provider as _, ProviderBuilder, ext::AnvilApi as _},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::{SignerSync as _, local::PrivateKeySigner},
    sol_types::SolCall,
};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, CloseAuthorization, Domain, Period, SignedClose, SignedVoucher,
    Terms, Voucher, sign_close, sign_voucher,
};
use privatix_contracts::{
    ChannelInfo, IPSC, OfferingInfo, PSC, PTC, PermitRequest, PscError, PscEvent, call,
    deploy::{Deployed, Deployment, deploy},
    token::{DomainClaims, PermitDomain, eip5267_domain},
};

/// No test of this crate may take longer, whatever the node does: a hang becomes a failure.
pub(crate) const LIMIT: Duration = Duration::from_mins(5);

/// Periods that no test waits for: it moves the clock on.
pub(crate) const TERMS: Terms = Terms::standard(Amount::new(100));

/// Who plays.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) holder: PrivateKeySigner,
    pub(crate) agent: PrivateKeySigner,
    pub(crate) client: PrivateKeySigner,
    pub(crate) fee_address: PrivateKeySigner,
    pub(crate) stranger: PrivateKeySigner,
    pub(crate) newcomer: PrivateKeySigner,
}

/// A node with both contracts on it.
pub(crate) struct World {
    pub(crate) provider: DynProvider,
    pub(crate) deployed: Deployed,
    pub(crate) domain: Domain,
    pub(crate) cast: Cast,
    _anvil: AnvilInstance,
}

/// The repository's folder `contracts`.
pub(crate) fn contracts_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts")
}

fn anvil_binary() -> PathBuf {
    if let Some(path) = env::var_os("ANVIL_BIN") {
        return path.into();
    }
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let path =
        contracts_folder().join(format!("node_modules/@foundry-rs/anvil-{system}-{architecture}/bin/anvil"));
    assert!(path.exists(), "anvil is not installed: run `npm ci` in contracts/, or set ANVIL_BIN");
    path
}

impl World {
    /// Starts a node, deploys the contracts with [`TERMS`], and gives the client tokens and the agent and the client
    /// an internal balance.
    pub(crate) async fn start() -> Self {
        let anvil = Anvil::at(anvil_binary()).try_spawn().expect("anvil starts");
        let key = |index: usize| PrivateKeySigner::from(anvil.keys()[index].clone());
        let cast = Cast {
            holder: key(0),
            agent: key(1),
            client: key(2),
            fee_address: key(3),
            stranger: key(4),
            newcomer: key(5),
        };
        let mut wallet = EthereumWallet::from(cast.holder.clone());
        for signer in [&cast.agent, &cast.client, &cast.fee_address, &cast.stranger, &cast.newcomer] {
            wallet.register_signer(signer.clone());
        }
        // Nonces are asked for each time: a cached one would be used up by a call that is refused, and later ones would hang.
        let provider = ProviderBuilder::new()
            .disable_recommended_fillers()
            .with_gas_estimation()
            .with_simple_nonce_management()
            .fetch_chain_id()
            .wallet(wallet)
            .connect_http(anvil.endpoint_url())
            .erased();
        provider.client().set_poll_interval(Duration::from_millis(20));
        let deployed = deploy(
            &provider,
            Deployment {
                holder: cast.holder.address(),
                supply: Amount::new(100_000_000 * 100_000_000),
                fee_address: cast.fee_address.address(),
                terms: TERMS,
            },
        )
        .await
        .expect("both contracts deploy");
        let domain = deployed.domain(anvil.chain_id());
        Self { provider, deployed, domain, cast, _anvil: anvil }
    }

    pub(crate) fn psc(&self) -> PSC::PSCInstance<DynProvider> {
        PSC::new(self.deployed.contract, self.provider.clone())
    }

    pub(crate) fn ptc(&self) -> PTC::PTCInstance<DynProvider> {
        PTC::new(self.deployed.token, self.provider.clone())
    }

    /// Sends a call to `to` and waits for its receipt; a revert is the typed error.
    pub(crate) async fn try_send(
        &self,
        from: &PrivateKeySigner,
        to: Address,
        call: impl SolCall,
    ) -> Result<TransactionReceipt, PscError> {
        let request =
            TransactionRequest::default().with_from(from.address()).with_to(to).with_input(call.abi_encode());
        match self.provider.send_transaction(request).await {
            Ok(pending) => {
                let receipt = pending.get_receipt().await.expect("a receipt");
                assert!(receipt.status(), "estimated to succeed, but reverted");
                Ok(receipt)
            }
            Err(error) => {
                Err(PscError::of_transport(&error).unwrap_or_else(|| panic!("not a revert: {error}")))
            }
        }
    }

    /// Sends a call to the service contract, which must refuse it.
    pub(crate) async fn refused(&self, from: &PrivateKeySigner, call: impl SolCall) -> PscError {
        self.try_send(from, self.deployed.contract, call).await.expect_err("the call is refused")
    }

    /// Sends a call to the service contract, which must succeed and emit one event.
    pub(crate) async fn event(&self, from: &PrivateKeySigner, call: impl SolCall) -> PscEvent {
        let mut events = self.events(&self.send(from, call).await);
        assert_eq!(events.len(), 1, "one call, one event: {events:?}");
        events.remove(0)
    }

    /// What the service contract emitted in a transaction.
    pub(crate) fn events(&self, receipt: &TransactionReceipt) -> Vec<PscEvent> {
        let ours = receipt.logs().iter().filter(|log| log.address() == self.deployed.contract);
        ours.map(|log| PscEvent::decode(&log.inner.data).expect("a known event")).collect()
    }

    /// An account's internal balance.
    pub(crate) async fn balance(&self, account: &PrivateKeySigner) -> u128 {
        self.psc().balanceOf(account.address()).call().await.expect("the contract answers").to()
    }

    /// An account's tokens.
    pub(crate) async fn tokens(&self, account: &PrivateKeySigner) -> u128 {
        self.ptc().balanceOf(account.address()).call().await.expect("the token answers").to()
    }

    /// What the contract holds of a channel.
    pub(crate) async fn channel(&self, descriptor: &ChannelDescriptor) -> ChannelInfo {
        let id = descriptor.id(&self.domain);
        self.psc().channels(id.into()).call().await.expect("the contract answers").into()
    }

    /// What the contract holds of the agent's offering.
    pub(crate) async fn offering(&self, offering: B256) -> OfferingInfo {
        let agent = self.cast.agent.address();
        self.psc().offerings(agent, offering).call().await.expect("the contract answers").into()
    }

    /// Sends a call to the service contract, which must succeed.
    pub(crate) async fn send(&self, from: &PrivateKeySigner, call: impl SolCall) -> TransactionReceipt {
        self.try_send(from, self.deployed.contract, call).await.expect("the call succeeds")
    }

    /// Sends a call to the token, which must succeed.
    pub(crate) async fn send_token(&self, from: &PrivateKeySigner, call: impl SolCall) -> TransactionReceipt {
        self.try_send(from, self.deployed.token, call).await.expect("the call succeeds")
    }

    /// Gives `account` tokens and moves as many into its internal balance.
    pub(crate) async fn fund(&self, account: &PrivateKeySigner, wallet: u128, internal: u128) {
        let total = Amount::new(wallet + internal);
        self.send_token(&self.cast.holder, call::transfer(account.address(), total)).await;
        self.send_token(account, call::approve(self.deployed.contract, Amount::new(internal))).await;
        self.send(account, call::deposit(Amount::new(internal))).await;
    }

    /// Moves the chain's clock on.
    pub(crate) async fn warp(&self, period: Period) {
        let next = self.time().await.plus(period);
        self.provider.anvil_set_next_block_timestamp(next.seconds()).await.expect("anvil sets its clock");
        self.provider.anvil_mine(Some(1), None).await.expect("anvil mines");
    }

    /// The time of the newest block.
    pub(crate) async fn time(&self) -> ChainTime {
        let newest = self.provider.get_block(BlockId::latest()).await.expect("the node answers");
        ChainTime::new(newest.expect("a block").header.timestamp)
    }

    /// The agent's consent to close at `amount`, good until 2100.
    pub(crate) async fn consent(&self, descriptor: &ChannelDescriptor, amount: u128) -> SignedClose {
        let agent = &self.cast.agent;
        let consent = CloseAuthorization {
            channel: descriptor.id(&self.domain),
            cumulative: Amount::new(amount),
            nonce: self.psc().nonceOf(agent.address()).call().await.expect("the contract answers"),
            // Fixed, as everything that is signed: a signature's bytes are a part of the gas.
            deadline: ChainTime::new(4_102_444_800),
        };
        sign_close(agent, &self.domain, consent).expect("the agent signs")
    }

    /// A channel of the client with the agent, as many as there are indices.
    pub(crate) fn descriptor(&self, offering: B256, index: u64) -> ChannelDescriptor {
        ChannelDescriptor {
            client: self.cast.client.address(),
            agent: self.cast.agent.address(),
            offering: offering.into(),
            // Clients choose nonces at random: as many bytes of calldata as those.
            nonce: u64::from_be_bytes(keccak256(index.to_be_bytes())[..8].try_into().expect("8 bytes")),
            signer: self.cast.client.address(),
        }
    }

    /// The client's voucher.
    pub(crate) fn voucher(&self, descriptor: &ChannelDescriptor, amount: u128) -> SignedVoucher {
        let voucher = Voucher { channel: descriptor.id(&self.domain), cumulative: Amount::new(amount) };
        sign_voucher(&self.cast.client, &self.domain, voucher).expect("the client signs")
    }

    /// A permit for the service contract with the owner's next nonce, good until 2100.
    pub(crate) async fn permit(&self, owner: &PrivateKeySigner, value: u128) -> IPSC::Permit {
        self.permit_until(owner, value, 4_102_444_800).await
    }

    /// The token's own word for its domain (EIP-5267), checked against its separator.
    async fn permit_domain(&self) -> PermitDomain {
        let ptc = self.ptc();
        let said = ptc.eip712Domain().call().await.expect("the token answers");
        let claims = DomainClaims {
            eip5267: eip5267_domain(&PTC::eip712DomainCall::abi_encode_returns(&said)),
            ..DomainClaims::default()
        };
        let separator = ptc.DOMAIN_SEPARATOR().call().await.expect("the token answers");
        let token = self.deployed.token;
        PermitDomain::find(self.domain.chain_id(), token, &claims, separator).expect("the separator matches")
    }

    pub(crate) async fn permit_until(
        &self,
        owner: &PrivateKeySigner,
        value: u128,
        deadline: u64,
    ) -> IPSC::Permit {
        let nonce = self.ptc().nonces(owner.address()).call().await.expect("the token answers");
        let request = PermitRequest {
            owner: owner.address(),
            spender: self.deployed.contract,
            value: Amount::new(value),
            nonce,
            deadline,
        };
        request.signed(
            &owner.sign_hash_sync(&request.digest(&self.permit_domain().await)).expect("the owner signs"),
        )
    }
}
