//! Frames: a length (`u32`, big endian) and that many bytes.

use std::{io, time::Duration};

use bytes::{Buf as _, BufMut as _, BytesMut};
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::{Instant, timeout_at},
};

/// Bytes of the length in front of a frame.
pub(crate) const HEADER: usize = 4;
/// How much is read at once, and so how much a stranger can make us allocate ahead of what it really sent.
const READ_CHUNK: usize = 8 * 1024;

/// Why there is no next frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The announced length is above the limit. Nothing was allocated for it.
    #[error("a frame of {length} bytes is above the limit of {limit}")]
    TooLarge { length: usize, limit: usize },
    /// A frame has begun and does not end.
    #[error("a frame was not complete within {after:?}")]
    TooSlow { after: Duration },
    /// Nothing has come.
    #[error("nothing was received in time")]
    Idle,
    /// The stream ended inside a frame.
    #[error("the connection ended inside a frame")]
    Truncated,
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The moment `after` from now. A time too long to add, from a configuration that means "never", is decades.
pub(crate) fn deadline(after: Duration) -> Instant {
    const DECADES: Duration = Duration::from_hours(30 * 365 * 24);
    Instant::now() + after.min(DECADES)
}

/// How long to wait for a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until its first byte; `None` waits for ever.
    pub(crate) idle: Option<Duration>,
    /// From its first byte to its last.
    pub(crate) frame: Duration,
}

/// Cuts a stream of bytes into frames.
pub(crate) struct FrameReader<R> {
    io: R,
    buffer: BytesMut,
    /// When the incomplete frame in the buffer must be complete.
    due: Option<Instant>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(io: R) -> Self {
        Self { io, buffer: BytesMut::new(), due: None }
    }

    /// The body of the next frame, or `None` when the stream ends between two. Safe to drop: what was read stays.
    pub(crate) async fn next(
        &mut self,
        limit: usize,
        patience: Patience,
    ) -> Result<Option<BytesMut>, FrameError> {
        let idle = patience.idle.map(deadline);
        loop {
            if let Some(frame) = self.take(limit)? {
                return Ok(Some(frame));
            }
            let deadline = if self.buffer.is_empty() {
                idle
            } else {
                Some(*self.due.get_or_insert_with(|| deadline(patience.frame)))
            };
            self.buffer.reserve(READ_CHUNK);
            let read = self.io.read_buf(&mut self.buffer);
            let count = match deadline {
                Some(deadline) => timeout_at(deadline, read).await.map_err(|_| match self.due {
                    Some(_) => FrameError::TooSlow { after: patience.frame },
                    None => FrameError::Idle,
                })??,
                None => read.await?,
            };
            if count == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::Truncated) };
            }
        }
    }

    /// The next `N` bytes, which stay to be read again; `None` when the stream ends before the first of them.
    pub(crate) async fn peek<const N: usize>(&mut self) -> Result<Option<[u8; N]>, FrameError> {
        Ok(if self.fill(N).await? { self.buffer.first_chunk().copied() } else { None })
    }

    /// The next `length` bytes. The caller bounds the length, and the time.
    pub(crate) async fn exactly(&mut self, length: usize) -> Result<BytesMut, FrameError> {
        if self.fill(length).await? { Ok(self.buffer.split_to(length)) } else { Err(FrameError::Truncated) }
    }

    /// Reads until `length` bytes are in the buffer; `false` when the stream ends before the first.
    async fn fill(&mut self, length: usize) -> Result<bool, FrameError> {
        while self.buffer.len() < length {
            self.buffer.reserve(READ_CHUNK);
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(false) } else { Err(FrameError::Truncated) };
            }
        }
        Ok(true)
    }

    /// The stream, and what was read of it and not taken.
    pub(crate) fn into_parts(self) -> (R, BytesMut) {
        (self.io, self.buffer)
    }

    /// A frame that is complete in the buffer.
    fn take(&mut self, limit: usize) -> Result<Option<BytesMut>, FrameError> {
        let Some((header, body)) = self.buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if length > limit {
            return Err(FrameError::TooLarge { length, limit });
        }
        if body.len() < length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        self.due = None;
        Ok(Some(self.buffer.split_to(length)))
    }

    /// Throws away what still comes, at most `bytes` of it and until `deadline`: closing a socket with unread input
    /// resets it, and the reset can overtake the last words that we sent.
    pub(crate) async fn linger(mut self, bytes: usize, deadline: Instant) {
        let mut left = bytes;
        while left > 0 {
            self.buffer.clear();
            self.buffer.reserve(READ_CHUNK);
            match timeout_at(deadline, self.io.read_buf(&mut self.buffer)).await {
                Ok(Ok(count)) if count > 0 => left = left.saturating_sub(count),
                _ => return,
            }
        }
    }
}

