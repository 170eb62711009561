//! An agent's own offerings: made from a template, announced, announced again, removed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alloy::sol_types::SolCall as _;
use async_trait::async_trait;
use privatix_billing::{TermsDraft, min_deposit};
use privatix_chain::{TxRecord, TxStatus};
use privatix_channel::{Amount, Announcement, Fee, OfferingHash, OfferingStatus};
use privatix_contracts::{AboveContractRange, call};
use privatix_db::Conn;
use privatix_jobs::{Backoff, Done, Duplicates, Handler, Job, JobContext, JobError, Lane, Policy};
use privatix_market::{Purpose, Subject};
use privatix_node::{Cause, Node, NodeError, lanes};
use privatix_offering::{Addresses, Country, IpType, OfferingMessage, SignedOffering};
use privatix_store::offerings::{self, Offering};
use privatix_store::purposes::Recorded;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What an operator says of a new offering; the rest of its message is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct OfferingDraft {
    /// Hash of the offering template; the plug-in's own when there is just one.
    #[serde(default)]
    pub template: Option<alloy::primitives::B256>,
    /// What it is called.
    pub service_name: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// Where the service is rendered from, ISO 3166-1 alpha-2.
    pub country: Country,
    /// What kind of address the client's traffic leaves from.
    #[serde(default)]
    pub ip_type: Option<IpType>,
    /// How many channels may be open at once.
    pub supply: u32,
    /// Prices and rules of billing.
    pub terms: TermsDraft,
    /// What the template asks in addition.
    #[serde(default = "no_parameters")]
    pub additional: serde_json::Value,
}

impl OfferingDraft {
    /// What every offering needs; the other fields can be set afterwards.
    pub fn new(service_name: impl Into<String>, country: Country, supply: u32, terms: TermsDraft) -> Self {
        Self {
            template: None,
            service_name: service_name.into(),
            description: String::new(),
            country,
            ip_type: None,
            supply,
            terms,
            additional: no_parameters(),
        }
    }
}

fn no_parameters() -> serde_json::Value {
    serde_json::json!({})
}

/// What to do with an offering on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferingAction {
    /// Announce it for the first time and lock its stake.
    Publish,
    /// Announce it again.
    PopUp,
    /// Take it off the market and get its stake back.
    Remove,
}

impl OfferingAction {
    /// What its transactions and jobs are called in keys.
    const fn kind(self) -> &'static str {
        match self {
            Self::Publish => "register_offering",
            Self::PopUp => "pop_up_offering",
            Self::Remove => "remove_offering",
        }
    }

    const fn purpose(self) -> Purpose {
        match self {
            Self::Publish => Purpose::Publish,
            Self::PopUp => Purpose::PopUp,
            Self::Remove => Purpose::Remove,
        }
    }

    const fn under_way(self) -> OfferingStatus {
        match self {
            Self::Publish => OfferingStatus::Registering,
            Self::PopUp => OfferingStatus::PoppingUp,
            Self::Remove => OfferingStatus::Removing,
        }
    }

    const fn may_follow(self, status: OfferingStatus) -> bool {
        match self {
            Self::Publish => matches!(status, OfferingStatus::Draft),
            Self::PopUp | Self::Remove => {
                matches!(status, OfferingStatus::Registered | OfferingStatus::PoppedUp)
            }
        }
    }
}

/// Job: send the transaction of an [`OfferingAction`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeOffering {
    /// The offering, one of ours.
    pub offering: OfferingHash,
    /// What to do.
    pub action: OfferingAction,
}

impl Job for ChangeOffering {
    const KIND: &'static str = "change_offering";
    const LANE: Lane = lanes::MONEY;

    fn subject(&self) -> String {
        format!("offering {}", self.offering)
    }

    fn key(&self) -> String {
        self.action.kind().to_owned()
    }

    fn policy() -> Policy {
        Policy::default()
            .tries(10)
            .backoff(Backoff::exponential(Duration::from_secs(2), Duration::from_mins(1)))
            .duplicates(Duplicates::RefusedWhilePending)
    }
}

