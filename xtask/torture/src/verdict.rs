//! Whether it adds up: a function of what the chain and both daemons show in the end.

use alloy::primitives::{B256, U256};
use privatix_channel::{Amount, ChannelId};

/// Everything that the end is judged by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) channels: Vec<Channel>,
    /// Those that no order explains.
    pub(crate) unordered: usize,
    pub(crate) orders: Vec<OrderEffects>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) tokens: Tokens,
}

/// A channel that the chain or a daemon knows.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    /// How often the chain shows it opened, and closed.
    pub(crate) opened: usize,
    pub(crate) closed: usize,
    /// What the agent was paid in all, from the close; nothing without one.
    pub(crate) paid: Amount,
    /// The most that the client has ever counted as acknowledged.
    pub(crate) acknowledged: Amount,
    /// What the client has signed in all; nothing where it does not know the channel.
    pub(crate) signed: Option<Amount>,
    /// What the daemons say of it where they do not take it for over.
    pub(crate) unfinished: Vec<String>,
}

/// An order that a daemon was given, with an amount that no other one has.
#[derive(Clone, Debug)]
pub(crate) struct OrderEffects {
    /// What was ordered.
    pub(crate) what: String,
    /// How often the chain shows its effect.
    pub(crate) effects: usize,
    /// Whether the daemon says that it was carried out; nothing where it did not answer.
    pub(crate) carried_out: Option<bool>,
}

/// An account on chain, beside what its daemon says of it.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    /// Ether when it had sent nothing, and in the end.
    pub(crate) before: U256,
    pub(crate) after: U256,
    /// What the gas of its transactions on chain cost.
    pub(crate) gas: U256,
    /// Those that the daemon does not show as mined there.
    pub(crate) unknown: Vec<B256>,
    /// Those that the daemon shows as mined and that are not on chain.
    pub(crate) imagined: Vec<B256>,
    /// Transactions that are not final.
    pub(crate) open_transactions: u64,
}

/// Where the tokens are, in base units.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tokens {
    /// Of the agent in wallet, contract and stake, before and after.
    pub(crate) agent: (Amount, Amount),
    /// Of the client in wallet and contract, before and after.
    pub(crate) client: (Amount, Amount),
    /// Of the receiver of the network fee, before and after.
    pub(crate) fees: (Amount, Amount),
    /// What the service contract holds as a token's owner.
    pub(crate) held: Amount,
    /// What it owes: balances and stakes. Once all channels are closed there is nothing else.
    pub(crate) owed: Amount,
}

