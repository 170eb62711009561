//! The methods: each a few lines between a request and the role's handle.

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use jsonrpsee::RpcModule;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use privatix_adapter::Role;
use privatix_agent::{AgentHandle, OfferingOrder};
use privatix_chain::{Cancelled, Raise, TxFilter};
use privatix_channel::{ChannelId, OfferingHash, Period};
use privatix_client::ClientHandle;
use privatix_jobs::{JobId, Pushed};
use privatix_market::{OrderId, Subject};
use privatix_node::{Given, Node, NodeError};
use privatix_offering::TemplateKind;
use privatix_store::{StoreError, offerings, orders};
use tokio::sync::watch;

use super::Looks;
use super::operator::{ChannelCommand, Operator};
use super::{convert, health};
use crate::node::{Accepted, Balances, ChannelOrder, JobOrder};
use crate::{ErrorCode, Failure, Request, agent, client, node};

/// What there is to know of the process, beside the role.
#[derive(Clone)]
pub(crate) struct About {
    pub(crate) started_at: SystemTime,
    pub(crate) tor: Option<watch::Receiver<node::TorStatus>>,
    pub(crate) looks: Looks,
}

/// Methods over a role's handle.
pub(crate) struct Methods<O> {
    module: RpcModule<O>,
}

const PAGE: u32 = 100;
const LONGEST_PAGE: u32 = 1_000;

fn page(limit: Option<u32>) -> u32 {
    limit.unwrap_or(PAGE).clamp(1, LONGEST_PAGE)
}

impl<O: Operator> Methods<O> {
    fn new(operator: O) -> Self {
        Self { module: RpcModule::new(operator) }
    }

    /// Answers `R` with `answer`.
    fn on<R: Request, F>(mut self, answer: impl Fn(Arc<O>, R) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<R::Answer, Failure>> + Send,
    {
        let method = move |params: Params<'static>, operator: Arc<O>, _: http::Extensions| {
            let answer = answer.clone();
            async move {
                let request = read::<R>(&params)?;
                let given = answer(operator, request).await?;
                serde_json::to_value(&given).map_err(|error| {
                    ErrorObjectOwned::from(Failure::new(
                        ErrorCode::Internal,
                        format!("the answer cannot be written as JSON: {error}"),
                    ))
                })
            }
        };
        if let Err(error) = self.module.register_async_method(R::METHOD, method) {
            // Two methods of one name: a mistake in this file that the test of all methods finds.
            tracing::error!(%error, "a method of the control API is missing");
        }
        self
    }

    pub(crate) fn into_module(self) -> RpcModule<O> {
        self.module
    }
}

/// Reads parameters by name; none at all are as good as none of them.
fn read<R: Request>(params: &Params<'_>) -> Result<R, Failure> {
    let text = params.as_str().unwrap_or("{}");
    if !text.trim_start().starts_with('{') {
        let message = format!("{} takes its parameters by name: give an object", R::METHOD);
        return Err(Failure::new(ErrorCode::InvalidParams, message));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner();
        let place = if path == "." { String::new() } else { format!("`{path}`: ") };
        Failure::new(
            ErrorCode::InvalidParams,
            format!("{} does not take these parameters: {place}{reason}", R::METHOD),
        )
    })
}

