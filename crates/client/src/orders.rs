//! The user's orders about channels: [`ChannelOrders`].

use std::sync::Arc;
use std::time::SystemTime;

use alloy::primitives::{Address, keccak256};
use privatix_billing::ClientPolicy;
use privatix_channel::{AgentView, Amount, ChannelDescriptor, ChannelId, Domain, OfferingHash};
use privatix_db::{Conn, Database};
use privatix_jobs::{Filter, JobId, JobRecord};
use privatix_market::{
    Client, ClientOrder, ClientPurpose, ClientState, Decision, Input, Opening, OrderId, Outcome, Subject,
};
use privatix_node::shell::NotApplied;
use privatix_node::{Decider, Given, NodeError, after};
use privatix_store::orders::{self, What};
use privatix_store::{StoreError, channels};

use crate::fund::{Fund, Funder, fund_subject};
use crate::funding::Funding;
use crate::limited::refused;
use crate::runner::{Funds as _, above_last};

/// An order that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Its number: how it ends is stored under it.
    pub order: OrderId,
    /// The channel that it is about.
    pub channel: ChannelId,
    /// Whether it was given before, under the same key: nothing was done now.
    pub is_repeated: bool,
}

/// Takes the user's orders about channels. Each is decided and stored in one transaction: what is refused leaves nothing, and what
/// was taken is carried out whatever happens to the process. Clones share what they are made of.
#[derive(Clone, Debug)]
pub struct ChannelOrders {
    db: Database,
    domain: Domain,
    decider: Arc<Decider<Client>>,
    funding: Funding,
    funder: Arc<Funder>,
}

impl ChannelOrders {
    /// Orders that this decider decides: `funding` is what its runner has, and `funder` asks what the account has.
    pub const fn new(
        db: Database,
        domain: Domain,
        decider: Arc<Decider<Client>>,
        funding: Funding,
        funder: Arc<Funder>,
    ) -> Self {
        Self { db, domain, decider, funding, funder }
    }

