use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::TestkitError;

const CHUNK: u64 = 64 * 1024;

/// Deterministic bytes that look random: the byte at an offset depends on nothing but the offset, so that anything
/// lost, repeated or moved is found.
#[derive(Debug, Clone, Copy)]
pub struct Pattern;

impl Pattern {
    /// The bytes from `offset` on, `len` of them.
    pub fn bytes(offset: u64, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 16);
        let skip = usize::try_from(offset % 8).unwrap_or_default();
        let mut word = offset / 8;
        while out.len() < len + skip {
            out.extend_from_slice(&mix(word).to_le_bytes());
            word += 1;
        }
        out.truncate(len + skip);
        out.drain(..skip);
        out
    }
}

/// SplitMix64's output function.
const fn mix(word: u64) -> u64 {
    let z = word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Checks a download against the [`Pattern`] as it comes.
#[derive(Debug, Default)]
pub struct PatternCheck {
    offset: u64,
}

/// A download differs from the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the download differs from what was served within {len} bytes after offset {offset}")]
pub struct PatternMismatch {
    /// Offset of the piece with the difference.
    pub offset: u64,
    /// Length of the piece.
    pub len: usize,
}

impl PatternCheck {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) -> Result<(), PatternMismatch> {
        if Pattern::bytes(self.offset, piece.len()) != piece {
            return Err(PatternMismatch { offset: self.offset, len: piece.len() });
        }
        self.offset += piece.len() as u64;
        Ok(())
    }

    /// Bytes taken so far.
    pub const fn len(&self) -> u64 {
        self.offset
    }

    /// Whether nothing was taken yet.
    pub const fn is_empty(&self) -> bool {
        self.offset == 0
    }
}

/// A web server on 127.0.0.1 that serves the [`Pattern`] with a content length and swallows uploads.
///
/// `GET /file` gives the size it was started with, `GET /bytes/{n}` any other; `POST /upload` answers with the number
/// of bytes it took. Stopped when dropped.
#[derive(Debug)]
pub struct FileServer {
    address: SocketAddr,
    size: u64,
    task: JoinHandle<std::io::Result<()>>,
}

impl FileServer {
    /// Serves a file of `size` bytes on a free port.
    pub async fn start(size: u64) -> Result<Self, TestkitError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(TestkitError::Listen)?;
        let address = listener.local_addr().map_err(TestkitError::Listen)?;
        let app = Router::new()
            .route("/file", get(async |State(size): State<u64>| serve(size)))
            .route("/bytes/{n}", get(async |Path(n): Path<u64>| serve(n)))
            .route("/upload", post(upload))
            .with_state(size);
        let task = tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, size, task })
    }

    /// As [`Self::start`], in MiB.
    pub async fn start_mib(mib: u64) -> Result<Self, TestkitError> {
        Self::start(mib * 1024 * 1024).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file's URL.
    pub fn url(&self) -> String {
        format!("http://{}/file", self.address)
    }

    /// The URL of `n` bytes.
    pub fn bytes_url(&self, n: u64) -> String {
        format!("http://{}/bytes/{n}", self.address)
    }

    /// Where to POST to.
    pub fn upload_url(&self) -> String {
        format!("http://{}/upload", self.address)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn serve(size: u64) -> Response {
    let chunks = stream::unfold(0_u64, move |offset| async move {
        let len = usize::try_from(CHUNK.min(size - offset)).unwrap_or_default();
        let chunk = Bytes::from(Pattern::bytes(offset, len));
        (len > 0).then(|| (Ok::<_, Infallible>(chunk), offset + len as u64))
    });
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    (headers, Body::from_stream(chunks)).into_response()
}

async fn upload(body: Body) -> String {
    let mut taken = 0;
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        taken += piece.len();
    }
    taken.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_the_same_however_it_is_cut() {
        let whole = Pattern::bytes(0, 1000);
        for (offset, len) in [(0, 8), (1, 7), (3, 100), (8, 8), (15, 985), (999, 1), (500, 0)] {
            assert_eq!(Pattern::bytes(offset as u64, len), whole[offset..offset + len]);
        }
    }

    #[test]
    fn a_moved_or_changed_byte_is_found() {
        let whole = Pattern::bytes(0, 100);
        let mut check = PatternCheck::default();
        check.update(&whole[..33]).unwrap();
        assert_eq!(check.update(&whole[34..]), Err(PatternMismatch { offset: 33, len: 66 }));
        let mut changed = whole[33..].to_vec();
        changed[5] ^= 1;
        assert!(check.update(&changed).is_err());
        check.update(&whole[33..]).unwrap();
        assert_eq!(check.len(), 100);
    }
}