/// What a role's node answers, whatever the role.
pub(crate) fn common<O: Operator>(operator: O, about: About) -> Methods<O> {
    Methods::new(operator)
        .on(move |o: Arc<O>, _: node::GetStatus| {
            let about = about.clone();
            async move { Ok(status(&*o, &about)) }
        })
        .on(|o: Arc<O>, _: node::GetRecovery| async move { Ok(convert::recovery(o.node())) })
        .on(|o: Arc<O>, _: node::EndRecovery| async move {
            o.node().end_recovery().await?;
            Ok(Accepted {})
        })
        .on(|o: Arc<O>, _: node::GetBalances| async move { balances(o.node()).await })
        .on(|o: Arc<O>, ask: node::Deposit| async move {
            check_amount(ask.amount)?;
            o.node().check_own_account("deposit from the wallet of")?;
            let pushed = o.node().enqueue(&privatix_node::Deposit { amount: ask.amount }, BY).await?;
            Ok(order(o.node(), pushed))
        })
        .on(|o: Arc<O>, ask: node::Withdraw| async move {
            check_amount(ask.amount)?;
            o.node().check_own_account("withdraw from")?;
            let withdraw = privatix_node::Withdraw { amount: ask.amount, to: ask.to };
            let pushed = o.node().enqueue(&withdraw, BY).await?;
            Ok(order(o.node(), pushed))
        })
        .on(|o: Arc<O>, ask: node::ListChannels| async move {
            let views = o.node().channels(page(ask.limit)).await?;
            Ok(views.into_iter().map(convert::channel).collect())
        })
        .on(|o: Arc<O>, ask: node::GetChannel| async move { details(&*o, ask.channel).await })
        .on(|o: Arc<O>, ask: node::PauseChannel| async move {
            channel_order(&*o, ask.channel, (ChannelCommand::Pause, ask.key)).await
        })
        .on(|o: Arc<O>, ask: node::ResumeChannel| async move {
            channel_order(&*o, ask.channel, (ChannelCommand::Resume, ask.key)).await
        })
        .on(|o: Arc<O>, ask: node::TerminateChannel| async move {
            channel_order(&*o, ask.channel, (ChannelCommand::Terminate, ask.key)).await
        })
        .on(|o: Arc<O>, ask: node::CloseChannel| async move {
            channel_order(&*o, ask.channel, (ChannelCommand::Close, ask.key)).await
        })
        .on(|o: Arc<O>, ask: node::AbandonChannel| async move {
            channel_order(&*o, ask.channel, (ChannelCommand::Abandon, ask.key)).await
        })
        .on(|o: Arc<O>, ask: node::GetOrder| async move {
            let mut conn = o.node().db().read().await.map_err(NodeError::from)?;
            let found = orders::get(&mut conn, OrderId(ask.order)).await.map_err(NodeError::from)?;
            drop(conn);
            let Some(order) = found else {
                return Err(NodeError::from(StoreError::NoSuchOrder(ask.order)).into());
            };
            let job = o.job_of(&order).await?;
            Ok(convert::order(order, job))
        })
        .on(|o: Arc<O>, ask: node::ListOrders| async move { list_orders(o.node(), ask).await })
        .on(|o: Arc<O>, ask: node::ListJobs| async move { jobs(o.node(), ask).await })
        .on(|o: Arc<O>, ask: node::GetJob| async move { job(o.node(), ask.job).await })
        .on(|o: Arc<O>, ask: node::CancelJob| async move {
            let mut tx = o.node().db().begin().await?;
            privatix_jobs::cancel(&mut tx, ask.job).await?;
            tx.commit().await?;
            o.node().wake();
            let job = privatix_jobs::get(&mut *o.node().db().read().await?, ask.job).await?;
            o.job_cancelled(&job).await?;
            Ok(Accepted {})
        })
        .on(|o: Arc<O>, ask: node::ReactivateJob| async move {
            let mut tx = o.node().db().begin().await?;
            privatix_jobs::reactivate(&mut tx, ask.job).await?;
            tx.commit().await?;
            o.node().wake();
            Ok(Accepted {})
        })
        .on(|o: Arc<O>, ask: node::ListTransactions| async move {
            let filter = TxFilter {
                status: ask.status,
                kind: ask.kind,
                subject: ask.subject,
                from: None,
                before: ask.before,
                limit: page(ask.limit),
            };
            let node = o.node();
            let records = node.transactor()?.list(&mut *node.db().read().await?, &filter).await?;
            Ok(records.into_iter().map(convert::transaction).collect())
        })
        .on(|o: Arc<O>, ask: node::GetTransaction| async move {
            let node = o.node();
            let mut conn = node.db().read().await?;
            let record = node.transactor()?.get(&mut conn, ask.transaction).await?;
            let attempts = node.transactor()?.attempts(&mut conn, ask.transaction).await?;
            let rescue = node.transactor()?.rescue_of(&mut conn, ask.transaction).await?;
            Ok(node::TransactionDetails {
                transaction: convert::transaction(record),
                rescue: rescue.map(|rescue| rescue.id),
                attempts: attempts.iter().map(convert::attempt).collect(),
            })
        })
        .on(|o: Arc<O>, ask: node::BumpTransaction| async move {
            let node = o.node();
            let mut tx = node.db().begin().await?;
            let raise = match (ask.max_fee, ask.priority_fee) {
                (None, None) => Raise::Market,
                (Some(max_fee), Some(priority_fee)) => Raise::To { max_fee, priority_fee },
                _ => {
                    let reason =
                        "a price needs both maxFee and priorityFee, or neither for the market's price";
                    return Err(Failure::new(ErrorCode::InvalidParams, reason));
                }
            };
            node.transactor()?.bump(&mut tx, ask.transaction, raise).await?;
            tx.commit().await?;
            node.wake_transactor();
            Ok(Accepted {})
        })
        .on(|o: Arc<O>, ask: node::CancelTransaction| async move {
            let node = o.node();
            let mut tx = node.db().begin().await?;
            o.check_may_cancel(&mut tx, ask.transaction).await?;
            let cancelled = node.transactor()?.cancel(&mut tx, ask.transaction).await?;
            tx.commit().await?;
            let cancelled = cancelled.committed();
            node.wake_transactor();
            Ok(node::TransactionCancelled {
                done: cancelled == Cancelled::Done,
                mined: cancelled == Cancelled::IfTakenBack,
            })
        })
}

