//! Both meters show the same number, however a connection ends.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::support::origin::{Origin, pattern};
use crate::support::{Pair, Side, channel, program, soon};

/// How many connections are cut in each way.
const ROUNDS: u64 = 100;

/// How many at once.
const AT_ONCE: u64 = 8;

/// How a program gives up what it has begun.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// A download at full speed through SOCKS5, closed with bytes unread.
    Socks,
    /// The same through CONNECT.
    Connect,
    /// The same as a request in absolute form.
    AbsoluteForm,
    /// A download of which little is taken, slowly.
    SlowReader,
    /// A download by a program that had closed its own direction before.
    HalfClosed,
    /// A download that is reset.
    Reset,
    /// An upload that is broken off.
    Upload,
    /// An upload that is reset.
    UploadReset,
    /// Both directions at once.
    BothWays,
    /// A download that the origin breaks off.
    Origin,
}

const ALL: [Cut; 10] = [
    Cut::HalfClosed,
    Cut::Upload,
    Cut::Socks,
    Cut::Connect,
    Cut::AbsoluteForm,
    Cut::SlowReader,
    Cut::Reset,
    Cut::UploadReset,
    Cut::BothWays,
    Cut::Origin,
];

#[tokio::test(flavor = "multi_thread")]
async fn after_a_hundred_cancelled_connections_of_every_kind_the_meters_agree() {
    let mut outcomes = Vec::new();
    for cut in ALL {
        let origin = Origin::start().await;
        let breaking = breaking_origin().await;
        let mut pair = Pair::new().await;
        let mut workers = tokio::task::JoinSet::new();
        for worker in 0..AT_ONCE {
            let (local, port) = (pair.local, origin.address.port());
            let breaking = breaking.0.port();
            workers.spawn(async move {
                for round in 0..ROUNDS / AT_ONCE {
                    soon("a connection to be cut", cancel(cut, local, port, breaking, round + worker)).await;
                }
            });
        }
        while let Some(done) = workers.join_next().await {
            done.unwrap();
        }
        let (sold, bought) = pair.stop().await;
        let apart = sold.abs_diff(bought);
        eprintln!("{cut:?}: {sold} bytes sold, {bought} bought, {apart} apart");
        assert!(bought > ROUNDS, "{cut:?}: hardly anything passed: {bought}");
        outcomes.push((cut, sold, bought));
    }
    for (cut, sold, bought) in outcomes {
        let apart = sold.abs_diff(bought);
        // Nothing is apart on a quiet machine. On a busy one, loopback may drop the message with the last acknowledgement, or a
        // packet of 64 KiB may slip in between two calls.
        assert!(apart <= 4 * 64 * 1024 && apart * 200 < bought.max(sold), "{cut:?}: {sold} and {bought}");
    }
}

async fn cancel(cut: Cut, local: SocketAddr, port: u16, breaking: u16, round: u64) {
    let mut buffer = vec![0; 64 * 1024];
    let mut stream = match cut {
        Cut::Connect => program::connect(local, None, "127.0.0.1", port).await.connected(),
        Cut::AbsoluteForm => TcpStream::connect(local).await.unwrap(),
        Cut::Origin => program::socks(local, None, "127.0.0.1", breaking).await.connected(),
        _ => program::socks(local, None, "127.0.0.1", port).await.connected(),
    };
    match cut {
        Cut::AbsoluteForm => {
            let request = format!(
                "GET http://127.0.0.1:{port}/bytes/100000000 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
        }
        Cut::Upload | Cut::UploadReset => {
            stream.write_all(b"sum\n").await.unwrap();
            for _ in 0..round % 7 {
                stream.write_all(&pattern(50_000)).await.unwrap();
            }
        }
        Cut::BothWays => stream.write_all(b"echo\n").await.unwrap(),
        _ => stream.write_all(b"push 100000000\n").await.unwrap(),
    }
    if matches!(cut, Cut::HalfClosed) {
        stream.shutdown().await.unwrap();
    }
    match cut {
        Cut::Upload | Cut::UploadReset => {}
        Cut::BothWays => {
            let (mut from, mut to) = stream.split();
            let sending = async {
                loop {
                    to.write_all(&pattern(30_000)).await.unwrap();
                }
            };
            let receiving = async {
                for _ in 0..round % 8 {
                    let _ = from.read(&mut buffer).await.unwrap();
                }
            };
            tokio::select! {
                () = sending => {}
                () = receiving => {}
            }
        }
        Cut::SlowReader => {
            for _ in 0..3 {
                let _ = stream.read(&mut buffer[..2_000]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        Cut::Origin => while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {},
        _ => {
            for _ in 0..round % 8 {
                let _ = stream.read(&mut buffer).await.unwrap();
            }
        }
    }
    if matches!(cut, Cut::Reset | Cut::UploadReset) {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// An origin that sends a while and resets the connection.
async fn breaking_origin() -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let piece = pattern(64 * 1024);
                let _ = stream.read(&mut [0; 100]).await;
                for _ in 0..10 {
                    if stream.write_all(&piece).await.is_err() {
                        break;
                    }
                }
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            });
        }
    });
    (address, AbortOnDropHandle::new(serving))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_stopped_at_either_side_leaves_the_meters_equal() {
    let origin = Origin::start().await;
    let (mut agent, mut client) = (
        Side::agent(crate::support::agent_settings()).await,
        Side::client(crate::support::client_settings()).await,
    );
    for round in 0..40 {
        let id = channel(round + 1);
        let local = client.buy(id, &agent.sell(id).await).await;
        let mut stream = program::socks(local, None, "127.0.0.1", origin.address.port()).await.connected();
        stream.write_all(b"push 100000000\n").await.unwrap();
        let reading = tokio::spawn(async move {
            let mut got = 0;
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                got += read as u64;
            }
            got
        });
        client.metered_at_least(id, 200_000 + round * 100_000).await;
        let (sold, bought) = if round % 2 == 0 {
            let sold = agent.stop(id).await;
            (sold, client.stop(id).await)
        } else {
            let bought = client.stop(id).await;
            (agent.stop(id).await, bought)
        };
        let got = soon("the end", reading).await.unwrap();
        assert_eq!(sold, bought, "round {round}, the program got {got}");
        assert!(got <= bought);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_read_owes_what_arrived_while_it_does_not() {
    for in_absolute_form in [false, true] {
        let origin = Origin::start().await;
        let mut pair = Pair::new().await;
        let port = origin.address.port();
        let mut stream = if in_absolute_form {
            TcpStream::connect(pair.local).await.unwrap()
        } else {
            program::socks(pair.local, None, "127.0.0.1", port).await.connected()
        };
        let request = if in_absolute_form {
            format!("GET http://127.0.0.1:{port}/bytes/100000000 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")
        } else {
            "push 100000000\n".to_owned()
        };
        stream.write_all(request.as_bytes()).await.unwrap();
        // Without a byte read by the program, both meters rise until all buffers are full, and then show the same number.
        let (mut sold, mut bought) = (0, 0);
        soon("the meters to stand still and agree", async {
            loop {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                let now = (pair.agent.metered(pair.channel), pair.client.metered(pair.channel));
                if now == (sold, bought) && sold == bought && sold > 0 {
                    break;
                }
                (sold, bought) = now;
            }
        })
        .await;
        assert_eq!(pair.stop().await, (sold, bought));
    }
}
