//! Records: the bytes of a stream, encrypted piece by piece.
//!
//! A record is a length (`u16`, big endian) and as many bytes of ciphertext. Each has the next number of its direction as its
//! nonce, so one that is left out, repeated or moved does not open. Where a record ends says nothing about where a frame does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::TAG;
use super::handshake::Keys;

/// Bytes of a record's length.
const HEADER: usize = 2;
/// The most that one record holds.
const MAX_PLAINTEXT: usize = 16 * 1024;
/// How much is read at once, and so how much a stranger can make us allocate ahead of what it really sent.
const READ_CHUNK: usize = 8 * 1024;
/// Records of one direction. A session that reaches it ends; a day is over long before.
const MAX_RECORDS: u64 = 1 << 48;

/// Reads what the other side of a session wrote. Bytes that it did not write, in this order, are never given.
pub(crate) struct SessionReader<R> {
    io: R,
    keys: Keys,
    number: u64,
    /// Received, not decrypted yet.
    sealed: BytesMut,
    /// Decrypted, not taken yet.
    opened: BytesMut,
    /// A record did not open: nothing behind it is read.
    is_broken: bool,
}

impl<R> SessionReader<R> {
    /// Reads `io`, of which `sealed` was read already.
    pub(crate) fn new(io: R, sealed: BytesMut, keys: Keys) -> Self {
        Self { io, keys, number: 0, sealed, opened: BytesMut::new(), is_broken: false }
    }

    /// Opens the record that is complete in the buffer, if one is.
    fn open(&mut self) -> io::Result<bool> {
        let Some((header, body)) = self.sealed.split_first_chunk::<HEADER>() else { return Ok(false) };
        let length = usize::from(u16::from_be_bytes(*header));
        if !(TAG + 1..=TAG + MAX_PLAINTEXT).contains(&length) {
            return Err(broken("a record of a length that none has"));
        }
        let Some(body) = body.get(..length) else { return Ok(false) };
        if self.number >= MAX_RECORDS {
            return Err(broken("too many records"));
        }
        self.opened.resize(length - TAG, 0);
        if self.keys.read_message(self.number, body, &mut self.opened).is_err() {
            self.opened.clear();
            return Err(broken("a record that the other side did not write, or not here"));
        }
        self.number += 1;
        self.sealed.advance(HEADER + length);
        Ok(true)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for SessionReader<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.opened.is_empty() {
                let length = this.opened.len().min(out.remaining());
                out.put_slice(&this.opened[..length]);
                this.opened.advance(length);
                return Poll::Ready(Ok(()));
            }
            if this.is_broken {
                return Poll::Ready(Err(broken("a record before")));
            }
            match this.open() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    this.is_broken = true;
                    return Poll::Ready(Err(error));
                }
            }
            this.sealed.reserve(READ_CHUNK);
            let read = {
                let mut io = Pin::new(&mut this.io);
                let mut buffer = bytes::BufMut::limit(&mut this.sealed, READ_CHUNK);
                ready!(tokio_util::io::poll_read_buf(io.as_mut(), cx, &mut buffer))?
            };
            if read == 0 {
                return Poll::Ready(if this.sealed.is_empty() {
                    Ok(())
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                });
            }
        }
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the session is broken: {what}"))
}

/// Writes to the other side of a session.
pub(crate) struct SessionWriter<W> {
    io: W,
    keys: Keys,
    number: u64,
    /// Encrypted, not written yet.
    sealed: BytesMut,
}

impl<W> SessionWriter<W> {
    pub(crate) fn new(io: W, keys: Keys) -> Self {
        Self { io, keys, number: 0, sealed: BytesMut::new() }
    }