/// What an agent answers.
pub(crate) fn agent(handle: AgentHandle, about: About) -> Methods<AgentHandle> {
    type Handle = Arc<AgentHandle>;
    common(handle, about)
        .on(|o: Handle, ask: agent::CreateOffering| async move {
            let signed = o.create_offering(ask.draft).await?;
            our_offering(&o, signed.hash()).await
        })
        .on(|o: Handle, ask: agent::PublishOffering| async move {
            change(&o, ask.offering, OfferingOrder::Publish, ask.key).await
        })
        .on(|o: Handle, ask: agent::PopUpOffering| async move {
            change(&o, ask.offering, OfferingOrder::PopUp, ask.key).await
        })
        .on(|o: Handle, ask: agent::ScheduleOffering| async move {
            let every = ask.every_seconds.map(|every| Period::new(every.get()));
            change(&o, ask.offering, OfferingOrder::PopUpEvery(every), ask.key).await
        })
        .on(|o: Handle, ask: agent::RemoveOffering| async move {
            change(&o, ask.offering, OfferingOrder::Remove, ask.key).await
        })
        .on(|o: Handle, ask: agent::ListOfferings| async move {
            let mut offerings = Vec::new();
            for stored in o.offerings(page(ask.limit)).await? {
                let progress = progress_of(&o, stored.hash).await?;
                offerings.push(agent::Offering { progress, ..convert::offering(o.node(), stored).await });
            }
            Ok(offerings)
        })
        .on(|o: Handle, ask: agent::GetOffering| async move { our_offering(&o, ask.offering).await })
        .on(|o: Handle, _: agent::GetOperator| async move {
            let node = o.node();
            let (account, sender) = (node.account(), node.sender());
            Ok(agent::Operator { account, operator: node.operator_of(account).await?, sender })
        })
        .on(|o: Handle, ask: agent::AppointOperator| async move {
            let pushed = o.appoint_operator(ask.operator).await?;
            Ok(order(o.node(), pushed))
        })
        .on(|o: Handle, _: agent::ListTemplates| async move {
            let templates = o.node().templates().iter();
            let ours = templates.filter(|template| template.kind() == TemplateKind::Offering);
            Ok(ours.map(|template| template_of(template)).collect())
        })
}

/// What a client answers.
pub(crate) fn client(handle: ClientHandle, about: About) -> Methods<ClientHandle> {
    type Handle = Arc<ClientHandle>;
    common(handle, about)
        .on(|o: Handle, ask: client::Browse| async move {
            let filter = offerings::Filter { agent: ask.agent, country: ask.country, available: !ask.all };
            let mut found = Vec::new();
            for listing in o.browse(&filter, page(ask.limit)).await? {
                let offering = convert::offering(o.node(), listing.offering).await;
                found.push(agent::Offering { seen_at: listing.seen_at, ..offering });
            }
            Ok(found)
        })
        .on(|o: Handle, ask: client::AcceptOffering| async move {
            let ordered = o.accept_as((ask.agent, ask.offering), ask.deposit, given(ask.key)).await?;
            let (order, job) = (ordered.order.0, job_of(&o, ordered.order).await);
            Ok(client::Opening::new(ordered.channel, order, job, health::chain_trouble(o.node())))
        })
        .on(|o: Handle, ask: client::TopUpChannel| async move {
            check_amount(ask.amount)?;
            let ordered = o.top_up_as(ask.channel, ask.amount, given(ask.key)).await?;
            let (order, job) = (ordered.order.0, job_of(&o, ordered.order).await);
            Ok(client::ToppingUp::new(order, job, health::chain_trouble(o.node())))
        })
        .on(|o: Handle, ask: client::AcceptClaim| async move {
            let ordered = o.accept_claim(ask.channel, ask.claimed).await?;
            ordered_about(o.node(), ask.channel, ordered.order).await
        })
        .on(|o: Handle, ask: client::GetReceipt| async move {
            let (receipt, problem) = o.receipt(ask.channel).await?;
            Ok(client::ChannelReceipt::new(receipt, problem.map(|problem| problem.to_string())))
        })
        .on(|o: Handle, ask: client::ForgetAgent| async move {
            Ok(client::ForgottenAgent::new(ask.agent, o.forget_agent(ask.agent).await?))
        })
        .on(|o: Handle, ask: client::SetPolicy| async move {
            let configured = o.orders().default_billing();
            let policy = ask.policy.map(|policy| policy.billing(configured));
            let ordered = o.set_billing(ask.channel, policy).await?;
            ordered_about(o.node(), ask.channel, ordered.order).await
        })
}