    /// An order, by its number.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn get(&self, order: OrderId) -> Result<Option<orders::Order>, NodeError> {
        Ok(orders::get(&mut *self.db.read().await?, order).await?)
    }

    /// The orders about a channel, or all, the newest first, at most `limit` of them: those before the order `before`, or the newest ones.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn list(
        &self,
        channel: Option<ChannelId>,
        before: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<orders::Order>, NodeError> {
        let mut conn = self.db.read().await?;
        Ok(match channel {
            Some(channel) => orders::of_subject(&mut conn, Subject::Channel(channel), before, limit).await?,
            None => orders::list(&mut conn, before, limit).await?,
        })
    }

    /// When this side asks to close a channel whose service has ended, at the latest, if nothing changes meanwhile. `None` where no time
    /// leads there, and once it is asked for.
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known.
    pub async fn closes_at(&self, channel: ChannelId) -> Result<Option<SystemTime>, NodeError> {
        let stored = match self.decider.load(&mut *self.db.read().await?, channel).await {
            // What cannot be read is shown by health.
            Err(NotApplied::NoState(_) | NotApplied::Damaged { .. }) => return Ok(None),
            loaded => loaded?,
        };
        let env = self.decider.env_of(&stored);
        Ok(stored.state.closes_at(&env).map(|at| after(SystemTime::now(), at.since(env.uptime))))
    }

    /// The job that provides the money for an order. `None` while the order waits for another one, and once the job is not kept any more.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn job_of(&self, order: &orders::Order) -> Result<Option<JobId>, NodeError> {
        let Subject::Channel(channel) = order.subject else { return Ok(None) };
        let is_its = |purpose: ClientPurpose| match (purpose, order.what) {
            (ClientPurpose::Open { .. }, What::Open { .. }) => true,
            (ClientPurpose::TopUp { order: of, .. }, What::TopUp { .. }) => of == order.id,
            _ => false,
        };
        let filter = Filter::new().subject(fund_subject(channel));
        let page = privatix_jobs::list(&mut *self.db.read().await?, &filter).await?;
        let mut jobs = page.jobs.iter();
        Ok(jobs.find(|job| Fund::of(job).is_some_and(|fund| is_its(fund.purpose))).map(|job| job.id))
    }

    /// The opening that was given before under a key; `None` if there is none.
    ///
    /// # Errors
    /// [`NodeError::Store`] where the key was used for something else: another offering, agent or deposit counts as that. What is not
    /// given is not compared.
    pub async fn opened_as(
        &self,
        key: &str,
        (agent, offering): (Option<Address>, OfferingHash),
        deposit: Option<Amount>,
    ) -> Result<Option<Ordered>, NodeError> {
        let mut conn = self.db.read().await?;
        let Some(before) = orders::of_key(&mut conn, key).await? else { return Ok(None) };
        if let (What::Open { deposit: of }, Subject::Channel(channel)) = (before.what, before.subject) {
            let opened = channels::get(&mut conn, channel).await?.descriptor;
            let is_same = opened.offering == offering
                && agent.is_none_or(|agent| agent == opened.agent)
                && deposit.is_none_or(|deposit| deposit == of);
            if is_same {
                return Ok(Some(Ordered { order: before.id, channel, is_repeated: true }));
            }
        }
        Err(StoreError::OrderKeyUsed { key: key.to_owned(), order: before.id.0 }.into())
    }

    /// The opening of this channel, whose number follows from the order's key, where the channel was found on chain: a database that is lost
    /// has ordered it. It is stored under the key. `None` where the channel is not known.
    ///
    /// # Errors
    /// [`NodeError::Store`] where the key was used for something else: another deposit counts as that.
    pub async fn found_as(
        &self,
        descriptor: &ChannelDescriptor,
        deposit: Option<Amount>,
        given: &Given,
    ) -> Result<Option<Ordered>, NodeError> {
        let mut tx = self.db.begin().await?;
        let found = self.found_in(&mut tx, descriptor, deposit, given).await?;
        if found.is_some() {
            tx.commit().await?;
        }
        Ok(found)
    }

    async fn found_in(
        &self,
        conn: &mut Conn,
        descriptor: &ChannelDescriptor,
        deposit: Option<Amount>,
        given: &Given,
    ) -> Result<Option<Ordered>, NodeError> {
        let channel = descriptor.id(&self.domain);
        let Some(key) = &given.key else { return Ok(None) };
        let Some(known) = channels::find(conn, channel).await? else { return Ok(None) };
        self.funding.take_found(conn, (channel, descriptor.agent), known.deposit).await?;
        let Some(first) = orders::first(conn, Subject::Channel(channel)).await? else { return Ok(None) };
        let is_same = match first.what {
            What::Open { deposit: of } => deposit.is_none_or(|deposit| deposit == of),
            _ => false,
        };
        if !is_same || first.key.as_ref().is_some_and(|other| other != key) {
            return Err(StoreError::OrderKeyUsed { key: key.clone(), order: first.id.0 }.into());
        }
        orders::name(conn, first.id, key, &given.by).await?;
        Ok(Some(Ordered { order: first.id, channel, is_repeated: true }))
    }

    /// A job was cancelled by hand: what waited for the money that it was to provide is given up.
    ///
    /// # Errors
    /// [`NodeError`]: it is given up a moment later.
    pub async fn job_cancelled(&self, job: &JobRecord) -> Result<(), NodeError> {
        match Fund::channel_of(job) {
            Some(channel) => self.funder.settle_cancelled(channel).await,
            None => Ok(()),
        }
    }

    /// Opens the channel that this describes, with what the user accepts. The order ends when the channel is on chain, or is given
    /// up.
    ///
    /// # Errors
    /// As [`may_accept`](Self::may_accept); [`NodeError::Store`] where the key was used for something else.
    pub async fn accept(
        &self,
        descriptor: &ChannelDescriptor,
        opening: &Opening,
        given: Given,
    ) -> Result<Ordered, NodeError> {
        let (channel, deposit) = (descriptor.id(&self.domain), opening.deposit);
        self.funder.read_balance().await?;
        let mut tx = self.db.begin().await?;
        if let Some(before) = repeated(&mut tx, &given, channel, What::Open { deposit }).await? {
            let opened = channels::get(&mut tx, before.channel).await?.descriptor;
            if (opened.agent, opened.offering) != (descriptor.agent, descriptor.offering) {
                let (key, order) = (given.key.unwrap_or_default(), before.order.0);
                return Err(StoreError::OrderKeyUsed { key, order }.into());
            }
            return Ok(before);
        }
        if let Some(found) = self.found_in(&mut tx, descriptor, Some(deposit), &given).await? {
            tx.commit().await?;
            return Ok(found);
        }
        let begins = self.begins(&mut tx, descriptor, opening).await?;
        channels::insert(&mut tx, channel, descriptor, deposit).await?;
        let Given { key, by } = given;
        let order = self.funding.take_opening(&mut tx, &begins.state, deposit, (key, &by)).await?.id();
        let applied = self.decider.begin(&mut tx, begins).await?;
        self.decider.commit(&applied, tx.commit()).await?;
        Ok(Ordered { order, channel, is_repeated: false })
    }

    /// Whether [`accept`](Self::accept) would be refused as things stand. It says so before anybody else is asked about the channel.
    ///
    /// # Errors
    /// [`NodeError::Limited`] and [`NodeError::Insufficient`] for what the user's limits and the account's balance do not allow;
    /// [`NodeError::Refused`] for what may not be accepted for another reason; what keeps from asking what the account has.
    pub async fn may_accept(
        &self,
        descriptor: &ChannelDescriptor,
        opening: &Opening,
    ) -> Result<(), NodeError> {
        self.funder.read_balance().await?;
        self.begins(&mut *self.db.read().await?, descriptor, opening).await.map(drop)
    }

    /// What accepting decides, with the budget as `conn` shows it.
    async fn begins(
        &self,
        conn: &mut Conn,
        descriptor: &ChannelDescriptor,
        opening: &Opening,
    ) -> Result<Decision<Client>, NodeError> {
        let mut env = self.decider.surroundings();
        env.budget = self.funding.budget(conn, descriptor.agent).await?;
        ClientState::accept(descriptor.id(&self.domain), *descriptor, opening, &env)
            .map_err(|why| refused(why, descriptor.agent, &env.budget))
    }

    /// Adds to a channel's deposit. The order ends when that is final on chain, or is given up.
    ///
    /// # Errors
    /// [`NodeError::Refused`] for a channel that has ended, or too many top-ups at once; others as [`accept`](Self::accept).
    pub async fn top_up(
        &self,
        channel: ChannelId,
        amount: Amount,
        given: Given,
    ) -> Result<Ordered, NodeError> {
        self.funder.read_balance().await?;
        let mut tx = self.db.begin().await?;
        if let Some(before) =
            repeated(&mut tx, &given, channel, What::TopUp { amount, automatic: false }).await?
        {
            return Ok(before);
        }
        let before = self.decider.load(&mut tx, channel).await?;
        let order = above_last(orders::next(&mut tx).await?, &before.state);
        let input = Input::Order(ClientOrder::TopUp { order, amount });
        let applied = match self.decider.decide_in(&mut tx, &before, input).await {
            Err(NotApplied::Refused(why)) => {
                let agent = before.state.descriptor.agent;
                let budget = self.funding.budget(&mut tx, agent).await?;
                return Err(refused(why, agent, &budget));
            }
            decided => decided?,
        };
        // The decision has stored it.
        if let Some(key) = &given.key {
            orders::name(&mut tx, order, key, &given.by).await?;
        }
        self.decider.commit(&applied, tx.commit()).await?;
        Ok(Ordered { order, channel, is_repeated: false })
    }

    /// Suspends the service until [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`NodeError::Refused`] for a channel that is closed; [`NodeError::Store`] for one that is not known, and where the key was used
    /// for something else.
    pub async fn pause(&self, channel: ChannelId, given: Given) -> Result<Ordered, NodeError> {
        self.take(channel, What::Pause, ClientOrder::Pause, given).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn resume(&self, channel: ChannelId, given: Given) -> Result<Ordered, NodeError> {
        self.take(channel, What::Resume, ClientOrder::Resume, given).await
    }

    /// What the agent of a restored channel claims beyond what this database shows as signed, in base units in all. `None` once that is
    /// accepted, and after the end of the service.
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known.
    pub async fn claimed(&self, channel: ChannelId) -> Result<Option<Amount>, NodeError> {
        let stored = self.decider.load(&mut *self.db.read().await?, channel).await?;
        Ok(claimed(&stored.state))
    }

    /// What the channel's agent showed last of its side.
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known.
    pub async fn agent_view(&self, channel: ChannelId) -> Result<Option<AgentView>, NodeError> {
        let stored = match self.decider.load(&mut *self.db.read().await?, channel).await {
            // What cannot be read is shown by health.
            Err(NotApplied::NoState(_) | NotApplied::Damaged { .. }) => return Ok(None),
            loaded => loaded?,
        };
        Ok(stored.state.own.theirs.map(|shown| shown.view))
    }

    /// Believes that the agent of a restored channel [claims](Self::claimed) this amount rightly: the service goes on, and is paid for
    /// above it.
    ///
    /// # Errors
    /// [`NodeError::Refused`] where the agent claims nothing, or another amount by now; others as [`pause`](Self::pause).
    pub async fn accept_claim(
        &self,
        channel: ChannelId,
        amount: Amount,
        given: Given,
    ) -> Result<Ordered, NodeError> {
        let is_claimed = |state: &ClientState| match claimed(state) {
            Some(claimed) if claimed == amount => Ok(()),
            Some(claimed) => Err(NodeError::Refused(format!(
                "the agent of channel {channel} claims {claimed} base units in all by now, and not {amount}: accept that amount, if it \
                 can be right"
            ))),
            None => Err(NodeError::Refused(format!(
                "the agent of channel {channel} claims nothing beyond what is known to be signed: there is nothing to accept"
            ))),
        };
        self.take_if(
            is_claimed,
            channel,
            (What::AcceptClaim { claimed: amount }, ClientOrder::AcceptClaim),
            given,
        )
        .await
    }

    /// Pays and tops up this channel by a policy of its own from now on; `None`: again by that of all channels. A top-up that is under
    /// way goes on.
    ///
    /// # Errors
    /// [`NodeError::Refused`] for a policy that could never top the channel up, and after the end of the service; others as
    /// [`pause`](Self::pause).
    pub async fn set_billing(
        &self,
        channel: ChannelId,
        policy: Option<ClientPolicy>,
        given: Given,
    ) -> Result<Ordered, NodeError> {
        self.take(channel, What::SetBilling { policy }, ClientOrder::SetBilling(policy), given).await
    }

    /// How a channel is paid and topped up, and whether that is a policy of its own.
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known.
    pub async fn billing(&self, channel: ChannelId) -> Result<(ClientPolicy, bool), NodeError> {
        let stored = self.decider.load(&mut *self.db.read().await?, channel).await?;
        let policy = *stored.state.billing(&self.decider.env_of(&stored));
        Ok((policy, stored.state.own.billing.is_some()))
    }

    /// How channels without a policy of their own are paid and topped up.
    pub fn default_billing(&self) -> ClientPolicy {
        self.decider.surroundings().policy.billing
    }

    /// Ends the service, pays what is owed, and leaves it to the agent for a while to close the channel. An opening that is not mined
    /// is given up.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn end(&self, channel: ChannelId, given: Given) -> Result<Ordered, NodeError> {
        self.take(channel, What::End, ClientOrder::End, given).await
    }

    /// The same, and asks to close the channel without waiting for the agent.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn close(&self, channel: ChannelId, given: Given) -> Result<Ordered, NodeError> {
        self.take(channel, What::Close, ClientOrder::Close, given).await
    }

    /// The same for a channel whose best voucher cannot be read: what it promised is given up, and what is known to be paid is admitted.
    /// The agent can still claim more.
    ///
    /// # Errors
    /// [`NodeError::Refused`] where the voucher can be read: [`close`](Self::close) closes that channel; others as [`pause`](Self::pause).
    pub async fn abandon(&self, channel: ChannelId, given: Given) -> Result<Ordered, NodeError> {
        self.take(channel, What::Abandon, ClientOrder::Abandon, given).await
    }

    async fn take(
        &self,
        channel: ChannelId,
        what: What,
        order: ClientOrder,
        given: Given,
    ) -> Result<Ordered, NodeError> {
        self.take_if(|_| Ok(()), channel, (what, order), given).await
    }

    /// Takes an order that takes no tokens, if the state allows it. It is carried out with the decision: what is wanted from then on
    /// follows from the state.
    async fn take_if(
        &self,
        allows: impl FnOnce(&ClientState) -> Result<(), NodeError> + Send,
        channel: ChannelId,
        (what, order): (What, ClientOrder),
        given: Given,
    ) -> Result<Ordered, NodeError> {
        let mut tx = self.db.begin().await?;
        if let Some(before) = repeated(&mut tx, &given, channel, what).await? {
            return Ok(before);
        }
        let before = self.decider.load(&mut tx, channel).await?;
        allows(&before.state)?;
        let applied = self.decider.decide_in(&mut tx, &before, Input::Order(order)).await?;
        // The decision may have stored an order of the policy.
        let number = orders::next(&mut tx).await?;
        let Given { key, by } = given;
        orders::place(&mut tx, number, &self.funding.order(&applied.state, what, (key, &by))).await?;
        orders::end(&mut tx, number, Outcome::Done, SystemTime::now()).await?;
        self.decider.commit(&applied, tx.commit()).await?;
        Ok(Ordered { order: number, channel, is_repeated: false })
    }
}

