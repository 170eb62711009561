//! What is likely to happen: strategies for actions and stories.

use privatix_channel::model::Code;
use proptest::prelude::*;

use crate::action::{
    Action, Approval, By, Cumulative, Draft, Forgery, OFFERINGS, Opening, Pick, Proof, Purse, Recipient,
    Signer, Sum, Validity,
};

fn sum(usual: std::ops::Range<u128>) -> impl Strategy<Value = Sum> {
    prop_oneof![
        20 => usual.prop_map(Sum::Units),
        1 => Just(Sum::Units(0)),
        1 => Just(Sum::TooMuch),
        1 => Just(Sum::Maximum),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        9 => any::<usize>().prop_map(Pick::Open),
        4 => any::<usize>().prop_map(Pick::Closing),
        2 => any::<usize>().prop_map(Pick::Any),
        1 => Just(Pick::Unheard),
    ]
}

fn cumulative() -> impl Strategy<Value = Cumulative> {
    prop_oneof![
        10 => (0..=100_u8).prop_map(Cumulative::Percent),
        1 => Just(Cumulative::Paid),
        2 => Just(Cumulative::AbovePaid),
        1 => Just(Cumulative::AboveDeposit),
        1 => Just(Cumulative::Maximum),
    ]
}

fn forgery() -> impl Strategy<Value = Forgery> {
    use Forgery as F;
    prop_oneof![
        14 => Just(F::Genuine),
        2 => prop::sample::select(vec![F::Stranger, F::OtherParty, F::OtherAmount, F::OtherChain]),
        1 => prop::sample::select(vec![F::OtherContract, F::OtherType, F::FlippedV, F::SmallV, F::HighS]),
        1 => prop::sample::select(vec![F::ZeroR, F::Garbage, F::Empty, F::Compact, F::TooLong]),
    ]
}

fn proof() -> impl Strategy<Value = Proof> {
    (cumulative(), forgery()).prop_map(|(cumulative, forgery)| Proof { cumulative, forgery })
}

fn claims() -> impl Strategy<Value = Vec<(Pick, Proof)>> {
    let claim = prop_oneof![
        6 => (pick(), cumulative())
            .prop_map(|(pick, cumulative)| (pick, Proof { cumulative, forgery: Forgery::Genuine })),
        1 => (pick(), proof()),
        // Closes with what is paid, and with no more than that.
        1 => (pick(), cumulative())
            .prop_map(|(pick, cumulative)| (pick, Proof { cumulative, forgery: Forgery::Empty })),
    ];
    prop::collection::vec(claim, 0..5)
}

fn opening() -> impl Strategy<Value = Opening> {
    let offering =
        prop_oneof![9 => any::<usize>().prop_map(Ok), 1 => (0..2_usize, 0..OFFERINGS).prop_map(Err)];
    let signer = prop::sample::select(vec![Signer::Nobody, Signer::Client, Signer::HotKey]);
    (0..2_usize, offering, 0..4_u64, signer, sum(1..300_000), purse()).prop_map(
        |(client, offering, nonce, signer, amount, from)| Opening {
            client,
            offering,
            nonce,
            signer,
            amount,
            from,
        },
    )
}

fn purse() -> impl Strategy<Value = Purse> {
    let validity = prop_oneof![
        8 => Just(Validity::Always),
        1 => Just(Validity::NotYet),
        1 => Just(Validity::NoLonger),
    ];
    prop_oneof![
        2 => Just(Purse::Balance),
        2 => Just(Purse::Wallet),
        2 => (forgery(), validity, 0..8_u8)
            .prop_map(|(forgery, validity, salt)| Purse::Authorization { forgery, validity, salt }),
    ]
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![3 => Just(By::Agent), 2 => Just(By::Operator), 1 => Just(By::AgentFor)]
}

fn recipient() -> impl Strategy<Value = Recipient> {
    prop_oneof![
        8 => any::<usize>().prop_map(Recipient::Somebody),
        1 => Just(Recipient::Nobody),
        1 => Just(Recipient::Contract),
    ]
}

fn approval() -> impl Strategy<Value = Approval> {
    let deadline = prop_oneof![8 => 0..1_000_i64, 3 => -2..2_i64, 1 => Just(i64::MAX)];
    (forgery(), any::<bool>(), prop::bool::weighted(0.1), deadline).prop_map(
        |(forgery, by_operator, stale, deadline)| Approval { forgery, by_operator, stale, deadline },
    )
}

fn registration() -> impl Strategy<Value = Draft> {
    // Below the least stake, now and then.
    let min_deposit = prop_oneof![14 => sum(100..50_000), 1 => sum(1..100)];
    let supply = prop_oneof![1 => Just(0), 9 => 1..4_u32];
    (by(), 0..2_usize, 0..OFFERINGS, min_deposit, supply, 0..20_usize).prop_map(
        |(by, agent, offering, min_deposit, supply, source)| Draft::Register {
            by,
            agent,
            offering,
            min_deposit,
            supply,
            source,
        },
    )
}

