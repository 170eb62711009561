//! A channel's billing account, put together from what is stored.

use privatix_billing::Account;
use privatix_channel::Amount;
use privatix_db::Conn;
use privatix_store::channels::Channel;
use privatix_store::{StoreError, sessions, vouchers};

/// The values that billing decides from.
pub async fn billing_account(conn: &mut Conn, channel: &Channel) -> Result<Account, StoreError> {
    let (used, last_usage) = sessions::used(conn, channel.id).await?;
    let voucher = vouchers::amounts(conn, channel.id).await?;
    // A voucher above the deposit is worth the deposit.
    let signed = voucher.map_or(Amount::ZERO, |voucher| voucher.cumulative);
    let paid = signed.min(channel.deposit).max(channel.paid);
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
