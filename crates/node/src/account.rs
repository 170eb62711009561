//! A channel's billing account, put together from what is stored.

use privatix_billing::Account;
use privatix_db::Conn;
use privatix_store::channels::Channel;
use privatix_store::{StoreError, sessions, vouchers};

/// The values that billing decides from.
pub async fn billing_account(conn: &mut Conn, channel: &Channel) -> Result<Account, StoreError> {
    let (used, last_usage) = sessions::used(conn, channel.id).await?;
    let voucher = vouchers::get(conn, channel.id).await?;
    let paid = voucher.map_or(channel.paid, |voucher| voucher.signed.cumulative().max(channel.paid));
    Ok(Account {
        paid,
        used,
        last_usage: last_usage.unwrap_or(channel.created_at),
        status_since: channel.service_since,
        held: channel.held,
        top_up_pending: channel.top_up_pending,
        ..Account::new(channel.deposit, channel.service, channel.created_at)
    })
}
