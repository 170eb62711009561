//! How a connection ends after the last bytes for its program.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long, and for how many bytes, a program may go on sending before its connection is closed nevertheless.
const PATIENCE: Duration = Duration::from_secs(2);
const MOST: u64 = 256 * 1024;

/// Sends `last` and closes the connection so that it arrives. Closing while a program still sends resets the connection, and a
/// reset may overtake an answer: so what it sends is read, and thrown away, until it closes its side too.
pub(super) async fn farewell(mut stream: TcpStream, last: &[u8]) {
    let parting = async {
        stream.write_all(last).await?;
        let _ = stream.shutdown().await; // fails if it was done before
        tokio::io::copy(&mut stream.take(MOST), &mut tokio::io::sink()).await
    };
    // However it ends, the connection is over.
    let _ = tokio::time::timeout(PATIENCE, parting).await;
}
