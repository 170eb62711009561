//! Signers in another process: what they give is checked, and one that hangs is nobody else's affair.

use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use alloy::consensus::{SignableTransaction, Transaction, TypedTransaction};
use alloy::primitives::{Address, Signature, U256, hex};
use async_trait::async_trait;
use privatix_chain::{
    Finality, Intent, Keyring, Obstacle, Signer, SignerError, Transactor, TransactorBuilder, TxRecord,
    TxStatus,
};
use privatix_db::Database;
use privatix_testkit::Anvil;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::{BACKOFF, Outcomes, POLL, Running, ended, fresh, http, submit, until};

/// The example `remote_signer` at work.
struct Process {
    child: Child,
    input: ChildStdin,
    output: std::io::BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Process {
    fn start(anvil: &Anvil, key: usize, ignored: &[Address]) -> Self {
        let tests = std::env::current_exe().unwrap();
        let path = tests.ancestors().nth(2).unwrap().join("examples/remote_signer");
        let mut child = Command::new(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; build the examples", path.display()));
        let output = std::io::BufReader::new(child.stdout.take().unwrap());
        let input = child.stdin.take().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { child, input, output, address };
        process.address = process.set_up(anvil, key, ignored).parse().unwrap();
        process
    }

    fn set_up(&mut self, anvil: &Anvil, key: usize, ignored: &[Address]) -> String {
        use std::io::{BufRead, Write};
        let key = hex::encode_prefixed(anvil.key(key).to_bytes());
        writeln!(self.input, "{}", json!({ "key": key, "ignored": ignored })).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of it.
struct Remote {
    account: Address,
    process: SocketAddr,
}

impl Remote {
    async fn ask(&self, request: Value) -> std::io::Result<Value> {
        let mut connection = TcpStream::connect(self.process).await?;
        connection.write_all(format!("{request}\n").as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(connection.take(1_024)).read_line(&mut line).await?;
        Ok(serde_json::from_str(&line)?)
    }
}

#[async_trait]
impl Signer for Remote {
    fn account(&self) -> Address {
        self.account
    }

    async fn sign(&self, tx: &TypedTransaction) -> Result<Signature, SignerError> {
        let request = json!({ "hash": tx.signature_hash(), "to": tx.to() });
        let answer = self.ask(request).await.map_err(|error| SignerError::Unavailable(error.to_string()))?;
        let signature = answer["signature"].as_str().and_then(|signature| signature.parse().ok());
        signature.ok_or_else(|| SignerError::Refused("it gives no signature".to_owned()))
    }
}

fn build(db: &Database, anvil: &Anvil, keys: Keyring) -> TransactorBuilder {
    Transactor::builder(db.clone(), http(anvil.url()), anvil.chain_id(), keys)
        .confirmations(0)
        .finality(Finality::Depth(0))
        .poll_interval(POLL)
        .backoff(BACKOFF)
}

fn target(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn gift(anvil: &Anvil, from: usize, n: u8) -> Intent {
    Intent::new(format!("gift {n}"), anvil.account(from), target(n), Vec::new()).value(1)
}

fn is_not_signed(record: &TxRecord) -> bool {
    matches!(record.obstacle, Some(Obstacle::NotSigned { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_signer_that_hangs_delays_no_other() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let mut process = Process::start(&anvil, 1, &[target(1)]);
    let keys = Keyring::new([anvil.key(2)]);
    keys.insert(Remote { account: anvil.account(1), process: process.address });
    let transactor = build(&db, &anvil, keys).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let hangs = submit(&db, &transactor, gift(&anvil, 1, 1)).await;
    tokio::time::timeout(Duration::from_secs(9), async {
        // Of another account, and of the same one.
        for (from, n) in [(2, 2), (1, 3)] {
            let id = submit(&db, &transactor, gift(&anvil, from, n)).await;
            assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
        }
    })
    .await
    .unwrap();
    let record = transactor.get(&mut db.read().await.unwrap(), hangs).await.unwrap();
    assert_eq!((record.status, &record.obstacle), (TxStatus::Unsent, &None), "it is still waited for");
    let record = until(&db, &transactor, hangs, "the signer is given up", is_not_signed).await;
    assert!(record.obstacle.unwrap().to_string().contains("no answer within 10 s"));

    process.set_up(&anvil, 1, &[]);
    let record = ended(&db, &transactor, hangs).await;
    assert_eq!(record.status, TxStatus::Mined);
    for n in [1, 2, 3] {
        assert_eq!(anvil.balance(target(n)).await.unwrap(), U256::from(1), "{n}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_of_another_key_is_refused() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let mut process = Process::start(&anvil, 3, &[]);
    let keys = Keyring::default();
    keys.insert(Remote { account: anvil.account(1), process: process.address });
    let transactor = build(&db, &anvil, keys).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, 1, 1)).await;
    let record = until(&db, &transactor, id, "an obstacle", is_not_signed).await;
    assert!(record.obstacle.unwrap().to_string().contains("another key"));
    assert!(transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap().is_empty());
    process.set_up(&anvil, 1, &[]);
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}
