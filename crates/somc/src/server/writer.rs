//! Writes answers, as many at once as there are.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

use crate::{
    Refusal,
    message::{self, Answer, RequestId},
    notices::Waiting,
};

/// Answers are gathered up to this many bytes before they are written.
const BATCH_BYTES: usize = 64 * 1024;
/// And up to this many answers.
const BATCH_LEN: usize = 256;

/// Something to send to the client.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// An answer; the permit is the request's place in flight, free when the answer is written.
    Answer { id: RequestId, answer: Result<Answer, Refusal>, permit: OwnedSemaphorePermit },
    /// The last word.
    Bye(Refusal),
}

/// Writes until the queue's senders are gone, and notices when there is nothing else to write. An error means that the client is gone or takes its answers too slowly.
pub(super) async fn write_all(
    mut io: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Outgoing>,
    notices: Arc<Waiting>,
    write_timeout: Duration,
) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut out = BytesMut::new();
    loop {
        let received = tokio::select! {
            biased;
            received = queue.recv_many(&mut batch, BATCH_LEN) => received,
            () = notices.wait() => {
                for notice in notices.take() {
                    if let Err(error) = message::put_notice(&mut out, &notice) {
                        tracing::error!(%error, channel = %notice.channel, "a notice does not fit its frame");
                    }
                }
                flush(&mut io, &mut out, write_timeout).await?;
                continue;
            }
        };
        if received == 0 {
            break;
        }
        let mut permits = Vec::with_capacity(batch.len());
        for outgoing in batch.drain(..) {
            permits.extend(encode(&mut out, outgoing));
            if out.len() >= BATCH_BYTES {
                flush(&mut io, &mut out, write_timeout).await?;
                permits.clear();
            }
        }
        flush(&mut io, &mut out, write_timeout).await?;
    }
    timeout(write_timeout, io.shutdown()).await?
}

fn encode(out: &mut BytesMut, outgoing: Outgoing) -> Option<OwnedSemaphorePermit> {
    let (id, answer, permit) = match outgoing {
        Outgoing::Answer { id, answer, permit } => (id, answer, permit),
        Outgoing::Bye(refusal) => {
            if let Err(error) = message::put_bye(out, &refusal) {
                tracing::error!(%error, code = refusal.code(), "a bye does not fit its frame");
            }
            return None;
        }
    };
    let put = match &answer {
        Ok(answer) => message::put_answer(out, id, answer),
        Err(refusal) => message::put_refusal(out, id, refusal),
    };
    if let Err(error) = put {
        tracing::error!(%error, id, "the service's answer does not fit its frame; answered with an internal error");
        // A refusal without details always fits.
        let _ = message::put_refusal(out, id, &Refusal::Internal);
    }
    Some(permit)
}

async fn flush(io: &mut (impl AsyncWrite + Unpin), out: &mut BytesMut, patience: Duration) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    timeout(patience, async {
        io.write_all(out).await?;
        io.flush().await
    })
    .await??;
    out.clear();
    Ok(())
}