fn moving_money() -> impl Strategy<Value = Draft> {
    let account = any::<usize>;
    let amount = || sum(1..2_000_000);
    prop_oneof![
        2 => (account(), amount()).prop_map(|(account, sum)| Draft::Deposit(account, sum)),
        1 => (account(), prop::option::weighted(0.9, account()), amount())
            .prop_map(|(sender, account, sum)| Draft::DepositFor(sender, account, sum)),
        1 => (account(), amount()).prop_map(|(account, sum)| Draft::DepositWithPermit(account, sum)),
        1 => (account(), amount()).prop_map(|(account, sum)| Draft::Withdraw(account, sum)),
        1 => (account(), recipient(), amount())
            .prop_map(|(account, to, sum)| Draft::WithdrawTo(account, to, sum)),
        1 => (account(), recipient()).prop_map(|(account, to)| Draft::WithdrawAll(account, to)),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    prop_oneof![
        40 => simple_draft(),
        // Of whatever one account might do: often the same channel's, and now and then calls inside of calls.
        2 => prop::collection::vec(simple_draft(), 0..4).prop_map(Draft::Multicall),
        1 => (pick(), any::<usize>()).prop_map(|(channel, wallet)| {
            Draft::Multicall(vec![
                Draft::CancelClose(channel),
                Draft::Multicall(vec![Draft::WithdrawAll(wallet, Recipient::Somebody(wallet))]),
            ])
        }),
    ]
}

fn simple_draft() -> impl Strategy<Value = Draft> {
    let offerings = || (0..2_usize, 0..OFFERINGS);
    prop_oneof![
        5 => moving_money(),
        2 => (0..2_usize, prop::option::weighted(0.8, any::<usize>()))
            .prop_map(|(agent, operator)| Draft::SetOperator(agent, operator)),
        1 => (any::<usize>(), prop::option::weighted(0.3, any::<usize>()))
            .prop_map(|(account, sender)| Draft::RevokeConsents(account, sender)),
        5 => registration(),
        2 => (by(), offerings(), 0..20_usize)
            .prop_map(|(by, (agent, offering), source)| Draft::PopUp { by, agent, offering, source }),
        1 => (by(), offerings()).prop_map(|(by, (agent, offering))| Draft::Remove { by, agent, offering }),
        2 => offerings().prop_map(|(agent, offering)| Draft::RefreshFee { agent, offering }),
        10 => opening().prop_map(Draft::Open),
        4 => (pick(), sum(1..100_000), purse())
            .prop_map(|(channel, added, from)| Draft::TopUp { channel, added, from }),
        6 => (pick(), proof()).prop_map(|(channel, proof)| Draft::Settle(channel, proof)),
        4 => (0..2_usize, claims()).prop_map(|(agent, claims)| Draft::SettleBatch(agent, claims)),
        3 => (pick(), proof()).prop_map(|(channel, proof)| Draft::Close(channel, proof)),
        2 => (by(), 0..2_usize, claims()).prop_map(|(by, agent, claims)| Draft::CloseBatch(by, agent, claims)),
        3 => (pick(), proof(), approval())
            .prop_map(|(channel, proof, approval)| Draft::CloseWithBoth(channel, proof, approval)),
        5 => (pick(), cumulative()).prop_map(|(channel, admitted)| Draft::RequestClose(channel, admitted)),
        3 => (pick(), cumulative(), approval())
            .prop_map(|(channel, admitted, approval)| Draft::RequestCloseFor(channel, admitted, approval)),
        2 => pick().prop_map(Draft::CancelClose),
        5 => pick().prop_map(Draft::FinalizeClose),
        2 => prop_oneof![
            2 => 0..=10_000_u16,
            // The same again, now and then.
            3 => prop::sample::select(vec![0, 700, 10_000]),
            1 => 10_001..=u16::MAX,
        ]
        .prop_map(Draft::SetFee),
        1 => any::<usize>().prop_map(Draft::ProposeFeeAddress),
        1 => Just(Draft::AcceptFeeAddress),
    ]
}

/// One action.
pub(crate) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        36 => (draft(), prop::option::weighted(0.1, any::<usize>()))
            .prop_map(|(draft, sender)| Action::Call(draft, sender)),
        // Some periods are seconds, the challenge is 15 minutes.
        3 => prop_oneof![1..30_u64, 800..1_000_u64].prop_map(Action::Wait),
        1 => any::<bool>().prop_map(Action::Fork),
        1 => (0..2_usize, prop::sample::select(vec![Some(Code::AcceptsAll), Some(Code::RefusesAll), None]))
            .prop_map(|(client, code)| Action::Delegate(client, code)),
    ]
}

/// What happens to one contract: it begins with a few offerings and channels.
pub(crate) fn story() -> impl Strategy<Value = Vec<Action>> {
    let by_the_rightful = |draft| Action::Call(draft, None);
    let registrations = prop::collection::vec(registration().prop_map(by_the_rightful), 1..4);
    let openings = prop::collection::vec(opening().prop_map(Draft::Open).prop_map(by_the_rightful), 1..6);
    let rest = prop::collection::vec(action(), 1..60);
    (registrations, openings, rest).prop_map(|parts| [parts.0, parts.1, parts.2].concat())
}
