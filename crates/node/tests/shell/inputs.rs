//! What the chain shows and what becomes of transactions, as decisions.

use privatix_node::fate::Sender;
use privatix_node::inputs::{Inputs, Opening, Surroundings};
use privatix_store::purposes::{self, Recorded, TxNumber};
use privatix_store::states::Stored;

use super::*;

/// The usual surroundings.
#[derive(Default)]
struct Around(AgentPolicy);

#[async_trait]
impl Surroundings<Agent> for Around {
    async fn env<'a>(&'a self, _: &mut Conn, _: &Stored<Agent>) -> Result<Env<'a, Agent>, NodeError> {
        Ok(later(&self.0))
    }
}

fn of_other() -> (ChannelId, ChannelDescriptor) {
    let descriptor = ChannelDescriptor { nonce: 1, ..descriptor() };
    (descriptor.id(&domain()), descriptor)
}

fn opened(channel: ChannelId, descriptor: ChannelDescriptor) -> ChainEvent {
    let event = ChannelEvent::Opened { deposit: a(1_000), fee: Fee::ZERO };
    ChainEvent::Opened { channel, descriptor, event }
}

fn asks(channel: ChannelId) -> ChainEvent {
    let event = ChannelEvent::CloseRequested { paid: a(20), ends_at: ChainTime::new(90_000) };
    ChainEvent::Changed { channel, agent: descriptor().agent, event }
}

