//! Carries out what is decided about the client's channels: [`ClientRunner`].

use std::sync::Arc;

use alloy::primitives::Address;
use alloy::signers::SignerSync;
use alloy::sol_types::SolCall as _;
use async_trait::async_trait;
use privatix_chain::{Intent, TxId};
use privatix_channel::{Amount, ChannelId, ClientChannel, Domain, SignedVoucher, VoucherVerifier};
use privatix_contracts::{AboveContractRange, IPSC, call};
use privatix_db::Conn;
use privatix_market::{
    Ask, Budget, Client, ClientEffect, ClientNotice, ClientPurpose, ClientReport, ClientState, Effect,
    EffectId, Env, Fate, Input, OrderId, Outcome, Subject, Trouble, Uptime, Verified,
};
use privatix_node::drive::Drives;
use privatix_node::shell::{Applied, Ran, Runner};
use privatix_node::{Node, NodeError};
use privatix_store::channels::{self, Shown};
use privatix_store::vouchers;

use crate::reasons;

/// Provides the money for openings and top-ups, and keeps the orders that they carry out.
///
/// Everything is done in the transaction of the decision, and undone with it.
#[async_trait]
pub trait Funds: Send + Sync {
    /// What may still be spent on channels with this agent, after all that is reserved. It is read once for a decision, before its
    /// effects.
    ///
    /// # Errors
    /// [`NodeError`]: nothing is decided.
    async fn budget(&self, conn: &mut Conn, agent: Address) -> Result<Budget, NodeError>;

    /// The number of the next order: above those of all orders so far.
    ///
    /// # Errors
    /// [`NodeError`]: nothing is decided.
    async fn next_order(&self, conn: &mut Conn) -> Result<OrderId, NodeError>;

    /// Stores an order to add to the channel's deposit that a decision took: its number, how much it adds, and whether the policy gave
    /// it. What it adds is reserved for it.
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn take_order(
        &self,
        conn: &mut Conn,
        state: &ClientState,
        order: OrderId,
        adds: (Amount, bool),
    ) -> Result<(), NodeError>;

    /// Stores the orders of an earlier version that the first state of a channel goes on with, its opening and its top-ups, each under
    /// the number that its transaction names, with what is reserved for it.
    ///
    /// A waiting top-up whose number another order has by now gets the next one in the state. What has a transaction under such a number
    /// goes on without an order.
    ///
    /// # Errors
    /// [`NodeError`]: the channel is not adopted.
    async fn adopt(&self, conn: &mut Conn, state: &mut ClientState) -> Result<(), NodeError>;

    /// Stores the job that provides the money for the transaction of this number. What comes of it is decided as [`Fate::Funded`] or
    /// [`Fate::Unfunded`].
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn fund(&self, conn: &mut Conn, effect: EffectId, purpose: ClientPurpose) -> Result<(), NodeError>;

    /// Where the money comes from that a job has provided, in the transaction that submits the call. Approvals for which the call
    /// waits are stored here.
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn payment(
        &self,
        conn: &mut Conn,
        state: &ClientState,
        purpose: ClientPurpose,
    ) -> Result<Payment, NodeError>;

    /// Takes back the job that provides the money for this number. Without one, nothing happens. It is also called in the transaction in
    /// which that job reports that the money is there: a job that runs is left, and finds what is wanted when it ends.
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn take_back(&self, conn: &mut Conn, effect: EffectId) -> Result<(), NodeError>;

    /// Stores how an order of the channel ended, and releases what was reserved for it.
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn end_order(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        order: OrderId,
        outcome: Outcome,
    ) -> Result<(), NodeError>;

    /// Stores how the opening of a channel ended, and settles what was reserved for it; `None` where a reorganisation has undone the
    /// opening, so that its order is under way again. The last one counts.
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn opened(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        outcome: Option<Outcome>,
    ) -> Result<(), NodeError>;

