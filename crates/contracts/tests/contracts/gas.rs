//! The gas of every call, measured as whole transactions on a real node, beside the reference contract's; and the goals.
//!
//! `contracts/GAS.md` holds the table. This test fails when a goal is missed or the table is not what is measured; with
//! `PRIVATIX_UPDATE_GAS=1` (`npm run gas` in `contracts/`) it writes the table.

use std::{env, fmt::Write as _, fs};

use alloy::{
    primitives::{B256, keccak256},
    providers::Provider as _,
    signers::SignerSync as _,
    sol_types::SolCall as _,
};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, RequestClose, SignedClose, SignedVoucher, TransferAuthorization,
    sign_request_close,
};
use privatix_contracts::{PSC, call};

use crate::world::{LIMIT, TERMS, World, contracts_folder};

/// As in the baseline: 2,000,000 base units a channel.
const DEPOSIT: u128 = 2_000_000;
/// Base units of a token.
const TOKEN: u128 = 100_000_000;
const ONION: &str = "b4hs3wplhxhpmlsvkzqtqe7gzjy5kxrlxtcvqkqjvkkn4f5okrwblyad.onion";
const BATCH: u64 = 100;
/// 2100: fixed, as everything that is signed.
const UNTIL: ChainTime = ChainTime::new(4_102_444_800);

