//! A server that counts every byte that it sends and receives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// Serves until it is dropped. HTTP/1.1, one request per connection:
/// - `GET /bytes/N`: N bytes;
/// - `POST /sink`: the number of bytes in the body;
/// - `GET /head`: the request's own head.
///
/// And what is no HTTP:
/// - `echo ...`: everything back, until the end;
/// - `sum ...`: after the end of what it receives, the number of bytes received, in ASCII;
/// - `push N ...`: N bytes, then the end; what it receives meanwhile is only counted.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    moved: Arc<Moved>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Moved {
    bytes: AtomicU64,
    open: AtomicUsize,
    changed: Notify,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let moved = Arc::new(Moved::default());
        let accepting = {
            let moved = Arc::clone(&moved);
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let moved = Arc::clone(&moved);
                    moved.open.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(async move {
                        let mut connection = Connection { stream, moved: Arc::clone(&moved) };
                        let _ = connection.serve().await; // connections break in some tests
                        drop(connection);
                        moved.open.fetch_sub(1, Ordering::SeqCst);
                        moved.changed.notify_waiters();
                    });
                }
            })
        };
        Self { address, moved, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Bytes sent and received up to now.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.bytes.load(Ordering::SeqCst)
    }

    /// Waits until every connection has ended, and returns what was sent and received in all.
    pub(crate) async fn ended(&self) -> u64 {
        super::soon("the ends of the origin's connections", async {
            loop {
                let changed = self.moved.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.moved.open.load(Ordering::SeqCst) == 0 {
                    return self.moved();
                }
                changed.await;
            }
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

struct Connection {
    stream: TcpStream,
    moved: Arc<Moved>,
}

impl Connection {
    async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.stream.read(buffer).await?;
        self.moved.bytes.fetch_add(read as u64, Ordering::SeqCst);
        Ok(read)
    }

    async fn write(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let written = self.stream.write(bytes).await?;
            self.moved.bytes.fetch_add(written as u64, Ordering::SeqCst);
            bytes = &bytes[written..];
        }
        Ok(())
    }

    async fn serve(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut head = Vec::new();
        let (line, rest) = loop {
            let read = self.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            head.extend_from_slice(&buffer[..read]);
            let end =
                if head.starts_with(b"GET") || head.starts_with(b"POST") { &b"\r\n\r\n"[..] } else { b"\n" };
            if let Some(at) = head.windows(end.len()).position(|window| window == end) {
                let rest = head.split_off(at + end.len());
                break (String::from_utf8_lossy(&head).into_owned(), rest);
            }
        };
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["echo", ..] => {
                self.write(&rest).await?;
                loop {
                    let read = self.read(&mut buffer).await?;
                    if read == 0 {
                        break;
                    }
                    self.write(&buffer[..read]).await?;
                }
            }
            ["sum", ..] => {
                let mut sum = rest.len();
                loop {
                    let read = self.read(&mut buffer).await?;
                    if read == 0 {
                        break;
                    }
                    sum += read;
                }
                self.write(sum.to_string().as_bytes()).await?;
            }
            ["push", count, ..] => self.push(count.parse().unwrap()).await?,
            ["GET", "/head", ..] => {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{line}",
                    line.len()
                );
                self.write(answer.as_bytes()).await?;
            }
            ["GET", path, ..] => {
                let count: u64 = path.strip_prefix("/bytes/").unwrap().parse().unwrap();
                self.write(
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {count}\r\n\r\n")
                        .as_bytes(),
                )
                .await?;
                self.push(count).await?;
            }
            ["POST", ..] => {
                let length = line.to_ascii_lowercase();
                let length =
                    length.split_once("content-length:").unwrap().1.split_ascii_whitespace().next().unwrap();
                let length: usize = length.parse().unwrap();
                let mut got = rest.len();
                while got < length {
                    got += self.read(&mut buffer).await?;
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{got}",
                    got.to_string().len()
                );
                self.write(answer.as_bytes()).await?;
            }
            _ => {}
        }
        self.stream.shutdown().await?;
        while self.read(&mut buffer).await? > 0 {}
        Ok(())
    }

    async fn push(&mut self, count: u64) -> std::io::Result<()> {
        let chunk = pattern(64 * 1024);
        let mut left = count;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            self.write(&chunk[..now]).await?;
            left -= now as u64;
        }
        Ok(())
    }
}

/// Bytes that tell a lost or repeated piece: no two places near each other are alike.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}