    /// Stores what became of the tokens of the channel's transactions, from the state before a decision to that after it: those of one
    /// that is in a block are not in the balance any more, and are again if a reorganisation takes it back.
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn follow(
        &self,
        conn: &mut Conn,
        before: &ClientState,
        after: &ClientState,
    ) -> Result<(), NodeError> {
        let _ = (conn, before, after);
        Ok(())
    }
}

/// Where the money of an opening or a top-up comes from.
#[derive(Clone, Debug)]
pub enum Payment {
    /// The account's balance in the contract.
    Contract,
    /// The account's wallet.
    Wallet {
        /// Allows the contract to take it. Void where an allowance does that: the contract ignores it then.
        permit: IPSC::Permit,
        /// The approval that must be mined first, if there is one.
        after: Option<TxId>,
    },
}

/// Asks agents.
#[async_trait]
pub trait Asks: Send + Sync {
    /// Stores the job that asks the channel's agent, in place of an earlier one of the channel for the same. What the agent answers is
    /// decided as [`Input::Peer`]; without an answer by `until`, [`Unanswered`](privatix_market::ClientMessage::Unanswered) with this
    /// number. What is asked for is never [`Ask::Voucher`].
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn ask(
        &self,
        conn: &mut Conn,
        state: &ClientState,
        seq: u32,
        what: Ask,
        until: Uptime,
    ) -> Result<(), NodeError>;

    /// Sends the channel's best stored voucher, in place of one that is being sent: the decision is committed. The answer is decided
    /// as that of [`ask`](Self::ask). It must not wait for anything. A crash may come before it, and the request is then repeated once
    /// its time is over.
    fn send(&self, channel: ChannelId, sending: Sending);
}

/// A request to take the best voucher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The number of the request.
    pub seq: u32,
    /// The voucher's amount, in base units. A better one that is stored by then is sent instead.
    pub cumulative: Amount,
    /// Until when the answer is waited for.
    pub until: Uptime,
}

/// Receives each state that was committed, with its revision: for views in memory. It must not wait for anything.
pub type Views = dyn Fn(&ClientState, u64) + Send + Sync;

/// What a [`ClientRunner`] is made of.
#[derive(Clone)]
pub struct ClientRunnerParts {
    /// Chain, contract, token.
    pub domain: Domain,
    /// Who sends transactions: the account.
    pub sender: Address,
    /// Signs vouchers: the key that the channels name, of the account or of a session.
    pub signer: Arc<dyn SignerSync + Send + Sync>,
    /// Asks the service adapter.
    pub drives: Arc<dyn Drives<Client>>,
    /// Provides the money.
    pub funds: Arc<dyn Funds>,
    /// Asks agents.
    pub asks: Arc<dyn Asks>,
    /// Receives each state.
    pub views: Arc<Views>,
}

impl std::fmt::Debug for ClientRunnerParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientRunnerParts").field("sender", &self.sender).finish_non_exhaustive()
    }
}

impl ClientRunnerParts {
    /// Those of a node, without views.
    pub fn of(
        node: &Node,
        drives: Arc<dyn Drives<Client>>,
        funds: Arc<dyn Funds>,
        asks: Arc<dyn Asks>,
    ) -> Self {
        Self {
            domain: *node.domain(),
            sender: node.sender(),
            signer: Arc::new(node.signer().clone()),
            drives,
            funds,
            asks,
            views: Arc::new(|_, _| {}),
        }
    }
}

/// Carries out what is decided about the client's channels.
#[derive(Clone, Debug)]
pub struct ClientRunner {
    parts: ClientRunnerParts,
    /// What the input came with.
    carried: Option<SignedVoucher>,
}

impl ClientRunner {
    /// A runner of these parts.
    pub const fn new(parts: ClientRunnerParts) -> Self {
        Self { parts, carried: None }
    }

