//! A stream that counts what passes, waits while its channel is cut off, and breaks when it is stopped.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::channel::{Flow, Stopped, Turn};

/// The stream towards the destination: at the agent the connection to it, at the client the tunnel to the agent. Both sides
/// thus count the same bytes: all that go to the destination and all that come from it, and nothing of the login before.
///
/// What is read was counted; what is written was taken by the network stack, and counted. While the gate is closed nothing is
/// read or written (each direction may hold one buffer that was read before), so the peers slow down and wait by TCP's flow
/// control: a download survives a suspension, and goes on with the next byte.
pub(crate) struct Metered<S> {
    stream: S,
    flow: Arc<Flow>,
    reading: Option<Wait>,
    writing: Option<Wait>,
}

type Wait = Pin<Box<dyn Future<Output = Result<usize, Stopped>> + Send>>;

impl<S> Metered<S> {
    pub(crate) fn new(stream: S, flow: Flow) -> Self {
        Self { stream, flow: Arc::new(flow), reading: None, writing: None }
    }

    pub(crate) fn flow(&self) -> Arc<Flow> {
        Arc::clone(&self.flow)
    }

    /// The bare stream. Who moves bytes counts them from here on.
    pub(crate) fn into_parts(self) -> (S, Arc<Flow>) {
        (self.stream, self.flow)
    }
}

/// Waits until bytes may pass, and tells how many (at least one).
fn poll_turn(flow: &Arc<Flow>, wait: &mut Option<Wait>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    if let Some(waiting) = wait {
        let waited = ready!(waiting.as_mut().poll(cx));
        *wait = None;
        return Poll::Ready(Ok(waited?));
    }
    if let Turn::Pass { most } = flow.channel().turn() {
        return Poll::Ready(Ok(most));
    }
    let flow = Arc::clone(flow);
    let waiting = wait.insert(Box::pin(async move { flow.turn().await }));
    let waited = ready!(waiting.as_mut().poll(cx));
    *wait = None;
    Poll::Ready(Ok(waited?))
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let most = ready!(poll_turn(&this.flow, &mut this.reading, cx))?;
        let before = buf.filled().len();
        if most >= buf.remaining() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        } else {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
            let read = part.filled().len();
            buf.advance(read);
        }
        this.flow.count(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let most = ready!(poll_turn(&this.flow, &mut this.writing, cx))?;
        let buf = buf.get(..most).unwrap_or(buf);
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.flow.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let most = ready!(poll_turn(&this.flow, &mut this.writing, cx))?;
        let written = if bufs.iter().map(|buf| buf.len()).sum::<usize>() <= most {
            ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs))?
        } else {
            let first: &[u8] = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[], |buf| buf);
            let first = first.get(..most).unwrap_or(first);
            ready!(Pin::new(&mut this.stream).poll_write(cx, first))?
        };
        this.flow.count(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