/// Signs an offering message and stores it as a draft.
pub(crate) async fn create(
    node: &Node,
    addresses: &Addresses,
    draft: OfferingDraft,
) -> Result<SignedOffering, NodeError> {
    let template = match draft.template {
        Some(template) => template,
        None => own_template(node)?,
    };
    let message = OfferingMessage {
        template,
        agent: node.account(),
        chain_id: node.domain().chain_id(),
        contract: node.domain().contract(),
        nonce: Uuid::new_v4(),
        service_name: draft.service_name,
        description: draft.description,
        country: draft.country,
        ip_type: draft.ip_type,
        addresses: addresses.to_vec(),
        supply: draft.supply,
        terms: draft.terms,
        additional: draft.additional,
    };
    let offering = SignedOffering::sign_by(&message, node.templates(), node.signer(), node.as_operator())?;
    let stored = Offering {
        agent: node.account(),
        hash: offering.hash(),
        status: OfferingStatus::Draft,
        message: Some(offering.wire().to_vec()),
        country: Some(offering.message().country.code().to_owned()),
        announcement: Announcement {
            min_deposit: min_deposit(offering.terms()),
            supply: offering.message().supply,
            fee: Fee::ZERO, // the announcement on chain carries the one that counts
            source_type: addresses.first().kind().number(),
            source: addresses.first().source(),
        },
        free_supply: offering.message().supply,
        announced_at: None,
        problem: None,
        created_at: SystemTime::now(),
    };
    let mut tx = node.db().begin().await?;
    offerings::insert_draft(&mut tx, &stored).await?;
    tx.commit().await?;
    Ok(offering)
}

/// Points out offerings on the market that send clients to an address that is not ours any more.
pub(crate) async fn warn_of_old_addresses(node: &Node, addresses: &Addresses) -> Result<(), NodeError> {
    let filter = offerings::Filter { agent: Some(node.account()), ..Default::default() };
    for offering in offerings::list(&mut *node.db().read().await?, &filter, 0, u32::MAX).await? {
        let said = &offering.announcement;
        let now = (addresses.first().kind().number(), addresses.first().source());
        if offering.status.is_on_market() && (said.source_type, said.source.clone()) != now {
            tracing::warn!(
                offering = %offering.hash,
                announced = said.source,
                now = %addresses.first(),
                "clients are sent to another address than this agent's; announce it again with `offerings popup`"
            );
        }
    }
    Ok(())
}

/// Whether clients accept the signature of an offering of ours: the account's own, or that of the operator which the chain
/// shows now.
async fn signature_counts(node: &Node, offering: OfferingHash) -> Result<bool, NodeError> {
    let offering = node.offering(node.account(), offering).await?;
    if offering.is_signed_by(node.account()) {
        return Ok(true);
    }
    let operator = node.operator_of(node.account()).await?;
    Ok(operator.is_some_and(|operator| offering.is_signed_by(operator)))
}

/// The call that changes an offering as the job asks: the account's own, or its operator's.
fn calldata(
    node: &Node,
    job: &ChangeOffering,
    said: &Announcement,
    source_type: u8,
    source: String,
) -> Result<Vec<u8>, NodeError> {
    let (agent, offering) = (node.account(), job.offering);
    let (min_deposit, supply) = (said.min_deposit, said.supply);
    let above_range = |error: AboveContractRange| NodeError::Refused(error.to_string());
    Ok(match (job.action, node.is_operator()) {
        (OfferingAction::Publish, false) => {
            call::register_offering(offering, min_deposit, supply, source_type, source)
                .map_err(above_range)?
                .abi_encode()
        }
        (OfferingAction::Publish, true) => {
            call::register_offering_for(agent, offering, min_deposit, supply, source_type, source)
                .map_err(above_range)?
                .abi_encode()
        }
        (OfferingAction::PopUp, false) => call::pop_up_offering(offering, source_type, source).abi_encode(),
        (OfferingAction::PopUp, true) => {
            call::pop_up_offering_for(agent, offering, source_type, source).abi_encode()
        }
        (OfferingAction::Remove, false) => call::remove_offering(offering).abi_encode(),
        (OfferingAction::Remove, true) => call::remove_offering_for(agent, offering).abi_encode(),
    })
}