    /// The same, for the input that came with this voucher.
    #[must_use]
    pub fn adopting(&self, voucher: SignedVoucher) -> Self {
        Self { carried: Some(voucher), ..self.clone() }
    }

    /// Signs a voucher over what is due in all, and stores it: it is sent only once that is committed.
    async fn sign(
        &self,
        conn: &mut Conn,
        state: &ClientState,
        due: Amount,
    ) -> Result<Result<Verified, Trouble>, NodeError> {
        let channel = state.id;
        let mut view = ClientChannel::new(self.parts.domain, state.descriptor);
        view.reset_chain(state.chain);
        let proposal = match view.propose(due) {
            Ok(Some(proposal)) => proposal,
            refused => {
                tracing::error!(%channel, %due, ?refused, "what is due cannot be signed; report this as an error of the program");
                return Ok(Err(Trouble::Failed));
            }
        };
        let signed = match proposal.sign(&self.parts.signer) {
            Ok(signed) => *signed.voucher(),
            Err(error) => {
                tracing::error!(%channel, %due, %error, "the key could not sign a voucher");
                return Ok(Err(Trouble::Key));
            }
        };
        let verifier = VoucherVerifier::new(self.parts.domain, &state.descriptor);
        let Ok(verified) = Verified::check(&verifier, &signed) else { return Ok(Err(Trouble::Key)) };
        // The best one that can be read is lower. What is not stored must not be sent.
        if !vouchers::store(conn, &signed).await? {
            tracing::error!(%channel, %due, "a voucher over at least as much is stored that cannot be read, so none is signed");
            return Ok(Err(Trouble::Failed));
        }
        tracing::debug!(%channel, cumulative = %due, "voucher signed");
        Ok(Ok(verified))
    }

    /// Stores the voucher with which the input came, in place of a lower one and of one that cannot be read.
    async fn adopt(&self, conn: &mut Conn, state: &ClientState, adopted: Verified) -> Result<(), NodeError> {
        let channel = state.id;
        let Some(signed) = self.carried.filter(|signed| signed.cumulative() == adopted.cumulative()) else {
            let reason = format!("the one over {} is to be adopted, and none came", adopted.cumulative());
            return Err(NodeError::DamagedVoucher { channel, reason });
        };
        if !vouchers::store(conn, &signed).await? && !vouchers::mend(conn, &signed).await? {
            let reason = format!("the one over {} is below what is stored", adopted.cumulative());
            return Err(NodeError::DamagedVoucher { channel, reason });
        }
        Ok(())
    }
}

/// The number of the channel's next order. One of an earlier version, which stored no orders, may be higher than all that are stored, and
/// an order that is not above the channel's last one would be taken for a repeated one.
pub(crate) fn above_last(next: OrderId, state: &ClientState) -> OrderId {
    let above = state.own.last_order.map_or(0, |last| last.0.saturating_add(1));
    next.max(OrderId(above))
}

/// The call of a transaction for this purpose.
fn calldata(
    state: &ClientState,
    purpose: ClientPurpose,
    payment: &Payment,
) -> Result<Vec<u8>, AboveContractRange> {
    let channel = &state.descriptor;
    Ok(match (purpose, payment) {
        (ClientPurpose::Open { deposit }, Payment::Contract) => call::open(channel, deposit)?.abi_encode(),
        (ClientPurpose::Open { deposit }, Payment::Wallet { permit, .. }) => {
            call::open_with_permit(channel, deposit, permit.clone())?.abi_encode()
        }
        (ClientPurpose::TopUp { amount, .. }, Payment::Contract) => {
            call::top_up(channel, amount)?.abi_encode()
        }
        (ClientPurpose::TopUp { amount, .. }, Payment::Wallet { permit, .. }) => {
            call::top_up_with_permit(channel, amount, permit.clone())?.abi_encode()
        }
        (ClientPurpose::RequestClose { admitted }, _) => call::request_close(channel, admitted).abi_encode(),
        (ClientPurpose::FinalizeClose, _) => call::finalize_close(channel).abi_encode(),
    })
}