/// Stores events of a block, and brings their channels up to date with them.
async fn store(conn: &mut Conn, block: u64, all: &[ChainEvent]) {
    for (index, event) in (0..).zip(all) {
        let place = Place { at: LogPosition::new(block, index), tx: B256::repeat_byte(1) };
        assert!(events::record(conn, place, event).await.unwrap());
        let channel = event.channel().unwrap();
        channels::advance(conn, channel, place.at, event.channel_event().unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_a_batch_are_decided_once_for_each_channel_and_damage_delays_no_other() {
    let (node, around, seller) = (closing().await, Around::default(), Seller::default());
    let inputs = Inputs::<Agent, _>::new(&node.shell, &around, &seller);
    let (other, described) = of_other();
    let mut tx = node.db.begin().await.unwrap();
    channels::insert(&mut tx, other, &described, a(1_000)).await.unwrap();
    let state = AgentState::new(other, described);
    assert!(states::create(&mut tx, &state, &LifePart::all(), Due::Final).await.unwrap());
    tx.commit().await.unwrap();
    let hex = alloy::hex::encode(other.as_b256());
    run(&node.db, &format!("UPDATE channel_states SET own = '' WHERE channel = x'{hex}'")).await;
    let (_, revision) = node.state::<Agent>().await;

    let mut tx = node.db.begin().await.unwrap();
    let strange = ChannelId::new([9; 32].into());
    let before = inputs.before(&mut tx, &BTreeSet::from([id(), other, strange])).await.unwrap();
    // Of one batch: the request, its cancellation, and another request.
    let cancelled = ChannelEvent::CloseCancelled;
    let cancelled = ChainEvent::Changed { channel: id(), agent: descriptor().agent, event: cancelled };
    store(&mut tx, 5, &[opened(other, described), asks(id()), cancelled, asks(id())]).await;
    let decided = inputs.chain(&mut tx, before).await.unwrap();
    tx.commit().await.unwrap();
    let [applied] = decided.applied.as_slice() else { panic!("{:?}", decided.applied) };
    assert_eq!((applied.state.id, applied.revision), (id(), revision + 1), "stored once");
    let disputed = AgentNotice::Disputed { claimable: a(40), ends_at: ChainTime::new(90_000) };
    assert!(applied.effects.contains(&Effect::Notify(disputed)), "{:?}", applied.effects);
    assert!(applied.wakes_transactor);
    let [(damaged, what)] = decided.damaged.as_slice() else { panic!("{:?}", decided.damaged) };
    assert_eq!(*damaged, other);
    assert!(what.contains("cannot be read"), "{what}");
    let chain = channels::on_chain(&mut node.db.read().await.unwrap(), other).await.unwrap();
    assert_eq!(chain.deposit, a(1_000), "its events are stored in any case");
    let answers = [TxStatus::Cancelled, TxStatus::Unsent];
    assert_eq!(node.transactions().await.iter().map(|(_, status)| *status).collect::<Vec<_>>(), answers);

    // The block is undone. By order the channel is still to be closed, with everyday terms.
    let mut tx = node.db.begin().await.unwrap();
    let undone = events::undo_above(&mut tx, 4).await.unwrap();
    let touched: BTreeSet<_> = undone.iter().filter_map(|(_, event)| event.channel()).collect();
    let before = inputs.before(&mut tx, &touched).await.unwrap();
    for channel in &touched {
        channels::refold(&mut tx, *channel).await.unwrap();
    }
    let decided = inputs.chain(&mut tx, before).await.unwrap();
    tx.commit().await.unwrap();
    let [applied] = decided.applied.as_slice() else { panic!("{:?}", decided.applied) };
    assert_eq!(applied.state.chain.challenge_ends_at(), None);
    assert_eq!(ceilings::get(&mut node.db.read().await.unwrap(), id()).await.unwrap(), Some(a(60)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_channel_has_its_first_state_and_numbers_its_effects_after_earlier_ones() {
    let (node, around) = (closing().await, Around::default());
    let seller = Seller::default();
    let inputs = Inputs::<Agent, _>::new(&node.shell, &around, &seller);
    let (channel, descriptor) = of_other();
    let mut tx = node.db.begin().await.unwrap();
    // Of a database that was lost, say: transactions of the channel are known, the channel is not.
    for seq in [1, 2] {
        let effect = EffectId { subject: Subject::Channel(channel), seq };
        let purpose = Purpose::Settle { cumulative: a(1) };
        let (tx_number, in_batch) = (TxNumber(100 + i64::from(seq)), false);
        let recorded = Recorded { tx: tx_number, effect, purpose, from_wallet: false, job: None, in_batch };
        purposes::record(&mut tx, &recorded).await.unwrap();
    }
    let seen = BTreeSet::from([channel]);
    let mut before = inputs.before(&mut tx, &seen).await.unwrap();
    let event = opened(channel, descriptor);
    let opening = Opening { channel, descriptor: &descriptor, deposit: a(1_000), terms: Some(terms()) };
    inputs.begin(&mut tx, &mut before, opening.clone()).await.unwrap();
    store(&mut tx, 5, &[event]).await;
    let decided = inputs.chain(&mut tx, before).await.unwrap();
    let [applied] = decided.applied.as_slice() else { panic!("{decided:?}") };
    assert_eq!(applied.state.chain.deposit, a(1_000));
    // It is prepared, by the request of the next number.
    let asked = applied.state.own.service.asked.unwrap();
    assert_eq!((asked.seq, asked.target), (3, Target::Suspended));
    assert_eq!(node.shell.load::<Agent>(&mut tx, channel).await.unwrap().adopted, LifePart::all());

    // Seen again, it stays as it is.
    let mut before = inputs.before(&mut tx, &seen).await.unwrap();
    inputs.begin(&mut tx, &mut before, opening).await.unwrap();
    let decided = inputs.chain(&mut tx, before).await.unwrap();
    assert_eq!(decided.applied.iter().map(|applied| applied.revision).collect::<Vec<_>>(), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_that_fails_in_the_middle_leaves_nothing_but_the_events() {
    /// Finds a damaged voucher when it makes a call.
    struct Damaged;
    #[async_trait]
    impl Runner<Agent> for Damaged {
        async fn call(
            &self,
            _: &mut Conn,
            state: &AgentState,
            _: AgentPurpose,
        ) -> Result<Result<Intent, Fate>, NodeError> {
            Err(NodeError::DamagedVoucher { channel: state.id, reason: "no signature".to_owned() })
        }
        async fn run(
            &self,
            _: &mut Conn,
            _: &AgentState,
            _: &Effect<Agent>,
        ) -> Result<Ran<Agent>, NodeError> {
            Ok(Ran::AfterCommit)
        }
        async fn take_back(&self, _: &mut Conn, _: EffectId) -> Result<(), NodeError> {
            Ok(())
        }
        fn committed(&self, _: &Applied<Agent>) {}
    }
    let (node, around) = (closing().await, Around::default());
    let (sent, before) = (node.transactions().await, node.state::<Agent>().await);
    let inputs = Inputs::<Agent, _>::new(&node.shell, &around, &Damaged);
    let mut tx = node.db.begin().await.unwrap();
    let loaded = inputs.before(&mut tx, &BTreeSet::from([id()])).await.unwrap();
    store(&mut tx, 5, &[asks(id())]).await;
    // It would cancel the close of everyday terms, and submit an answer.
    let decided = inputs.chain(&mut tx, loaded).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((decided.applied.len(), decided.damaged.len()), (0, 1));
    assert_eq!(node.transactions().await, sent);
    let (state, revision) = node.state::<Agent>().await;
    assert_eq!((&state.own, revision), (&before.0.own, before.1));
    assert!(state.chain.challenge_ends_at().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_transaction_is_decided_by_what_is_recorded_of_it() {
    for (sender, lasting) in [(Sender::MaySend, false), (Sender::IsNotOperator, true)] {
        let (node, around, seller) = (closing().await, Around::default(), Seller::default());
        let inputs = Inputs::<Agent, _>::new(&node.shell, &around, &seller);
        let [close] = node.state::<Agent>().await.0.own.flights[..] else { panic!("no close") };
        let mut tx = node.db.begin().await.unwrap();
        let key = format!("channel {} {}", id(), close.seq);
        let record = node.transactor.find(&mut tx, &key).await.unwrap().unwrap();
        let recorded = |subject, purpose| Recorded {
            tx: TxNumber(record.id.0),
            effect: EffectId { subject, seq: close.seq },
            purpose,
            from_wallet: false,
            job: None,
            in_batch: false,
        };
        let change = (&record, TxChange::Failed);
        let purpose = close.purpose.into();
        // About nothing that is decided here.
        for recorded in [
            recorded(Subject::Account(descriptor().agent), purpose),
            recorded(Subject::Channel(of_other().0), purpose),
            recorded(Subject::Channel(id()), Purpose::FinalizeClose),
        ] {
            let decided = inputs.transaction(&mut tx, &recorded, change, sender).await.unwrap();
            assert_eq!((decided.applied.len(), decided.damaged.len()), (0, 0));
        }
        let recorded = recorded(Subject::Channel(id()), purpose);
        let decided = inputs.transaction(&mut tx, &recorded, change, sender).await.unwrap();
        let [applied] = decided.applied.as_slice() else { panic!("{decided:?}") };
        let failing = Blocked::Failing { since: Uptime::new(90_000), tries: 1, lasting };
        assert_eq!(applied.state.own.blocked, Some(failing));
        assert!(applied.effects.contains(&Effect::Notify(AgentNotice::Failing { tries: 1, lasting })));
        // Repeated, it changes nothing.
        let again = inputs.transaction(&mut tx, &recorded, change, sender).await.unwrap();
        assert_eq!(again.applied[0].revision, applied.revision);
    }
}