/// Who gives an order through the API, and under which key.
fn given(key: Option<String>) -> Given {
    Given::by_user().under(key)
}

/// The job that carries an order out, if there is one yet. The order is taken, whatever comes of this question.
async fn job_of(handle: &ClientHandle, order: OrderId) -> Option<JobId> {
    let order = handle.orders().get(order).await.ok()??;
    handle.orders().job_of(&order).await.ok()?
}

/// Who pushes the jobs.
const BY: &str = "operator";

fn check_amount(amount: privatix_channel::Amount) -> Result<(), Failure> {
    if amount.is_zero() || !amount.fits_on_chain() {
        return Err(Failure::new(
            ErrorCode::InvalidParams,
            format!("`amount`: {amount} base units cannot be moved; give 1 to 2^96 - 1"),
        ));
    }
    Ok(())
}

fn order(node: &Node, pushed: Pushed) -> JobOrder {
    match pushed {
        Pushed::New(job) | Pushed::Duplicate(job) => JobOrder::new(job, health::chain_trouble(node)),
    }
}

/// The orders about what is asked for.
async fn list_orders(node: &Node, ask: node::ListOrders) -> Result<Vec<node::OrderState>, Failure> {
    let about = match (ask.channel, ask.offering) {
        (None, None) => None,
        (Some(channel), None) => Some(Subject::Channel(channel)),
        (None, Some(offering)) => Some(Subject::Offering(node.account(), offering)),
        (Some(_), Some(_)) => {
            let reason = "`channel` and `offering` do not go together: give one of them";
            return Err(Failure::new(ErrorCode::InvalidParams, reason));
        }
    };
    let (before, limit) = (ask.before.map(OrderId), page(ask.limit));
    let mut conn = node.db().read().await.map_err(NodeError::from)?;
    let found = match about {
        Some(about) => orders::of_subject(&mut conn, about, before, limit).await,
        None => orders::list(&mut conn, before, limit).await,
    };
    let found = found.map_err(NodeError::from)?;
    Ok(found.into_iter().map(|order| convert::order(order, None)).collect())
}

/// Takes an order about a channel.
async fn channel_order<O: Operator>(
    operator: &O,
    channel: ChannelId,
    (order, key): (ChannelCommand, Option<String>),
) -> Result<ChannelOrder, Failure> {
    let order = operator.order(channel, order, key).await?;
    ordered_about(operator.node(), channel, order).await
}

/// Where a channel stands after an order.
async fn ordered_about(node: &Node, channel: ChannelId, order: OrderId) -> Result<ChannelOrder, Failure> {
    let channel = node.channel(channel).await?.channel;
    Ok(ChannelOrder {
        status: channel.status,
        service: channel.service,
        order: order.0,
        warning: health::chain_trouble(node),
    })
}

fn status<O: Operator>(operator: &O, process: &About) -> node::Status {
    let node = operator.node();
    let about = node.services().host().about();
    node::Status {
        role: node.side().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        account: node.account(),
        operator: node.as_operator(),
        rescue: health::rescue(node, &process.looks),
        chain_id: node.domain().chain_id(),
        contract: node.domain().contract(),
        token: node.domain().token(),
        token_name: node.token().name.clone(),
        token_unit: convert::token_unit(node.token()),
        deposits: node.token().way.clone(),
        challenge_period_seconds: node.challenge_period().seconds(),
        addresses: operator.addresses(),
        tor: process.tor.as_ref().map(|tor| tor.borrow().clone()),
        chain: health::chain_status(node),
        adapter: node::AdapterStatus {
            name: about.name.clone(),
            version: about.version.clone(),
            product: about.product.0,
        },
        started_at: process.started_at,
        health: health::health(node, &process.looks),
    }
}