    fn seal(&mut self, plaintext: &[u8]) -> io::Result<()> {
        if self.number >= MAX_RECORDS {
            return Err(broken("too many records"));
        }
        let length = plaintext.len() + TAG;
        let start = self.sealed.len();
        self.sealed.resize(start + HEADER + length, 0);
        let (header, body) = self.sealed[start..].split_at_mut(HEADER);
        // At most MAX_PLAINTEXT and the tag, which fits.
        header.copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        self.keys.write_message(self.number, plaintext, body).map_err(io::Error::other)?;
        self.number += 1;
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin> SessionWriter<W> {
    /// Writes what is encrypted.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.sealed.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.sealed))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sealed.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for SessionWriter<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // One record at most waits, so nobody who does not read makes us keep more.
        ready!(this.poll_drain(cx))?;
        let taken = &bytes[..bytes.len().min(MAX_PLAINTEXT)];
        this.seal(taken)?;
        // What cannot be written yet is written with what follows, or by the flush.
        if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::handshake::tests::established;
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// What a client writes, record by record, and the server's keys.
    fn records(pieces: &[Vec<u8>]) -> (Vec<Vec<u8>>, Keys) {
        let (client, server) = established();
        let mut writer = SessionWriter::new(Vec::new(), client.keys);
        let records = pieces.iter().map(|piece| {
            writer.io.clear();
            block_on(async {
                writer.write_all(piece).await?;
                writer.flush().await
            })
            .unwrap();
            writer.io.clone()
        });
        (records.collect(), server.keys)
    }

    /// What a server reads of these bytes, and how it ends.
    fn read(bytes: &[u8], keys: &Keys) -> (Vec<u8>, io::Result<()>) {
        let mut reader = SessionReader::new(bytes, BytesMut::new(), Keys::clone(keys));
        block_on(async {
            let (mut all, mut buffer) = (Vec::new(), [0; 100]);
            loop {
                match reader.read(&mut buffer).await {
                    Ok(0) => return (all, Ok(())),
                    Ok(length) => all.extend_from_slice(&buffer[..length]),
                    Err(error) => {
                        assert!(reader.read(&mut buffer).await.is_err(), "a broken session stays so");
                        return (all, Err(error));
                    }
                }
            }
        })
    }

    fn some_pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40_000), 1..4),
            room in 1_usize..5_000,
        ) {
            block_on(async {
                let (client, server) = established();
                let (near, far) = tokio::io::duplex(room);
                let mut writer = SessionWriter::new(near, client.keys);
                let expected = pieces.concat();
                let writing = tokio::spawn(async move {
                    for piece in pieces {
                        writer.write_all(&piece).await.unwrap();
                        writer.flush().await.unwrap();
                    }
                    writer.shutdown().await.unwrap();
                });
                let mut all = Vec::new();
                SessionReader::new(far, BytesMut::new(), server.keys).read_to_end(&mut all).await.unwrap();
                writing.await.unwrap();
                assert_eq!(all, expected);
            });
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_ends_the_stream_before_it(
            pieces in some_pieces(), place in any::<prop::sample::Index>(), by in 1..=u8::MAX,
        ) {
            let (records, keys) = records(&pieces);
            let mut bytes = records.concat();
            let place = place.index(bytes.len());
            bytes[place] ^= by;
            let (all, end) = read(&bytes, &keys);
            prop_assert!(end.is_err());
            let whole = records.iter().scan(0, |end, record| { *end += record.len(); Some(*end) });
            let before = whole.take_while(|end| *end <= place).count();
            prop_assert_eq!(all, pieces[..before].concat());
        }

        #[test]
        fn records_that_are_left_out_repeated_or_moved_end_the_stream(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 2..8),
            one in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), how in 0..3_u8,
        ) {
            let (mut records, keys) = records(&pieces);
            let (one, other) = (one.index(records.len()), other.index(records.len()));
            match how {
                0 => drop(records.remove(one)),
                1 => records.insert(other, records[one].clone()),
                _ => records.swap(one, other),
            }
            let (all, end) = read(&records.concat(), &keys);
            prop_assert!(pieces.concat().starts_with(&all), "only what was sent, in this order");
            let is_untouched = how == 2 && one == other;
            let is_cut = how == 0 && one == pieces.len() - 1;
            prop_assert_eq!(end.is_ok(), is_untouched || is_cut);
        }

        #[test]
        fn a_stream_that_is_cut_gives_the_whole_records_before(
            pieces in some_pieces(), place in any::<prop::sample::Index>(),
        ) {
            let (records, keys) = records(&pieces);
            let bytes = records.concat();
            let place = place.index(bytes.len());
            let (all, end) = read(&bytes[..place], &keys);
            let mut whole = 0;
            let count = records.iter().take_while(|record| { whole += record.len(); whole <= place }).count();
            prop_assert_eq!(all, pieces[..count].concat());
            let is_between_two = records[..count].concat().len() == place;
            prop_assert_eq!(end.is_ok(), is_between_two);
        }

        #[test]
        fn any_bytes_end_a_session(bytes in prop::collection::vec(any::<u8>(), 1..400)) {
            let (_, server) = established();
            let (all, end) = read(&bytes, &server.keys);
            prop_assert!(all.is_empty() && end.is_err());
        }
    }

    #[test]
    fn what_one_side_wrote_is_not_its_own_to_read() {
        let (client, _) = established();
        let keys = Keys::clone(&client.keys);
        let mut writer = SessionWriter::new(Vec::new(), client.keys);
        block_on(writer.write_all(b"to the server")).unwrap();
        let (all, end) = read(&writer.io, &keys);
        assert!(all.is_empty() && end.is_err());
    }

    #[test]
    fn a_long_text_goes_in_records_of_bounded_length() {
        let (records, keys) = records(&[vec![7; 3 * MAX_PLAINTEXT + 1]]);
        let lengths: Vec<_> = {
            let (mut left, mut lengths) = (&*records[0], Vec::new());
            while let Some((header, rest)) = left.split_first_chunk::<HEADER>() {
                let length = usize::from(u16::from_be_bytes(*header));
                lengths.push(length - TAG);
                left = &rest[length..];
            }
            lengths
        };
        assert_eq!(lengths, [MAX_PLAINTEXT, MAX_PLAINTEXT, MAX_PLAINTEXT, 1]);
        assert_eq!(read(&records[0], &keys).0.len(), 3 * MAX_PLAINTEXT + 1);
    }

    #[test]
    fn a_length_allocates_nothing_ahead_of_its_bytes() {
        let (_, server) = established();
        let (mut near, far) = tokio::io::duplex(64);
        let mut reader = SessionReader::new(far, BytesMut::new(), server.keys);
        block_on(async {
            near.write_all(&[0x40, 0x10, 1]).await.unwrap();
            drop(near);
            let error = reader.read(&mut [0; 10]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        });
        assert!(reader.sealed.capacity() <= 2 * READ_CHUNK);
    }
}
