//! What all channels come to, kept in memory: for gauges, which must not read every channel each time.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_channel::{Amount, ChannelId, ChannelStatus, ServiceStatus};
use privatix_db::types::{Amount128, Bytes32};
use privatix_db::{Conn, on};
use privatix_market::Book;

use crate::StoreError;
use crate::columns::{id, parse, to_amount, unsigned};
use crate::schema::{channels, vouchers};

/// Channels read at a time.
const PAGE: i64 = 500;

/// What all channels come to. Amounts are base units of the token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Paid to agents, cashed or not: the best vouchers as far as the deposits cover them, or more where the chain shows more.
    pub earned: u128,
    /// The part of it that open channels' vouchers would still bring.
    pub enforceable: u128,
    /// The part of it that was paid out on chain.
    pub settled: u128,
    /// Vouchers ever stored, superseded ones included.
    pub vouchers: u64,
    /// Channels by the names of their status and of their service's status.
    pub channels: BTreeMap<(&'static str, &'static str), u64>,
}

/// One channel's part of the totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ChannelTotals {
    status: ChannelStatus,
    service: ServiceStatus,
    earned: u128,
    enforceable: u128,
    settled: u128,
    vouchers: u64,
}

/// The totals, and each channel's part of them, about 150 bytes for each.
#[derive(Debug, Default)]
pub struct Tally {
    parts: HashMap<ChannelId, ChannelTotals>,
    totals: Totals,
}

/// The columns of a [`Row`].
macro_rules! rows {
    () => {
        channels::table.left_join(vouchers::table.on(vouchers::channel.eq(channels::id))).select((
            channels::id,
            channels::status,
            channels::service,
            channels::deposit,
            channels::paid,
            channels::closure.is_not_null(),
            vouchers::cumulative.nullable(),
            vouchers::count.nullable(),
        ))
    };
}

type Row = (Bytes32, String, String, Amount128, Amount128, bool, Option<Amount128>, Option<i64>);

impl Tally {
    /// Reads the next page of channels, those after `after` in the order of their ids. Returns the last one read, or `None` if
    /// there are no more.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn read_page(
        &mut self,
        conn: &mut Conn,
        after: Option<ChannelId>,
    ) -> Result<Option<ChannelId>, StoreError> {
        let after = after.map_or(id(ChannelId::new([0; 32].into())), id);
        let rows: Vec<Row> = on!(conn, |c| {
            let page = rows!().filter(channels::id.gt(after)).order(channels::id).limit(PAGE);
            page.load(c).await
        })?;
        let mut last = None;
        for row in rows {
            let (channel, part) = part_of(row)?;
            self.set(channel, Some(part));
            last = Some(channel);
        }
        Ok(last)
    }

    /// Reads a channel again that may have changed.
    ///
    /// # Errors
    /// [`StoreError::Db`], [`StoreError::Corrupt`].
    pub async fn refresh(&mut self, conn: &mut Conn, channel: ChannelId) -> Result<(), StoreError> {
        let row: Option<Row> =
            on!(conn, |c| rows!().filter(channels::id.eq(id(channel))).first(c).await.optional())?;
        let part = row.map(part_of).transpose()?.map(|(_, part)| part);
        self.set(channel, part);
        Ok(())
    }

    /// The totals of what was read.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What a channel's best voucher would still bring.
    pub fn enforceable(&self, channel: ChannelId) -> u128 {
        self.parts.get(&channel).map_or(0, |part| part.enforceable)
    }

    fn set(&mut self, channel: ChannelId, part: Option<ChannelTotals>) {
        let before = match part {
            Some(part) => self.parts.insert(channel, part),
            None => self.parts.remove(&channel),
        };
        let totals = &mut self.totals;
        if let Some(before) = before {
            totals.earned = totals.earned.saturating_sub(before.earned);
            totals.enforceable = totals.enforceable.saturating_sub(before.enforceable);
            totals.settled = totals.settled.saturating_sub(before.settled);
            totals.vouchers = totals.vouchers.saturating_sub(before.vouchers);
            let count = totals.channels.entry(before.statuses()).or_default();
            *count = count.saturating_sub(1);
        }
        if let Some(part) = part {
            totals.earned = totals.earned.saturating_add(part.earned);
            totals.enforceable = totals.enforceable.saturating_add(part.enforceable);
            totals.settled = totals.settled.saturating_add(part.settled);
            totals.vouchers = totals.vouchers.saturating_add(part.vouchers);
            let count = totals.channels.entry(part.statuses()).or_default();
            *count = count.saturating_add(1);
        }
    }
}

impl ChannelTotals {
    fn statuses(&self) -> (&'static str, &'static str) {
        (self.status.as_str(), self.service.as_str())
    }
}

fn part_of(row: Row) -> Result<(ChannelId, ChannelTotals), StoreError> {
    let (channel, status, service, deposit, paid, is_closed, cumulative, count) = row;
    let (deposit, settled) = (to_amount(deposit), to_amount(paid));
    let best = cumulative.map_or(Amount::ZERO, to_amount);
    let amounts = Book { best, ..Book::default() }.totals(deposit, settled, is_closed);
    let part = ChannelTotals {
        status: parse("channel status", &status)?,
        service: parse("service status", &service)?,
        earned: amounts.proven.get(),
        enforceable: amounts.enforceable.get(),
        settled: settled.get(),
        vouchers: unsigned("voucher count", count.unwrap_or_default())?,
    };
    Ok((ChannelId::new(channel.bytes().into()), part))
}
