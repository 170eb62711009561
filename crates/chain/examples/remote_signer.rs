//! A signer in a process of its own, as a key store would be: it answers requests of JSON lines over a loopback socket.
//!
//! Each line of its standard input is a set-up: `{"key": "0x…", "ignored": ["0x…"]}`, the key and the recipients whose
//! transactions it leaves unanswered. Without one it ends at once. It prints its address, serves
//! `{"hash": "0x…", "to": "0x…"}` with `{"signature": "0x…"}`, one request per connection, and ends when its input does.
//!
//! The tests of the transactor run it; see the `Signer` trait for what a client of it looks like.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, PoisonError, RwLock};

use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use serde_json::{Value, json};

/// The longest request.
const LONGEST: u64 = 1_024;

type Failure = Box<dyn Error + Send + Sync>;

struct Setup {
    key: PrivateKeySigner,
    ignored: Vec<Address>,
}

fn main() -> Result<(), Failure> {
    let mut lines = std::io::stdin().lines();
    let Some(first) = lines.next().transpose()? else {
        writeln!(
            std::io::stdout(),
            "no key is given, so nothing is signed; a set-up is a line such as {{\"key\": \"0x...\", \"ignored\": []}}"
        )?;
        return Ok(());
    };
    let setup = Arc::new(RwLock::new(read_setup(&first)?));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut output = std::io::stdout();
    writeln!(output, "{}", listener.local_addr()?)?;
    let served = Arc::clone(&setup);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let setup = Arc::clone(&served);
            std::thread::spawn(move || serve(connection, &setup));
        }
    });
    for line in lines {
        *setup.write().unwrap_or_else(PoisonError::into_inner) = read_setup(&line?)?;
        writeln!(output, "done")?;
    }
    Ok(())
}

fn read_setup(line: &str) -> Result<Setup, Failure> {
    let setup: Value = serde_json::from_str(line)?;
    let key = setup["key"].as_str().ok_or("no key in the set-up")?.parse()?;
    let ignored = serde_json::from_value(setup["ignored"].clone())?;
    Ok(Setup { key, ignored })
}

fn serve(mut connection: TcpStream, setup: &RwLock<Setup>) -> Result<(), Failure> {
    let mut line = String::new();
    BufReader::new((&connection).take(LONGEST)).read_line(&mut line)?;
    let request: Value = serde_json::from_str(&line)?;
    let hash: B256 = serde_json::from_value(request["hash"].clone())?;
    let to: Address = serde_json::from_value(request["to"].clone())?;
    let signature = {
        let setup = setup.read().unwrap_or_else(PoisonError::into_inner);
        if setup.ignored.contains(&to) { None } else { Some(setup.key.sign_hash_sync(&hash)?) }
    };
    match signature {
        Some(signature) => writeln!(connection, "{}", json!({ "signature": signature.to_string() }))?,
        // Until the other side gives up.
        None => drop(connection.read(&mut [0])?),
    }
    Ok(())
}