/// One line of the table.
struct Row {
    call: &'static str,
    gas: u64,
    /// The reference contract's call of the same effect and its gas.
    baseline: Option<(&'static str, u64)>,
    /// What we promise, when that is stricter than the baseline.
    goal: Option<u64>,
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn add(
        &mut self,
        call: &'static str,
        gas: u64,
        baseline: Option<(&'static str, u64)>,
        goal: Option<u64>,
    ) {
        self.0.push(Row { call, gas, baseline, goal });
    }

    fn gas_of(&self, call: &str) -> u64 {
        self.0.iter().find(|row| row.call == call).expect("measured before").gas
    }

    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for row in &self.0 {
            let limit = row.goal.or(row.baseline.map(|(_, gas)| gas));
            // Deployments happen once for everybody; they are shown, and hold no goal.
            if let Some(limit) = limit
                && row.gas > limit
                && !row.call.starts_with("deploy")
            {
                missed.push(format!("{}: {} gas, at most {} allowed", row.call, row.gas, limit));
            }
        }
        missed
    }

    fn markdown(&self) -> String {
        let mut text = String::from(
            "# Gas\n\n\
             Whole transactions on anvil (pinned in `package-lock.json`, its default hardfork), written by `npm run gas`; a test fails when this\n\
             table is out of date. Baseline: the reference contracts on the same node. Channels of 2,000,000 base units, offerings with an\n\
             onion address as source, the client named as the vouchers' signer; agent, client and fee address have had balances before.\n\n\
             | call | gas | baseline | ratio | goal |\n\
             | --- | ---: | --- | ---: | ---: |\n",
        );
        for row in &self.0 {
            let baseline =
                row.baseline.map_or(String::new(), |(name, gas)| format!("{name}: {}", thousands(gas)));
            let ratio = row.baseline.map_or(String::new(), |(_, gas)| {
                let percent = row.gas * 100 / gas;
                format!("{}.{:02}", percent / 100, percent % 100)
            });
            let goal = row.goal.map_or(String::new(), |gas| format!("<= {}", thousands(gas)));
            let _ =
                writeln!(text, "| {} | {} | {baseline} | {ratio} | {goal} |", row.call, thousands(row.gas));
        }
        text.push_str(
            "\nA deployment happens once for everybody and holds no goal. It costs more than the reference's because the contracts do more (permits,\n\
             batches, partial settlement, contract wallets, checked arithmetic) and are compiled for cheap calls, not for small code.\n",
        );
        text
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

async fn measure() -> Table {
    let world = World::start().await;
    let cast = world.cast.clone();
    let (agent, client, fee_address) = (&cast.agent, &cast.client, &cast.fee_address);
    let mut table = Table::default();

    for (call, block, baseline) in [
        ("deploy token", 1, ("deploy token", 803_145)),
        ("deploy service contract", 2, ("deploy service contract", 1_902_089)),
    ] {
        let block: u64 = block;
        let receipts = world.provider.get_block_receipts(block.into()).await.expect("receipts");
        let gas = receipts.expect("a mined block")[0].gas_used;
        table.add(call, gas, Some(baseline), None);
    }

    // Balances.
    world.send_token(&cast.holder, call::transfer(client.address(), Amount::new(1_000 * TOKEN))).await;
    let approval = call::approve(world.deployed.contract, Amount::new(500 * TOKEN));
    let gas = world.send_token(client, approval).await.gas_used;
    table.add("approve (token)", gas, Some(("approve", 46_143)), None);
    let gas = world.send(client, call::deposit(Amount::new(100 * TOKEN))).await.gas_used;
    table.add("deposit, first", gas, Some(("addBalanceERC20, first", 86_466)), None);
    let gas = world.send(client, call::deposit(Amount::new(100 * TOKEN))).await.gas_used;
    table.add("deposit, later", gas, Some(("addBalanceERC20, later", 52_254)), None);
    let permit = world.permit(client, 10 * TOKEN).await;
    let gas = world.send(client, call::deposit_with_permit(Amount::new(10 * TOKEN), permit)).await.gas_used;
    table.add(
        "depositWithPermit, later, first permit",
        gas,
        Some(("approve + addBalanceERC20, later", 98_397)),
        None,
    );
    let gas = world.send(client, call::withdraw(Amount::new(TOKEN))).await.gas_used;
    table.add("withdraw", gas, Some(("returnBalanceERC20", 44_830)), None);
    world.fund(agent, TOKEN, 100 * TOKEN).await;
    world.fund(&cast.newcomer, 10 * TOKEN, 1).await;

    // Offerings.
    let register = |name: &str, supply| {
        let hash = keccak256(name);
        (
            hash,
            call::register_offering(hash.into(), Amount::new(DEPOSIT), supply, 0, ONION.to_owned())
                .expect("fits"),
        )
    };
    let (removed, announce) = register("to be removed", 30);
    let gas = world.send(agent, announce).await.gas_used;
    table.add("registerOffering", gas, Some(("registerServiceOffering", 79_995)), None);
    world.warp(TERMS.pop_up).await;
    let gas = world.send(agent, call::pop_up_offering(removed.into(), 0, ONION.to_owned())).await.gas_used;
    table.add("popUpOffering", gas, Some(("popupServiceOffering", 39_162)), None);
    world.warp(TERMS.remove).await;
    let gas = world.send(agent, call::remove_offering(removed.into())).await.gas_used;
    table.add("removeOffering", gas, Some(("removeServiceOffering", 34_010)), None);

    // Without a fee.
    let (free, announce) = register("without a fee", 30);
    world.send(agent, announce).await;
    for index in 0..4 {
        world
            .send(client, call::open(&world.descriptor(free, index), Amount::new(DEPOSIT)).expect("fits"))
            .await;
    }
    // A first close gives the agent and the client their earnings and refunds before measuring.
    let d = world.descriptor(free, 0);
    world.send(agent, call::close(&d, Some(&world.voucher(&d, 1_000_000)))).await;
    let d = world.descriptor(free, 1);
    let close_free = world.send(agent, call::close(&d, Some(&world.voucher(&d, 1_000_000)))).await.gas_used;
    let d = world.descriptor(free, 2);
    let (voucher, consent) = both(&world, &d, 1_000_000).await;
    let both_free = world.send(&cast.stranger, call::close_with_both(&d, &voucher, &consent)).await.gas_used;

    // With a fee of 1 %.
    world.send(fee_address, PSC::setFeeCall { newFee: 1_000 }).await;
    world.warp(TERMS.fee_delay).await;
    world.send(agent, PSC::refreshOfferingFeeCall { agent: agent.address(), offering: free }).await;
    let (paid, announce) = register("with a fee", 300);
    world.send(agent, announce).await;
    let mut open = 0;
    for index in 10..20 {
        let call = call::open(&world.descriptor(paid, index), Amount::new(DEPOSIT)).expect("fits");
        open = world.send(client, call).await.gas_used;
    }
    table.add("open", open, Some(("createChannel", 63_755)), Some(60_000));
    let d = world.descriptor(paid, 10);
    let gas = world.send(client, call::top_up(&d, Amount::new(DEPOSIT)).expect("fits")).await.gas_used;
    table.add("topUp", gas, Some(("topUpChannel", 38_777)), None);

    table.add("close by the agent, no fee", close_free, Some(("cooperativeClose, no fee", 62_185)), None);
    let gas = world.send(agent, call::close(&d, Some(&world.voucher(&d, 1_000_000)))).await.gas_used;
    let reference = Some(("cooperativeClose, 1 % fee, first", 87_114));
    table.add("close by the agent, 1 % fee, first fee of all", gas, reference, None);
    let d = world.descriptor(paid, 11);
    let gas = world.send(agent, call::close(&d, Some(&world.voucher(&d, 1_000_000)))).await.gas_used;
    let reference = Some(("cooperativeClose, 1 % fee, later", 70_033));
    table.add("close by the agent, 1 % fee", gas, reference, Some(58_500));
    table.add("closeWithBoth, no fee", both_free, Some(("cooperativeClose, no fee", 62_185)), None);
    let d = world.descriptor(paid, 12);
    let (voucher, consent) = both(&world, &d, 1_000_000).await;
    let gas = world.send(&cast.stranger, call::close_with_both(&d, &voucher, &consent)).await.gas_used;
    table.add("closeWithBoth, 1 % fee", gas, reference, None);

    // A dispute.
    let d = world.descriptor(paid, 13);
    let request = world.send(client, call::request_close(&d, Amount::new(1_000_000))).await.gas_used;
    table.add("requestClose, 1 % fee", request, Some(("uncooperativeClose", 52_781)), None);
    world.warp(TERMS.challenge).await;
    let finalize = world.send(client, call::finalize_close(&d)).await.gas_used;
    table.add("finalizeClose", finalize, Some(("settle", 56_098)), None);

    // Partial settlement: the reference has none.
    let d = world.descriptor(paid, 14);
    let gas = world.send(agent, call::settle(&d, &world.voucher(&d, 500_000))).await.gas_used;
    table.add("settle, 1 % fee", gas, None, None);

    batches(&world, paid, &mut table).await;

    // A first purchase, from a wallet with tokens to an open channel.
    let mut d = world.descriptor(paid, 500);
    d.client = cast.newcomer.address();
    let permit = world.permit(&cast.newcomer, DEPOSIT).await;
    let call = call::open_with_permit(&d, Amount::new(DEPOSIT), permit).expect("fits");
    let gas = world.send(&cast.newcomer, call).await.gas_used;
    let reference = Some(("approve + addBalanceERC20 + createChannel", 196_364));
    table.add("openWithPermit, first purchase from a wallet", gas, reference, Some(106_000));
    let permit = world.permit(&cast.newcomer, DEPOSIT).await;
    let call = call::top_up_with_permit(&d, Amount::new(DEPOSIT), permit).expect("fits");
    let gas = world.send(&cast.newcomer, call).await.gas_used;
    let reference = Some(("approve + addBalanceERC20, later + topUpChannel", 137_174));
    table.add("topUpWithPermit", gas, reference, None);

    relayed(&world, paid, &mut table).await;
    operators(&world, paid, &mut table).await;
    exits(&world, paid, &mut table).await;

    let life = open + table.gas_of("close by the agent, 1 % fee");
    table.add(
        "whole life: open + close, 1 % fee",
        life,
        Some(("createChannel + cooperativeClose", 133_788)),
        None,
    );
    let dispute = request + finalize;
    table.add(
        "dispute: requestClose + finalizeClose",
        dispute,
        Some(("uncooperativeClose + settle", 108_879)),
        None,
    );
    table
}

/// A hundred channels in one transaction.
async fn batches(world: &World, offering: B256, table: &mut Table) {
    let (agent, client) = (&world.cast.agent, &world.cast.client);
    let channels: Vec<_> = (100..100 + BATCH).map(|index| world.descriptor(offering, index)).collect();
    for d in &channels {
        world.send(client, call::open(d, Amount::new(DEPOSIT)).expect("fits")).await;
    }
    let vouchers: Vec<_> = channels.iter().map(|d| world.voucher(d, 500_000)).collect();
    let gas =
        world.send(agent, call::settle_batch(agent.address(), channels.iter().zip(&vouchers))).await.gas_used;
    table.add("settleBatch of 100, per channel, 1 % fee", gas.div_ceil(BATCH), None, Some(16_800));
    let vouchers: Vec<_> = channels.iter().map(|d| world.voucher(d, 1_000_000)).collect();
    let gas =
        world.send(agent, call::close_batch(channels.iter().zip(vouchers.iter().map(Some)))).await.gas_used;
    let reference = Some(("cooperativeClose, 1 % fee, later", 70_033));
    table.add("closeBatch of 100, per channel, 1 % fee", gas.div_ceil(BATCH), reference, Some(18_600));
}

/// What anybody may submit: openings and top-ups by EIP-3009, close requests by the signer's signature, and the end of a close.
async fn relayed(world: &World, offering: B256, table: &mut Table) {
    let (buyer, relay) = (&world.cast.newcomer, &world.cast.stranger);
    let mut d = world.descriptor(offering, 600);
    (d.client, d.signer) = (buyer.address(), buyer.address());
    let separator = world.ptc().DOMAIN_SEPARATOR().call().await.expect("the token answers");
    let sign = |signed: &TransferAuthorization| {
        buyer.sign_hash_sync(&signed.digest(separator)).expect("the buyer signs")
    };
    let validity = (ChainTime::new(0), UNTIL);
    let amount = Amount::new(DEPOSIT);

    let opening = TransferAuthorization::opening(&world.domain, &d, amount, validity);
    let call = call::open_with_authorization(&d, &opening, &sign(&opening)).expect("fits");
    let gas = world.send(relay, call).await.gas_used;
    let reference = Some(("approve + addBalanceERC20 + createChannel", 196_364));
    table.add("openWithAuthorization, relayed first purchase", gas, reference, Some(106_000));

    let salt = keccak256("a top-up");
    let added = TransferAuthorization::top_up(&world.domain, &d, amount, salt, validity);
    let call = call::top_up_with_authorization(&d, salt, &added, &sign(&added)).expect("fits");
    let gas = world.send(relay, call).await.gas_used;
    let reference = Some(("approve + addBalanceERC20, later + topUpChannel", 137_174));
    table.add("topUpWithAuthorization, relayed", gas, reference, None);

    let request = RequestClose {
        channel: d.id(&world.domain),
        admitted: Amount::new(1_000_000),
        nonce: world.psc().nonceOf(buyer.address()).call().await.expect("the contract answers"),
        deadline: UNTIL,
    };
    let request = sign_request_close(buyer, &world.domain, request).expect("the buyer signs");
    let gas = world.send(relay, call::request_close_for(&d, &request)).await.gas_used;
    table.add("requestCloseFor, relayed, 1 % fee", gas, Some(("uncooperativeClose", 52_781)), None);
    world.warp(TERMS.challenge).await;
    let gas = world.send(relay, call::finalize_close(&d)).await.gas_used;
    table.add("finalizeClose by a stranger", gas, Some(("settle", 56_098)), None);
}

/// An agent's operator: its appointment, what it closes for the agent, and the end of consents.
async fn operators(world: &World, offering: B256, table: &mut Table) {
    let (agent, client, operator) = (&world.cast.agent, &world.cast.client, &world.cast.stranger);
    let gas = world.send(agent, call::set_operator(Some(operator.address()))).await.gas_used;
    table.add("setOperator, first", gas, None, None);
    let channels: Vec<_> = (700..700 + BATCH).map(|index| world.descriptor(offering, index)).collect();
    for d in &channels {
        world.send(client, call::open(d, Amount::new(DEPOSIT)).expect("fits")).await;
    }
    let vouchers: Vec<_> = channels.iter().map(|d| world.voucher(d, 1_000_000)).collect();
    let claims = channels.iter().zip(vouchers.iter().map(Some));
    let gas = world.send(operator, call::close_batch_for(agent.address(), claims)).await.gas_used;
    let reference = Some(("cooperativeClose, 1 % fee, later", 70_033));
    table.add(
        "closeBatchFor of 100 by the operator, per channel, 1 % fee",
        gas.div_ceil(BATCH),
        reference,
        Some(18_600),
    );
    let gas = world.send(operator, call::revoke_consents(agent.address())).await.gas_used;
    table.add("revokeConsents", gas, None, None);
}

/// How a client leaves: it takes its request back, or brings everything home.
async fn exits(world: &World, offering: B256, table: &mut Table) {
    let client = &world.cast.client;
    let wallet = client.address();
    let d = world.descriptor(offering, 15);
    world.send(client, call::request_close(&d, Amount::new(1_000_000))).await;
    let gas = world.send(client, call::cancel_close(&d)).await.gas_used;
    table.add("cancelClose", gas, None, None);

    world.send(client, call::request_close(&d, Amount::new(1_000_000))).await;
    world.warp(TERMS.challenge).await;
    let gas = world.send(client, call::withdraw_all(wallet)).await.gas_used;
    table.add("withdrawAll", gas, Some(("returnBalanceERC20", 44_830)), None);
    // With nothing else in the contract: a client that only wants its refund.
    let calls = [call::finalize_close(&d).abi_encode(), call::withdraw_all(wallet).abi_encode()];
    let gas = world.send(client, call::multicall(calls)).await.gas_used;
    let reference = Some(("settle + returnBalanceERC20", 100_928));
    table.add("multicall [finalizeClose, withdrawAll]", gas, reference, None);
}

async fn both(world: &World, d: &ChannelDescriptor, amount: u128) -> (SignedVoucher, SignedClose) {
    (world.voucher(d, amount), world.consent(d, amount).await)
}

#[tokio::test]
async fn no_call_costs_more_than_its_goal_and_the_table_is_current() {
    let table = tokio::time::timeout(LIMIT, measure()).await.expect("the node answers in time");
    let path = contracts_folder().join("GAS.md");
    let measured = table.markdown();
    if env::var_os("PRIVATIX_UPDATE_GAS").is_some() {
        fs::write(&path, &measured).expect("contracts/GAS.md can be written");
    }
    println!("{measured}");
    assert_eq!(table.missed(), Vec::<String>::new(), "gas goals missed");
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == measured, "contracts/GAS.md is out of date: run `npm run gas` in contracts/");
}