/// A message that does not fit its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes is above the limit of {limit}")]
pub(crate) struct Oversized {
    pub(crate) length: usize,
    pub(crate) limit: usize,
}

/// Appends `message` as one frame. When it is above `limit`, `out` stays as it was.
pub(crate) fn put(out: &mut BytesMut, message: &impl Serialize, limit: usize) -> Result<(), Oversized> {
    let start = out.len();
    out.put_u32(0);
    let written = serde_json::to_writer((&mut *out).writer(), message);
    // Our messages are structs of strings and numbers, which always encode; were one not to, its length says so.
    let length = if written.is_ok() { out.len() - start - HEADER } else { usize::MAX };
    match u32::try_from(length) {
        Ok(header) if length <= limit => {
            out[start..start + HEADER].copy_from_slice(&header.to_be_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(Oversized { length, limit })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    const PATIENCE: Patience =
        Patience { idle: Some(Duration::from_mins(1)), frame: Duration::from_secs(10) };

    fn frame(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap();
        [&length.to_be_bytes(), body].concat()
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(future)
    }

    proptest! {
        #[test]
        fn frames_survive_any_fragmentation(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
            cut in 1_usize..40,
        ) {
            block_on(async {
                let (mut sender, receiver) = tokio::io::duplex(16);
                let bytes: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
                let writer = tokio::spawn(async move {
                    for piece in bytes.chunks(cut) {
                        sender.write_all(piece).await.unwrap();
                        sender.flush().await.unwrap();
                    }
                });
                let mut reader = FrameReader::new(receiver);
                for body in &bodies {
                    assert_eq!(reader.next(300, PATIENCE).await.unwrap().unwrap(), body);
                }
                assert!(reader.next(300, PATIENCE).await.unwrap().is_none());
                writer.await.unwrap();
            });
        }

        #[test]
        fn arbitrary_bytes_never_give_more_than_the_limit(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            block_on(async {
                let mut reader = FrameReader::new(bytes.as_slice());
                while let Ok(Some(frame)) = reader.next(64, PATIENCE).await {
                    assert!(frame.len() <= 64);
                }
            });
        }
    }

    #[test]
    fn the_length_is_checked_before_anything_is_allocated_for_it() {
        block_on(async {
            let bytes = [&u32::MAX.to_be_bytes()[..], b"x"].concat();
            let mut reader = FrameReader::new(bytes.as_slice());
            let error = reader.next(100, PATIENCE).await.unwrap_err();
            assert!(matches!(error, FrameError::TooLarge { length: 0xffff_ffff, limit: 100 }));
            assert!(reader.buffer.capacity() <= 2 * READ_CHUNK);

            // A length within the limit is not allocated ahead of the bytes either.
            let bytes = [&1_000_000_u32.to_be_bytes()[..], b"x"].concat();
            let mut reader = FrameReader::new(bytes.as_slice());
            assert!(matches!(reader.next(1_000_000, PATIENCE).await.unwrap_err(), FrameError::Truncated));
            assert!(reader.buffer.capacity() <= 2 * READ_CHUNK);
        });
    }

    #[test]
    fn a_frame_that_drips_in_is_cut_off_although_bytes_keep_coming() {
        block_on(async {
            let (mut sender, receiver) = tokio::io::duplex(64);
            let mut reader = FrameReader::new(receiver);
            let start = Instant::now();
            let drip = tokio::spawn(async move {
                let frame = frame(&[7; 60]);
                for byte in frame {
                    if sender.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            let error = reader.next(100, PATIENCE).await.unwrap_err();
            assert!(matches!(error, FrameError::TooSlow { .. }), "{error}");
            assert_eq!(start.elapsed(), PATIENCE.frame);
            drip.abort();
        });
    }

    #[test]
    fn silence_is_told_from_slowness() {
        block_on(async {
            let (_sender, receiver) = tokio::io::duplex(64);
            let start = Instant::now();
            let error = FrameReader::new(receiver).next(100, PATIENCE).await.unwrap_err();
            assert!(matches!(error, FrameError::Idle));
            assert_eq!(start.elapsed(), PATIENCE.idle.unwrap());
        });
    }

    #[test]
    fn an_oversized_message_leaves_the_buffer_untouched() {
        let mut out = BytesMut::from(&b"before"[..]);
        assert_eq!(put(&mut out, &"four", 5), Err(Oversized { length: 6, limit: 5 }));
        assert_eq!(out, b"before"[..]);
        put(&mut out, &"four", 6).unwrap();
        assert_eq!(out, b"before\0\0\0\x06\"four\""[..]);
    }
}