/// The one offering template of the plug-in's product.
fn own_template(node: &Node) -> Result<alloy::primitives::B256, NodeError> {
    let product = node.services().host().about().product.0;
    let mut ours = node.templates().iter().filter(|template| {
        template.kind() == privatix_offering::TemplateKind::Offering && template.product() == product
    });
    match (ours.next(), ours.next()) {
        (Some(template), None) => Ok(template.hash()),
        (None, _) => Err(NodeError::Refused(format!(
            "there is no offering template for product {product}; add one to the configuration"
        ))),
        (Some(_), Some(_)) => Err(NodeError::Refused(format!(
            "product {product} has several offering templates; name one by its hash in `template`"
        ))),
    }
}

/// A transaction about an offering is over. Success shows as an event; only failure needs an answer.
pub(crate) async fn finished(
    conn: &mut Conn,
    node: &Node,
    recorded: &Recorded,
    record: &TxRecord,
) -> Result<(), NodeError> {
    let action = match recorded.purpose {
        Purpose::Publish => OfferingAction::Publish,
        Purpose::PopUp => OfferingAction::PopUp,
        Purpose::Remove => OfferingAction::Remove,
        _ => return Ok(()),
    };
    let Subject::Offering(agent, hash) = recorded.effect.subject else { return Ok(()) };
    if record.status == TxStatus::Mined || agent != node.account() {
        return Ok(());
    }
    let stored = offerings::get(conn, agent, hash).await?;
    if stored.status == action.under_way() {
        let reason = record.failure.clone().unwrap_or_else(|| record.status.to_string());
        tracing::error!(offering = %hash, reason, "{} failed", action.kind());
        offerings::set_status(conn, node.account(), hash, OfferingStatus::Draft).await?;
        offerings::refold(conn, node.account(), hash).await?; // what the chain says, if it says anything
        offerings::set_problem(conn, node.account(), hash, &reason).await?;
    }
    Ok(())
}

pub(crate) struct Offerings {
    pub(crate) node: Arc<Node>,
    pub(crate) addresses: Arc<Addresses>,
}

#[async_trait]
impl Handler<ChangeOffering> for Offerings {
    async fn run(&self, job: &ChangeOffering, cx: JobContext) -> Result<Done, JobError> {
        self.change(job, cx).await.map_err(NodeError::into_job_error)
    }
}

impl Offerings {
    async fn change(&self, job: &ChangeOffering, cx: JobContext) -> Result<Done, NodeError> {
        let node = &self.node;
        let stored = offerings::get(&mut *node.db().read().await?, node.account(), job.offering).await?;
        if !job.action.may_follow(stored.status) {
            return Err(NodeError::Refused(format!(
                "offering {} is {}; it cannot be changed so now",
                job.offering,
                stored.status.as_str()
            )));
        }
        let said = &stored.announcement;
        if job.action != OfferingAction::Remove && !signature_counts(node, job.offering).await? {
            return Err(NodeError::Refused(format!(
                "clients would refuse offering {}: the chain does not show who signed it as the operator of {}; have that \
                 operator appointed, or make the offering again with `offerings create`",
                job.offering,
                node.account()
            )));
        }
        if job.action == OfferingAction::Publish {
            let needed = said.min_deposit.checked_mul(said.supply.into()).unwrap_or(Amount::MAX);
            let available = node.balances().await?.contract;
            if available < needed {
                return Err(NodeError::Insufficient {
                    what: "the offering's stake",
                    needed,
                    available,
                    remedy: "deposit more with `deposit`, or offer less supply",
                });
            }
        }
        // Where clients reach us now, which may not be where they did when the offering was made.
        let (source_type, source) = (self.addresses.first().kind().number(), self.addresses.first().source());
        let key = format!("{} {} {}", job.action.kind(), job.offering, cx.id());
        let subject = Subject::Offering(node.account(), job.offering);
        let cause = Cause::new(subject, job.action.purpose()).by(cx.id());
        let calldata = calldata(node, job, said, source_type, source)?;
        let mut completion = cx.finish().await?;
        node.submit_intent(&mut completion, &cause, node.intent(key, calldata)).await?;
        offerings::set_status(&mut completion, node.account(), job.offering, job.action.under_way()).await?;
        let done = completion.commit().await?;
        node.wake_transactor();
        Ok(done)
    }
}
