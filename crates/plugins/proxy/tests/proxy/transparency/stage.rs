//! One exchange between a program and an origin, directly or through both sides of the proxy, and what each of them saw of it.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::{Pair, program, soon};

/// How a program reaches its origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Direct,
    Socks5,
    Connect,
    AbsoluteForm,
}

pub(super) const PROXIED: [Way; 3] = [Way::Socks5, Way::Connect, Way::AbsoluteForm];

/// What a side does next.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Send(Vec<u8>),
    /// Reads until it has these bytes, beyond those that it waited for before.
    Until(Vec<u8>),
    /// Waits until the other side has received these bytes in all.
    UntilOtherHas(Vec<u8>),
    /// Reads until the other side ends.
    UntilEnd,
    /// Is slow.
    Pause,
    /// Closes its direction.
    Finish,
    /// Closes both directions at once, in order.
    Leave,
    /// Breaks the connection off.
    Reset,
}

pub(super) fn send(bytes: impl AsRef<[u8]>) -> Act {
    Act::Send(bytes.as_ref().to_vec())
}

pub(super) fn until(bytes: impl AsRef<[u8]>) -> Act {
    Act::Until(bytes.as_ref().to_vec())
}

pub(super) fn until_other_has(bytes: impl AsRef<[u8]>) -> Act {
    Act::UntilOtherHas(bytes.as_ref().to_vec())
}

/// What one row of the matrix is about. After its acts each side closes its direction (the program only at the other's end),
/// and reads until the other ends.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// As in a URL.
    pub(super) host: &'static str,
    /// Before the host, as in a URL.
    pub(super) user: &'static str,
    pub(super) method: &'static str,
    pub(super) target: &'static str,
    /// The version, and the fields after `Host`, each with its line end.
    pub(super) version: &'static str,
    pub(super) fields: String,
    /// After the request's head was sent.
    pub(super) program: Vec<Act>,
    /// After the request's head was received.
    pub(super) origin: Vec<Act>,
}

pub(super) fn row<const P: usize, const O: usize>(
    name: &'static str,
    request: &'static str,
    program: [Act; P],
    origin: [Act; O],
) -> Row {
    let (method, target) = request.split_once(' ').unwrap();
    Row {
        name,
        host: "127.0.0.1",
        user: "",
        method,
        target,
        version: "HTTP/1.1",
        fields: String::new(),
        program: program.into(),
        origin: origin.into(),
    }
}

impl Row {
    pub(super) fn fields(self, fields: &str) -> Self {
        Self { fields: fields.to_owned(), ..self }
    }

    pub(super) fn host(self, host: &'static str) -> Self {
        Self { host, ..self }
    }

    pub(super) fn user(self, user: &'static str) -> Self {
        Self { user, ..self }
    }

    pub(super) fn version(self, version: &'static str) -> Self {
        Self { version, ..self }
    }

    fn head(&self, way: Way, port: u16) -> Vec<u8> {
        let Self { host, user, method, target, version, fields, .. } = self;
        let authority =
            if way == Way::AbsoluteForm { format!("http://{user}{host}:{port}") } else { String::new() };
        // OPTIONS for the whole server has no path (RFC 9112 §3.2.4).
        let target = if way == Way::AbsoluteForm && *target == "*" { "" } else { target };
        format!("{method} {authority}{target} {version}\r\nHost: {host}:{port}\r\n{fields}\r\n").into_bytes()
    }
}

/// How a connection ended for one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    InOrder,
    Broken,
    /// By its own hand.
    Own,
}

/// What one side saw.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) bytes: Vec<u8>,
    pub(super) end: End,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.bytes[..self.bytes.len().min(600)];
        write!(f, "{} bytes, {:?}: \"{}\"", self.bytes.len(), self.end, shown.escape_ascii())
    }
}

/// What both sides saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Exchange {
    pub(super) program: Seen,
    pub(super) origin: Seen,
}

impl Exchange {
    /// Without the fields that concern one connection only (RFC 9110 §7.6.1), in which the absolute form may differ; and
    /// without the port, which each exchange has its own of.
    fn comparable(mut self, port: u16) -> Self {
        for seen in [&mut self.program, &mut self.origin] {
            let lines = seen.bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| {
                let line = line.to_ascii_lowercase();
                !line.starts_with(b"connection:") && !line.starts_with(b"keep-alive:")
            });
            seen.bytes = lines.collect::<Vec<_>>().concat();
        }
        let port = format!(":{port}\r\n");
        if let Some(at) = find(&self.origin.bytes, port.as_bytes()) {
            self.origin.bytes.splice(at..at + port.len(), *b":PORT\r\n");
        }
        self
    }
}

