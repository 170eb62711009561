//! Offering messages, checked once and kept in memory.

use std::collections::HashMap;
use std::sync::Arc;

use alloy::primitives::Address;
use parking_lot::Mutex;
use privatix_channel::{Domain, OfferingHash};
use privatix_db::Database;
use privatix_offering::{Announced, SignedOffering, Templates};
use privatix_store::offerings;

use crate::NodeError;

/// More than the channels of a busy node use; beyond it, messages are checked again when needed.
const KEPT: usize = 1024;

pub(crate) struct Messages {
    db: Database,
    domain: Domain,
    templates: Templates,
    known: Mutex<HashMap<(Address, OfferingHash), Arc<SignedOffering>>>,
}

impl Messages {
    pub(crate) fn new(db: Database, domain: Domain, templates: Templates) -> Self {
        Self { db, domain, templates, known: Mutex::default() }
    }

    pub(crate) fn templates(&self) -> &Templates {
        &self.templates
    }

    pub(crate) async fn get(
        &self,
        agent: Address,
        hash: OfferingHash,
    ) -> Result<Arc<SignedOffering>, NodeError> {
        if let Some(known) = self.known.lock().get(&(agent, hash)) {
            return Ok(Arc::clone(known));
        }
        let stored = offerings::get(&mut *self.db.read().await?, agent, hash).await?;
        let Some(wire) = stored.message else {
            let why = stored.problem.unwrap_or_else(|| "it was not fetched yet".into());
            return Err(NodeError::Refused(format!("the message of offering {hash} is not here: {why}")));
        };
        let announced = Announced { hash, agent, operator: None, domain: self.domain };
        // Its signature was checked before it was stored, by the operator of that time.
        let offering = Arc::new(SignedOffering::restore(&wire, &announced, &self.templates)?);
        let mut known = self.known.lock();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert((agent, hash), Arc::clone(&offering));
        Ok(offering)
    }
}
