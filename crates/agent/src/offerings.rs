//! An agent's own offerings: made from a template, then announced, announced again and removed as decisions about their states want it.

pub(crate) mod adoption;
pub(crate) mod own;
mod shown;
mod view;

use std::time::SystemTime;

use privatix_billing::{TermsDraft, min_deposit};
use privatix_channel::{Announcement, Fee, OfferingHash, OfferingStatus, Period};
use privatix_db::Conn;
use privatix_market::offering::{OfferingState, Ownership};
use privatix_node::{Node, NodeError, OfferingDecider};
use privatix_offering::{Addresses, Country, IpType, OfferingMessage, SignedOffering, VersionRange};
use privatix_store::StoreError;
use privatix_store::offerings::{self, Offering};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::adoption::{OfferingAdoption, own as adopted_own};
pub use self::own::{OwnOfferings, OwnOfferingsParts, Signatures};
pub use self::view::ContractView;

/// What is done about one of our offerings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OfferingProgress {
    /// Whether something that was ordered is not done yet.
    pub pending: bool,
    /// How old an announcement may become before it is announced again, if it is without an order.
    pub pop_up_every: Option<Period>,
    /// What it waits for, in words; `None` where only an order changes it.
    pub waits_for: Option<String>,
    /// Whether that is something that the operator has to do.
    pub needs_operator: bool,
}

/// What is done about an offering of ours.
pub(crate) async fn progress(
    conn: &mut Conn,
    decider: &OfferingDecider,
    offering: OfferingHash,
) -> Result<OfferingProgress, NodeError> {
    let stored = decider.load(conn, offering).await?;
    progress_of(conn, decider, &stored.state).await
}

/// What is done about an offering of ours in this state.
pub(crate) async fn progress_of(
    conn: &mut Conn,
    decider: &OfferingDecider,
    state: &OfferingState,
) -> Result<OfferingProgress, NodeError> {
    let owner = decider.owner(conn, state).await?;
    let Some(own) = state.own() else { return Err(StoreError::NoSuchOffering(state.hash).into()) };
    Ok(OfferingProgress {
        pending: own.is_pending(&state.chain),
        pop_up_every: own.pop_up_every,
        waits_for: owner.map(|owner| shown::waits_for(own, owner)),
        needs_operator: own.problem.is_some(),
    })
}

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
    /// Whether the message names the versions of the messaging protocol that are spoken, so that nobody on the way can make the agent look
    /// older to a client that does not know it yet. Clients from before version 2 refuse such an offering.
    #[serde(default = "yes")]
    pub names_protocol: bool,
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
            names_protocol: true,
            supply,
            terms,
            additional: no_parameters(),
        }
    }
}

const fn yes() -> bool {
    true
}

fn no_parameters() -> serde_json::Value {
    serde_json::json!({})
}

/// Signs an offering message and stores it as a draft, to be announced again whenever its announcement is that old.
pub(crate) async fn create(
    node: &Node,
    decider: &OfferingDecider,
    addresses: &Addresses,
    draft: OfferingDraft,
    pop_up_every: Option<Period>,
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
        protocol: Some(VersionRange::SPOKEN).filter(|_| draft.names_protocol),
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
    let mut state = OfferingState::draft(stored.agent, stored.hash);
    if let Ownership::Own(own) = &mut state.ownership {
        own.pop_up_every = pop_up_every;
    }
    decider.begin(&mut tx, &state).await?;
    tx.commit().await?;
    Ok(offering)
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