/// Whether a top-up is on its way, as lists show it.
pub(crate) fn is_topping_up(state: &ClientState) -> bool {
    !state.own.top_ups.is_empty()
}

#[async_trait]
impl Runner<Client> for ClientRunner {
    async fn call(
        &self,
        conn: &mut Conn,
        state: &ClientState,
        purpose: ClientPurpose,
    ) -> Result<Result<Intent, Fate>, NodeError> {
        let payment = match purpose {
            ClientPurpose::Open { .. } | ClientPurpose::TopUp { .. } => {
                self.parts.funds.payment(conn, state, purpose).await?
            }
            ClientPurpose::RequestClose { .. } | ClientPurpose::FinalizeClose => Payment::Contract,
        };
        let calldata = match calldata(state, purpose, &payment) {
            Ok(calldata) => calldata,
            Err(error) => {
                tracing::error!(channel = %state.id, ?purpose, %error, "the contract takes no such amount");
                return Ok(Err(Fate::Failed { lasting: true }));
            }
        };
        let intent = Intent::new(String::new(), self.parts.sender, self.parts.domain.contract(), calldata);
        Ok(Ok(match payment {
            Payment::Wallet { after: Some(approval), .. } => intent.after(approval),
            Payment::Wallet { after: None, .. } | Payment::Contract => intent,
        }))
    }

    async fn run(
        &self,
        conn: &mut Conn,
        state: &ClientState,
        effect: &Effect<Client>,
    ) -> Result<Ran<Client>, NodeError> {
        let ClientRunnerParts { drives, funds, asks, .. } = &self.parts;
        let Effect::Own(own) = effect else {
            let Effect::Drive { seq } = *effect else { return Ok(Ran::AfterCommit) };
            drives.drive(conn, state.id, seq, state.own.service.target).await?;
            return Ok(Ran::Queued);
        };
        match *own {
            ClientEffect::Sign(due) => {
                let signed = self.sign(conn, state, due).await?;
                Ok(Ran::Reports(Input::Report(ClientReport::Signed(signed))))
            }
            ClientEffect::Adopt(adopted) => {
                self.adopt(conn, state, adopted).await?;
                Ok(Ran::Done)
            }
            ClientEffect::Fund { seq, purpose } => {
                let effect = EffectId { subject: Subject::Channel(state.id), seq };
                funds.fund(conn, effect, purpose).await?;
                Ok(Ran::Queued)
            }
            ClientEffect::Ask { seq, what, until } => {
                asks.ask(conn, state, seq, what, until).await?;
                Ok(Ran::Queued)
            }
            ClientEffect::TakeOrder { order, amount, automatic } => {
                funds.take_order(conn, state, order, (amount, automatic)).await?;
                Ok(Ran::Done)
            }
            ClientEffect::EndOrder { order, outcome } => {
                funds.end_order(conn, state.id, order, outcome).await?;
                Ok(Ran::Done)
            }
            // What is sent, once everything is stored.
            _ => Ok(Ran::AfterCommit),
        }
    }

    async fn take_back(&self, conn: &mut Conn, effect: EffectId) -> Result<(), NodeError> {
        self.parts.funds.take_back(conn, effect).await
    }

    async fn fill(
        &self,
        conn: &mut Conn,
        state: &ClientState,
        env: &mut Env<'_, Client>,
    ) -> Result<(), NodeError> {
        // Nothing more is spent. That the channel is closed says less: the input may be that this was undone.
        if state.own.ending.is_some() {
            return Ok(());
        }
        let funds = &self.parts.funds;
        env.budget = funds.budget(conn, state.descriptor.agent).await?;
        env.next_order = above_last(funds.next_order(conn).await?, state);
        Ok(())
    }

