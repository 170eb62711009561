//! What a client sees of the market: [`Listing`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use privatix_market::offering::Unlisted;
use privatix_node::NodeError;
use privatix_offering::SignedOffering;
use privatix_store::offerings::{self, Filter, Offering};

use super::ClientHandle;
use crate::offerings::{Visibility, hidden};

/// Offerings that are read from the database at a time.
const PAGE: u32 = 100;

/// An offering on the market.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listing {
    /// What the chain shows of it.
    pub offering: Offering,
    /// Its message, once it was fetched and every check passed.
    pub message: Option<Arc<SignedOffering>>,
    /// When its agent last sent the message.
    pub seen_at: Option<SystemTime>,
    /// Why it is hidden from users; `None` where only its free places or [`contact`](crate::ClientSettings::contact) may stand against it.
    pub unlisted: Option<Unlisted>,
}

impl ClientHandle {
    /// Offerings, the most recently announced first, at most `limit`. One whose agent has no address that
    /// [`contact`](crate::ClientSettings::contact) permits has that as its problem, and is not available; nor is one that was announced too
    /// long ago, or whose agent has not answered for too long, by [`offerings`](crate::ClientSettings::offerings).
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn browse(&self, filter: &Filter, limit: u32) -> Result<Vec<Listing>, NodeError> {
        let (wanted, mut skipped) = (usize::try_from(limit).unwrap_or(usize::MAX), 0);
        let mut listings: Vec<Listing> = Vec::new();
        let mut seen = HashSet::new();
        // The policy is applied here and not by the database, so a page may take several of its pages.
        loop {
            let found = offerings::list(&mut *self.node.db().read().await?, filter, skipped, PAGE).await?;
            let is_last = u32::try_from(found.len()).is_ok_and(|found| found < PAGE);
            let keys: Vec<_> = found.iter().map(|offering| (offering.agent, offering.hash)).collect();
            let visibility = self.offerings.visibility(&mut *self.node.db().read().await?, &keys).await?;
            for offering in found {
                if listings.len() >= wanted {
                    return Ok(listings);
                }
                let key = (offering.agent, offering.hash);
                // What is announced meanwhile moves the others to later pages.
                if seen.insert(key) {
                    let visibility = visibility.get(&key).copied().unwrap_or_default();
                    listings.extend(self.listing(offering, visibility, filter).await);
                }
            }
            if is_last {
                return Ok(listings);
            }
            skipped = skipped.saturating_add(PAGE.into());
        }
    }

    /// An offering as it is shown; `None` if it is not available and the filter wants only those that are.
    async fn listing(
        &self,
        mut offering: Offering,
        Visibility { seen_at, unlisted }: Visibility,
        filter: &Filter,
    ) -> Option<Listing> {
        if filter.available && unlisted.is_some() {
            return None;
        }
        let message = match offering.message {
            // E.g. of a template that was taken out of the configuration: the others are still to be seen.
            Some(_) => match self.node.offering(offering.agent, offering.hash).await {
                Ok(message) => Some(message),
                Err(error) => {
                    offering.problem = Some(error.to_string());
                    None
                }
            },
            None => None,
        };
        if let Some(message) = &message
            && let Err(error) = self.peers.permitted(&offering.announcement, message)
        {
            if filter.available {
                return None;
            }
            offering.problem = Some(error.to_string());
        }
        offering.problem = offering.problem.or_else(|| unlisted.and_then(hidden));
        Some(Listing { offering, message, seen_at, unlisted })
    }
}