pub(crate) async fn balances(node: &Node) -> Result<Balances, Failure> {
    let now = node.balances().await?;
    Ok(Balances {
        account: node.account(),
        ether: now.ether,
        wallet: now.wallet,
        contract: now.contract,
        token_unit: convert::token_unit(node.token()),
    })
}

async fn details<O: Operator>(operator: &O, channel: ChannelId) -> Result<node::ChannelDetails, Failure> {
    let node = operator.node();
    let view = node.channel(channel).await?;
    let descriptor = view.channel.descriptor;
    let offering = node.offering(descriptor.agent, descriptor.offering).await.ok();
    let endpoint = match node.side() {
        // What clients connect to is stored with their access.
        Role::Agent => view.channel.access.as_ref().map(|access| access.endpoint.clone()),
        Role::Client => node.services().endpoint(channel),
    };
    let (policy, has_own_policy) = operator.billing(channel).await?.unzip();
    Ok(node::ChannelDetails {
        policy: policy.map(node::ChannelPolicy::from),
        has_own_policy: has_own_policy.unwrap_or_default(),
        unit: offering.map(|offering| offering.terms().unit().clone()),
        endpoint,
        claimable: operator.claimable(channel).await?,
        claimed: operator.claimed(channel).await?,
        agent_view: operator.agent_view(channel).await?,
        client_used: operator.client_used(channel).await?,
        closes_at: operator.closes_at(channel).await?,
        sessions: node.sessions(channel).await?.into_iter().map(convert::session).collect(),
        channel: convert::channel(view),
    })
}

async fn jobs(node: &Node, ask: node::ListJobs) -> Result<node::JobsPage, Failure> {
    let mut filter = privatix_jobs::Filter::new();
    filter.subject = ask.subject;
    filter.kind = ask.kind;
    filter.status = ask.status;
    filter.before = ask.before;
    filter.limit = ask.limit;
    let page = privatix_jobs::list(&mut *node.db().read().await?, &filter).await?;
    Ok(node::JobsPage { jobs: page.jobs.iter().map(convert::job).collect(), next: page.next })
}

async fn job(node: &Node, id: JobId) -> Result<node::JobDetails, Failure> {
    let mut conn = node.db().read().await?;
    let record = privatix_jobs::get(&mut conn, id).await?;
    let made = match node.transactions_of_job(&mut conn, id).await {
        Err(NodeError::NotRunning) => Vec::new(), // shown once it runs
        made => made?,
    };
    Ok(node::JobDetails {
        job: convert::job(&record),
        payload: convert::payload(&record),
        transactions: made.into_iter().map(convert::transaction).collect(),
    })
}

/// What is done about it is read before what is shown of it: an answer may say that something is under way that is done, and never the
/// opposite.
async fn our_offering(handle: &AgentHandle, hash: OfferingHash) -> Result<agent::Offering, Failure> {
    let node = handle.node();
    let progress = progress_of(handle, hash).await?;
    let stored = offerings::get(&mut *node.db().read().await?, node.account(), hash).await?;
    Ok(agent::Offering { progress, ..convert::offering(node, stored).await })
}

/// `None` where something of it cannot be read, or it is adopted at the next start.
async fn progress_of(
    handle: &AgentHandle,
    hash: OfferingHash,
) -> Result<Option<agent::OfferingProgress>, Failure> {
    match handle.offering_progress(hash).await {
        Ok(progress) => Ok(Some(convert::progress(progress))),
        Err(NodeError::Store(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn change(
    handle: &AgentHandle,
    hash: OfferingHash,
    order: OfferingOrder,
    key: Option<String>,
) -> Result<agent::Offering, Failure> {
    let ordered = handle.change_offering_as(hash, order, Given::by_operator().under(key)).await?;
    Ok(agent::Offering { order: Some(ordered.order.0), ..our_offering(handle, hash).await? })
}

fn template_of(template: &privatix_offering::Template) -> agent::Template {
    let document: serde_json::Value = serde_json::from_slice(template.canonical()).unwrap_or_default();
    agent::Template {
        hash: template.hash(),
        name: template.name().to_owned(),
        product: template.product(),
        schema: document.get("schema").cloned().unwrap_or_default(),
    }
}