/// The nonce of the channel that an order with this key opens: it follows from the key, so that the order opens one channel, also where
/// the database that knew it is lost.
pub fn opening_nonce(
    domain: &Domain,
    client: Address,
    (agent, offering): (Address, OfferingHash),
    key: &str,
) -> u64 {
    // All but the key have a fixed length, so no two orders write the same.
    let mut text = Vec::from(*b"privatix opening 1");
    text.extend(domain.chain_id().to_be_bytes());
    text.extend(domain.contract());
    text.extend(client);
    text.extend(agent);
    text.extend(offering.as_b256());
    text.extend(key.as_bytes());
    // A hash is longer than that.
    keccak256(text).first_chunk().copied().map(u64::from_be_bytes).unwrap_or_default()
}

/// What waits for the user's word.
fn claimed(state: &ClientState) -> Option<Amount> {
    let floor = state.own.floor.filter(|floor| !floor.accepted && state.own.ending.is_none())?;
    Some(floor.claimed)
}

/// The order that was given before under the same key.
///
/// # Errors
/// [`StoreError::OrderKeyUsed`] where that is another one. Which channel an opening is about does not count: an order of an
/// earlier version drew it at random.
async fn repeated(
    conn: &mut Conn,
    given: &Given,
    channel: ChannelId,
    what: What,
) -> Result<Option<Ordered>, NodeError> {
    let Some(key) = &given.key else { return Ok(None) };
    let Some(before) = orders::of_key(conn, key).await? else { return Ok(None) };
    let is_opening = matches!(what, What::Open { .. });
    match before.subject {
        Subject::Channel(about) if before.what == what && (is_opening || about == channel) => {
            Ok(Some(Ordered { order: before.id, channel: about, is_repeated: true }))
        }
        _ => Err(StoreError::OrderKeyUsed { key: key.clone(), order: before.id.0 }.into()),
    }
}