pub(super) fn find(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    if sought.is_empty() {
        return Some(0);
    }
    bytes.windows(sought.len()).position(|window| window == sought)
}

/// Plays a row. `None` if this machine lacks the row's kind of address.
pub(super) async fn play(row: &Row, way: Way, pair: &Pair) -> Option<Exchange> {
    let local = if row.host.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" };
    let listener = TcpListener::bind(local).await.ok()?;
    let port = listener.local_addr().unwrap().port();
    let what = format!("{}, {way:?}", row.name);
    soon(&what, async {
        let ((program_has, origin_sees), (origin_has, program_sees)) =
            (watch::channel(Vec::new()), watch::channel(Vec::new()));
        let origin = async {
            let (stream, _) = listener.accept().await.unwrap();
            let side = Side::new(stream, origin_has, origin_sees);
            side.play([until("\r\n\r\n")].iter().chain(&row.origin).chain(&[Act::Finish, Act::UntilEnd]))
                .await
        };
        let program = async {
            let stream = reach(row, way, pair, port).await;
            let side = Side::new(stream, program_has, program_sees);
            side.play([send(row.head(way, port))].iter().chain(&row.program).chain(&[Act::UntilEnd])).await
        };
        let (program, origin) = tokio::join!(program, origin);
        Some(Exchange { program, origin }.comparable(port))
    })
    .await
}

async fn reach(row: &Row, way: Way, pair: &Pair, port: u16) -> TcpStream {
    let bare = row.host.trim_matches(['[', ']']);
    match way {
        Way::Direct => TcpStream::connect((bare, port)).await.unwrap(),
        Way::Socks5 => program::socks(pair.local, None, bare, port).await.connected(),
        Way::Connect => program::connect(pair.local, None, row.host, port).await.connected(),
        Way::AbsoluteForm => TcpStream::connect(pair.local).await.unwrap(),
    }
}

struct Side {
    stream: TcpStream,
    seen: Seen,
    /// Up to where it waited for bytes.
    waited: usize,
    has: watch::Sender<Vec<u8>>,
    other_has: watch::Receiver<Vec<u8>>,
}

impl Side {
    fn new(stream: TcpStream, has: watch::Sender<Vec<u8>>, other_has: watch::Receiver<Vec<u8>>) -> Self {
        let seen = Seen { bytes: Vec::new(), end: End::InOrder };
        Self { stream, seen, waited: 0, has, other_has }
    }

    /// Plays until the acts or the connection end; then the stream is closed.
    async fn play(mut self, acts: impl Iterator<Item = &Act>) -> Seen {
        for act in acts {
            match act {
                Act::Send(bytes) => self.send(bytes).await,
                Act::Until(sought) => {
                    let mut from = self.waited;
                    self.waited = loop {
                        if let Some(at) = find(&self.seen.bytes[from..], sought) {
                            break from + at + sought.len();
                        }
                        from = from.max((self.seen.bytes.len() + 1).saturating_sub(sought.len()));
                        if !self.read().await {
                            break self.seen.bytes.len();
                        }
                    };
                }
                Act::UntilOtherHas(sought) => {
                    // The other side's end ends the wait, too.
                    let _ = self.other_has.wait_for(|has| find(has, sought).is_some()).await;
                }
                Act::UntilEnd => while self.read().await {},
                Act::Pause => tokio::time::sleep(Duration::from_millis(50)).await,
                Act::Finish => {
                    let _ = self.stream.shutdown().await; // the other side may have broken it off
                }
                Act::Leave => {
                    self.seen.end = End::Own;
                    break;
                }
                Act::Reset => {
                    self.stream.set_zero_linger().unwrap();
                    self.seen.end = End::Own;
                    break;
                }
            }
        }
        self.seen
    }

    async fn send(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).await.is_err() {
            self.seen.end = End::Broken;
        }
    }

    async fn read(&mut self) -> bool {
        match self.stream.read_buf(&mut self.seen.bytes).await {
            Ok(0) => false,
            Ok(read) => {
                let new = &self.seen.bytes[self.seen.bytes.len() - read..];
                self.has.send_modify(|has| has.extend_from_slice(new));
                true
            }
            Err(_) => {
                self.seen.end = End::Broken;
                false
            }
        }
    }
}
