//! One request in absolute form and its answer, between a program and a destination.
//!
//! The answer is relayed as it comes, until the destination ends it: informational responses, bodies of any form, what is not
//! HTTP at all. Only the heads are looked at. An end that is not in order is an error here, for the caller to pass on as such.

use std::io;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::body::Body;
use super::head::Scan;
use super::hop;
use super::response::{Beginning, beginning};
use crate::metered::second_thought;

/// A request on its way to its destination.
pub(super) struct Outgoing {
    /// As the destination gets it.
    pub(super) head: Vec<u8>,
    pub(super) body: Body,
    /// What the program sent together with the head.
    pub(super) received: Vec<u8>,
    /// Whether it asks to go on in another protocol.
    pub(super) upgrade: bool,
}

/// How an exchange ended in order.
#[derive(Debug)]
pub(super) enum Ended {
    /// With the end of the answer, which the program got.
    Answered,
    /// With a switch to another protocol (RFC 9110 §15.2.2). The program may have begun to speak it, in `beyond`.
    Upgraded { beyond: Vec<u8> },
}

/// Thousands of connections may be held at once.
const PIECE: usize = 32 * 1024;

/// Sends a request on and the answer back. `most` bounds what is held: an answer's head that is longer is relayed unseen.
///
/// Not to be dropped half-way if the streams are used afterwards.
pub(super) async fn exchange<D: AsyncRead + AsyncWrite + Unpin>(
    program: &mut TcpStream,
    destination: &mut D,
    outgoing: Outgoing,
    most: usize,
) -> io::Result<Ended> {
    let (mut from_program, to_program) = program.split();
    let (from_destination, mut to_destination) = tokio::io::split(destination);
    let mut receiving = pin!(receive(from_destination, to_program, outgoing.upgrade, most));
    let sent = {
        let mut sending = pin!(send(&mut from_program, &mut to_destination, outgoing));
        tokio::select! {
            biased;
            received = &mut receiving => {
                let received = received?.pass_on_end().await?;
                // Answered early, or half closed: the rest of the request is still the destination's.
                let sent = sending.await.map_err(Unsent::into_inner)?;
                return Ok(received.ended(sent.beyond));
            }
            sent = &mut sending => sent,
        }
    };
    let Sent { mut beyond, program_ended } = match sent {
        Ok(sent) => sent,
        Err(Unsent::Program(error)) => return Err(error),
        Err(Unsent::Destination(error)) => return broken_off(receiving, error).await,
    };
    if !program_ended {
        tokio::select! {
            biased;
            received = &mut receiving => return Ok(received?.pass_on_end().await?.ended(beyond)),
            ended = until_end(&mut from_program, &mut beyond, most) => ended?,
        }
    }
    // A program that closes its connection, and not only its direction, resets it at the next byte of the answer.
    tokio::select! {
        biased;
        received = &mut receiving => return Ok(received?.pass_on_end().await?.ended(beyond)),
        ended = second_thought(from_program.as_ref()) => ended?,
    }
    if let Err(error) = to_destination.shutdown().await {
        return broken_off(receiving, error).await;
    }
    Ok(receiving.await?.pass_on_end().await?.ended(beyond))
}

/// The destination takes nothing any more. What it answered before, such as a refusal, is still for the program; but its end,
/// which may look like one in order once the error was seen, is not.
async fn broken_off<T, R>(receiving: impl Future<Output = io::Result<R>>, error: io::Error) -> io::Result<T> {
    receiving.await?;
    Err(error)
}

struct Sent {
    /// What the program sent after its request: for nobody, unless the request was to upgrade.
    beyond: Vec<u8>,
    /// Whether the program has closed its direction, maybe within the body.
    program_ended: bool,
}

/// The side at fault when a request could not be sent whole.
enum Unsent {
    Program(io::Error),
    Destination(io::Error),
}

impl Unsent {
    fn into_inner(self) -> io::Error {
        match self {
            Self::Program(error) | Self::Destination(error) => error,
        }
    }
}

async fn send(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    outgoing: Outgoing,
) -> Result<Sent, Unsent> {
    let Outgoing { head: mut first, mut body, received: mut beyond, .. } = outgoing;
    let length = body.take(&beyond);
    first.extend(beyond.drain(..length));
    to.write_all(&first).await.map_err(Unsent::Destination)?;
    drop(first);
    if body.is_complete() {
        return Ok(Sent { beyond, program_ended: false });
    }
    let mut piece = vec![0; PIECE];
    while !body.is_complete() {
        let read = from.read(&mut piece).await.map_err(Unsent::Program)?;
        if read == 0 {
            return Ok(Sent { beyond, program_ended: true });
        }
        let got = piece.get(..read).unwrap_or_default();
        let (ours, rest) = got.split_at(body.take(got));
        to.write_all(ours).await.map_err(Unsent::Destination)?;
        beyond.extend_from_slice(rest);
    }
    Ok(Sent { beyond, program_ended: false })
}

/// Completes when the program closes its direction. What it sends until then is kept, up to `most` bytes; beyond those it is
/// left to wait.
async fn until_end(from: &mut (impl AsyncRead + Unpin), kept: &mut Vec<u8>, most: usize) -> io::Result<()> {
    while kept.len() < most {
        if from.read_buf(kept).await? == 0 {
            return Ok(());
        }
    }
    std::future::pending().await
}

/// What the program got, and the way to it.
struct Received<W> {
    to_program: W,
    what: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// All that the destination sent until it closed its direction.
    Whole,
    /// The switch to another protocol.
    Upgrade,
}

impl<W: AsyncWrite + Unpin> Received<W> {
    async fn pass_on_end(mut self) -> io::Result<Self> {
        if self.what == Answer::Whole {
            self.to_program.shutdown().await?;
        }
        Ok(self)
    }

    fn ended(self, beyond: Vec<u8>) -> Ended {
        match self.what {
            Answer::Whole => Ended::Answered,
            Answer::Upgrade => Ended::Upgraded { beyond },
        }
    }
}

async fn receive<W: AsyncWrite + Unpin>(
    mut from: impl AsyncRead + Unpin,
    mut to: W,
    upgrade: bool,
    most: usize,
) -> io::Result<Received<W>> {
    let mut held = Vec::new();
    let mut scan = Scan::of_response();
    loop {
        match beginning(&mut scan, &held) {
            Beginning::Unknown if held.len() < most => {
                held.reserve(1024);
                match from.read_buf(&mut held).await {
                    Ok(0) => {
                        to.write_all(&held).await?;
                        return Ok(Received { to_program: to, what: Answer::Whole });
                    }
                    Ok(_) => {}
                    Err(error) => {
                        to.write_all(&held).await?;
                        return Err(error);
                    }
                }
            }
            Beginning::Head { status: 101, .. } if upgrade => {
                to.write_all(&held).await?;
                return Ok(Received { to_program: to, what: Answer::Upgrade });
            }
            Beginning::Head { length, status: 100..=199 } => {
                let rest = held.split_off(length);
                to.write_all(&held).await?;
                held = rest;
                scan = Scan::of_response();
            }
            Beginning::Head { length, .. } => {
                let rest = held.split_off(length);
                held = hop::response_head(&held);
                held.extend(rest);
                break;
            }
            Beginning::Unknown | Beginning::Other => break,
        }
    }
    to.write_all(&held).await?;
    drop(held);
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(Received { to_program: to, what: Answer::Whole });
        }
        to.write_all(piece.get(..read).unwrap_or_default()).await?;
    }
}