    async fn show(
        &self,
        conn: &mut Conn,
        before: &ClientState,
        state: &ClientState,
        env: &Env<'_, Client>,
    ) -> Result<(), NodeError> {
        let reason = reasons::reason(state);
        let shown = Shown {
            status: state.status(),
            service: state.service_status(env.instance),
            reason: reason.as_deref(),
            held: state.own.paused,
        };
        channels::show(conn, state.id, shown).await?;
        if is_topping_up(before) != is_topping_up(state) {
            channels::set_top_up_pending(conn, state.id, is_topping_up(state)).await?;
        }
        if before.opened() != state.opened() {
            self.parts.funds.opened(conn, state.id, state.opened()).await?;
        }
        self.parts.funds.follow(conn, before, state).await
    }

    fn committed(&self, applied: &Applied<Client>) {
        let Applied { state, revision, effects, .. } = applied;
        self.parts.drives.committed(state, *revision);
        (self.parts.views)(state, *revision);
        for effect in effects {
            match *effect {
                Effect::Own(ClientEffect::Send { seq, cumulative, until }) => {
                    self.parts.asks.send(state.id, Sending { seq, cumulative, until });
                }
                Effect::Notify(notice) => show(state.id, &notice),
                _ => {}
            }
        }
    }
}

/// The user's story of a channel, in the log.
fn show(channel: ChannelId, notice: &ClientNotice) {
    match *notice {
        ClientNotice::Ends(why) => {
            tracing::info!(%channel, ?why, "the service ends, and the rest of the deposit will be taken back");
        }
        ClientNotice::CannotSign => {
            tracing::error!(%channel, "a payment could not be signed, so the agent will suspend the service; it is tried again");
        }
        ClientNotice::Claimed { claimed } => {
            tracing::error!(%channel, %claimed, "the database came back from a backup, and the agent claims more than it shows as signed; nothing is signed before `accept-claim` accepts that, or more is due");
        }
        ClientNotice::Adopted { known, adopted } => {
            tracing::warn!(%channel, %known, %adopted, "this database did not know all that was signed; the agent has shown the better voucher, which counts from now on");
        }
        ClientNotice::MetersApart { ours, theirs, most } => {
            tracing::warn!(%channel, %ours, %theirs, %most, "the agent counts more than is paid for; where it bears no more, it suspends the service");
        }
        ClientNotice::ServiceLost => {
            tracing::error!(%channel, "the service adapter did not stop the service in time; it may go on");
        }
        ClientNotice::Unreachable { answers: false } => {
            tracing::warn!(%channel, "the agent does not answer for long; if that lasts, the service is ended, and the rest of the deposit taken back");
        }
        ClientNotice::Unreachable { answers: true } => {
            tracing::warn!(%channel, "the agent answers, and has taken no payment for long; if that lasts, the service is ended, and the rest of the deposit taken back");
        }
        ClientNotice::NotNow(reason) => {
            tracing::warn!(%channel, ?reason, "the agent takes no payment or gives no access now, and gave a reason; it is asked again");
        }
        ClientNotice::TopUpsFail { tries } => {
            tracing::error!(%channel, tries, "automatic top-ups fail; the service goes on up to its deposit");
        }
        ClientNotice::Failing { tries, lasting: true } => {
            tracing::error!(%channel, tries, "a close request or a finalization failed, and will fail again until the cause is mended: see `transactions list`");
        }
        ClientNotice::Failing { tries, lasting: false } => {
            tracing::error!(%channel, tries, "a close request or a finalization failed; it is tried again");
        }
        ClientNotice::Hidden => {
            tracing::error!(%channel, "a transaction succeeded, and the channel's events do not show it; if that lasts, add an endpoint of another provider");
        }
        ClientNotice::Parked => {
            tracing::warn!(%channel, "the close was cancelled by the user and is not sent again; `channels close` does");
        }
        notice => tracing::info!(%channel, ?notice, "the channel changed"),
    }
}