/// What does not add up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Breach {
    #[error("channel {channel}: {acknowledged} acknowledged, {paid} paid: vouchers were lost")]
    Lost { channel: ChannelId, acknowledged: Amount, paid: Amount },
    #[error("channel {channel}: {paid} paid, {signed} signed")]
    Overpaid { channel: ChannelId, paid: Amount, signed: Amount },
    #[error("channel {channel} was opened by a client that does not know it")]
    Forgotten { channel: ChannelId },
    #[error("channel {channel} was opened {opened} times and closed {closed} times")]
    Repeated { channel: ChannelId, opened: usize, closed: usize },
    #[error("channel {channel} is stuck: {}", states.join("; "))]
    Stuck { channel: ChannelId, states: Vec<String> },
    #[error("{count} channels were opened that nobody ordered")]
    Unordered { count: usize },
    #[error("{order} was carried out {effects} times, and the daemon says {}", match carried_out {
        Some(true) => "that it was",
        Some(false) => "that it was not",
        None => "nothing of it",
    })]
    Effects { order: String, effects: usize, carried_out: Option<bool> },
    #[error("the {account}'s ether: {before} before, {after} after, {gas} for gas")]
    Ether { account: &'static str, before: U256, after: U256, gas: U256 },
    #[error("the {account} does not know that its transaction {hash} was mined")]
    Unknown { account: &'static str, hash: B256 },
    #[error("the {account} takes a transaction for mined that is not on chain: {hash}")]
    Imagined { account: &'static str, hash: B256 },
    #[error("{count} transactions of the {account} are not final")]
    Open { account: &'static str, count: u64 },
    #[error("tokens of {whose}: found {found}, expected {expected}")]
    Tokens { whose: &'static str, found: Amount, expected: Amount },
}

/// What does not add up; nothing if all does.
pub(crate) fn breaches(facts: &Facts) -> Vec<Breach> {
    let mut found = Vec::new();
    facts.channels.iter().for_each(|channel| of_channel(channel, &mut found));
    if facts.unordered > 0 {
        found.push(Breach::Unordered { count: facts.unordered });
    }
    facts.orders.iter().for_each(|order| of_order(order, &mut found));
    facts.accounts.iter().for_each(|account| of_account(account, &mut found));
    of_tokens(facts, &mut found);
    found
}

fn of_channel(channel: &Channel, found: &mut Vec<Breach>) {
    let &Channel { id, opened, closed, paid, acknowledged, signed, .. } = channel;
    if paid < acknowledged {
        found.push(Breach::Lost { channel: id, acknowledged, paid });
    }
    match signed {
        Some(signed) if paid > signed => found.push(Breach::Overpaid { channel: id, paid, signed }),
        None if opened > 0 => found.push(Breach::Forgotten { channel: id }),
        _ => {}
    }
    if opened > 1 || closed > opened {
        found.push(Breach::Repeated { channel: id, opened, closed });
    }
    let mut states = channel.unfinished.clone();
    if closed < opened {
        states.push("open on chain".to_owned());
    }
    if !states.is_empty() {
        found.push(Breach::Stuck { channel: id, states });
    }
}

fn of_order(order: &OrderEffects, found: &mut Vec<Breach>) {
    let &OrderEffects { effects, carried_out, .. } = order;
    let fits = match carried_out {
        Some(carried_out) => effects == usize::from(carried_out),
        None => effects <= 1,
    };
    if !fits {
        found.push(Breach::Effects { order: order.what.clone(), effects, carried_out });
    }
}

fn of_account(account: &Account, found: &mut Vec<Breach>) {
    let &Account { name, before, after, gas, .. } = account;
    if after.checked_add(gas) != Some(before) {
        found.push(Breach::Ether { account: name, before, after, gas });
    }
    found.extend(account.unknown.iter().map(|&hash| Breach::Unknown { account: name, hash }));
    found.extend(account.imagined.iter().map(|&hash| Breach::Imagined { account: name, hash }));
    if account.open_transactions > 0 {
        found.push(Breach::Open { account: name, count: account.open_transactions });
    }
}

fn of_tokens(facts: &Facts, found: &mut Vec<Breach>) {
    let Tokens { agent, client, fees, held, owed } = facts.tokens;
    let paid = sum(facts.channels.iter().map(|channel| channel.paid));
    let earned = sum([agent.1, fees.1]);
    let cases = [
        ("the client, and what it paid", sum([client.1, paid]), client.0),
        ("the agent and the network's fee", earned, sum([agent.0, fees.0, paid])),
        ("the service contract", held, owed),
    ];
    for (whose, found_amount, expected) in cases {
        if found_amount != expected {
            found.push(Breach::Tokens { whose, found: found_amount, expected });
        }
    }
}

/// Sums above an amount's range do not exist: the supply is far below.
pub(crate) fn sum(amounts: impl IntoIterator<Item = Amount>) -> Amount {
    amounts.into_iter().fold(Amount::ZERO, Amount::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ChannelId = ChannelId::new(B256::repeat_byte(7));

    fn amount(units: u128) -> Amount {
        Amount::new(units)
    }

    /// A channel that was paid 30 of 100, and orders that did what they should.
    fn sound() -> Facts {
        let channel = Channel {
            id: ID,
            opened: 1,
            closed: 1,
            paid: amount(30),
            acknowledged: amount(25),
            signed: Some(amount(30)),
            unfinished: Vec::new(),
        };
        let order =
            |carried_out, effects| OrderEffects { what: "deposit of 7".to_owned(), effects, carried_out };
        let account = Account {
            name: "agent",
            before: U256::from(100),
            after: U256::from(90),
            gas: U256::from(10),
            unknown: Vec::new(),
            imagined: Vec::new(),
            open_transactions: 0,
        };
        let tokens = Tokens {
            agent: (amount(500), amount(529)),
            client: (amount(100), amount(70)),
            fees: (amount(0), amount(1)),
            held: amount(600),
            owed: amount(600),
        };
        let orders = vec![order(Some(true), 1), order(Some(false), 0), order(None, 0), order(None, 1)];
        Facts { channels: vec![channel], unordered: 0, orders, accounts: vec![account], tokens }
    }

    #[test]
    fn sound_facts_have_no_breach() {
        assert_eq!(breaches(&sound()), []);
    }

    #[test]
    fn an_acknowledged_voucher_that_was_not_cashed_is_found() {
        let mut facts = sound();
        facts.channels[0].acknowledged = amount(31);
        facts.channels[0].signed = Some(amount(31));
        assert_eq!(
            breaches(&facts),
            [Breach::Lost { channel: ID, acknowledged: amount(31), paid: amount(30) }]
        );
    }

    #[test]
    fn every_other_fault_of_a_channel_is_found() {
        let with = |change: fn(&mut Channel)| {
            let mut facts = sound();
            change(&mut facts.channels[0]);
            breaches(&facts)
        };
        let (signed, paid) = (amount(29), amount(30));
        assert_eq!(
            with(|channel| channel.signed = Some(amount(29))),
            [Breach::Overpaid { channel: ID, paid, signed }]
        );
        assert_eq!(with(|channel| channel.signed = None), [Breach::Forgotten { channel: ID }]);
        let states = vec!["open on chain".to_owned()];
        let (opened, closed) = (2, 1);
        assert_eq!(
            with(|channel| channel.opened = 2),
            [
                Breach::Repeated { channel: ID, opened, closed },
                Breach::Stuck { channel: ID, states: states.clone() }
            ]
        );
        assert_eq!(with(|channel| channel.closed = 0), [Breach::Stuck { channel: ID, states }]);
        let states = vec!["agent: active".to_owned()];
        assert_eq!(
            with(|channel| channel.unfinished = vec!["agent: active".to_owned()]),
            [Breach::Stuck { channel: ID, states }]
        );
    }

    #[test]
    fn a_channel_without_an_order_is_found() {
        let facts = Facts { unordered: 1, ..sound() };
        assert_eq!(breaches(&facts), [Breach::Unordered { count: 1 }]);
    }

    #[test]
    fn an_order_has_one_effect_if_it_was_carried_out_and_none_otherwise() {
        for (carried_out, effects) in
            [(Some(true), 0), (Some(true), 2), (Some(false), 1), (Some(false), 2), (None, 2)]
        {
            let mut facts = sound();
            let what = "top-up of 9".to_owned();
            facts.orders.push(OrderEffects { what: what.clone(), effects, carried_out });
            assert_eq!(breaches(&facts), [Breach::Effects { order: what, effects, carried_out }]);
        }
    }

    #[test]
    fn ether_and_transactions_are_compared_with_the_chain() {
        let hash = B256::repeat_byte(1);
        let mut facts = sound();
        let account = &mut facts.accounts[0];
        account.after = U256::from(89);
        account.unknown.push(hash);
        account.imagined.push(hash);
        account.open_transactions = 2;
        let (before, after, gas) = (U256::from(100), U256::from(89), U256::from(10));
        assert_eq!(
            breaches(&facts),
            [
                Breach::Ether { account: "agent", before, after, gas },
                Breach::Unknown { account: "agent", hash },
                Breach::Imagined { account: "agent", hash },
                Breach::Open { account: "agent", count: 2 },
            ]
        );
    }

    #[test]
    fn a_missing_token_is_found_wherever_it_is() {
        for change in [
            (|tokens| tokens.agent.1 = amount(528)) as fn(&mut Tokens),
            |tokens| tokens.client.1 = amount(71),
            |tokens| tokens.fees.1 = amount(2),
            |tokens| tokens.held = amount(601),
        ] {
            let mut facts = sound();
            change(&mut facts.tokens);
            assert!(matches!(breaches(&facts)[..], [Breach::Tokens { .. }]));
        }
    }
}
