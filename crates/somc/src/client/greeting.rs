//! How a connection begins: in clear, or with a session in which the agent proves its key.

use std::time::Duration;

use bytes::BytesMut;
use tokio::{io::AsyncWriteExt as _, time::Instant};

use super::end_of;
use crate::{
    BoxStream, ClientError, Expected, Refusal, SessionId, VersionRange,
    frame::{FrameError, FrameReader, Patience, deadline},
    message::{self, MAX_REFUSAL, ServerFrame, ServerHello, VERSIONS},
    session::{self, ClientStart, Initiator, MAX_ANSWER, SessionReader, SessionWriter},
    transport::{Reading, Writing, split},
};

/// How long before the key of a session expires another one is begun, or a tenth of its time.
const RENEWED: Duration = Duration::from_mins(5);

/// A connection on which both sides have agreed how to talk.
pub(super) struct Greeting {
    pub(super) reader: FrameReader<Reading>,
    pub(super) writer: Writing,
    pub(super) hello: ServerHello,
    pub(super) session: Option<Session>,
}

/// A session in which the agent has proved its key.
#[derive(Clone, Copy)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// When the key expires.
    pub(super) expires: Instant,
    /// From when on another session is begun in its place.
    pub(super) renewed: Instant,
}

impl Session {
    fn new(id: SessionId, lasts: Duration) -> Self {
        let (expires, renewed) = (deadline(lasts), deadline(lasts.saturating_sub(RENEWED.min(lasts / 10))));
        Self { id, expires, renewed }
    }
}

/// Agrees on a version in clear.
pub(super) async fn in_clear(stream: BoxStream, frame_timeout: Duration) -> Result<Greeting, ClientError> {
    let mut hello = BytesMut::new();
    message::put_client_hello(&mut hello, VERSIONS)
        .map_err(|error| ClientError::protocol(error.to_string()))?;
    let (mut reader, writer, sent) = send(stream, &hello).await;
    let hello = match reply(&mut reader, sent, frame_timeout).await? {
        ServerFrame::Hello(hello) => hello,
        ServerFrame::Bye(Refusal::UnsupportedVersion { server, .. }) => {
            return Err(ClientError::Version { ours: VERSIONS, theirs: server });
        }
        ServerFrame::Bye(refusal) => return Err(ClientError::Bye(refusal)),
        ServerFrame::Answer { .. } | ServerFrame::Notice(_) => {
            return Err(ClientError::protocol("it answered before any request"));
        }
    };
    if !VERSIONS.contains(hello.version) {
        return Err(not_offered(hello.version));
    }
    Ok(Greeting { reader, writer, hello, session: None })
}

/// Begins a session with the expected agent, in one of these versions.
pub(super) async fn in_session(
    stream: BoxStream,
    expected: &Expected,
    versions: VersionRange,
    frame_timeout: Duration,
) -> Result<Greeting, ClientError> {
    let failed = |error: session::SessionError| ClientError::handshake(error.to_string());
    let start = ClientStart { versions, agent: expected.agent };
    let (first, initiator) = Initiator::start(start).map_err(failed)?;
    let (mut reader, writer, sent) = send(stream, &first).await;
    let closed = || match &sent {
        Err(error) => ClientError::lost(error),
        Ok(()) => ClientError::Lost { reason: "it was closed before the hello".into() },
    };
    // The length of an answer is never zero, and that of a refusal, as of all frames, begins so.
    let length = match reader.peek::<2>().await {
        Ok(Some([0, 0])) => {
            return Err(match reply(&mut reader, sent, frame_timeout).await? {
                ServerFrame::Bye(refusal) => ClientError::Unauthenticated { refusal },
                _ => ClientError::handshake("it talked before the session had begun"),
            });
        }
        Ok(Some(length)) => usize::from(u16::from_be_bytes(length)),
        Ok(None) | Err(FrameError::Io(_)) => return Err(closed()),
        Err(error) => return Err(ClientError::handshake(error.to_string())),
    };
    if length > MAX_ANSWER {
        return Err(ClientError::handshake(format!("its handshake of {length} bytes is above {MAX_ANSWER}")));
    }
    let answer = async {
        reader.exactly(2).await?;
        reader.exactly(length).await
    };
    let answer = tokio::time::timeout(frame_timeout, answer)
        .await
        .unwrap_or(Err(FrameError::TooSlow { after: frame_timeout }))
        .map_err(|error| ClientError::handshake(error.to_string()))?;
    let (established, key, payload) = initiator.finish(&answer).map_err(failed)?;
    let hello = message::decode_session_hello(&payload).map_err(ClientError::handshake)?;
    // The agent signs which versions it speaks, so nobody can make it look older.
    let version = hello.server.version;
    if versions.highest_common(hello.key.versions) != Some(version) || !session::VERSIONS.contains(version) {
        return Err(ClientError::handshake(format!(
            "it chose version {version}, which is not the highest common one"
        )));
    }
    let left = expected.recognition.check(&key, &hello.key).await.map_err(ClientError::Binding)?;
    let (io, received) = reader.into_parts();
    let reader: Reading = Box::new(SessionReader::new(io, received, established.keys.clone()));
    Ok(Greeting {
        reader: FrameReader::new(reader),
        writer: Box::new(SessionWriter::new(writer, established.keys)),
        hello: hello.server,
        session: Some(Session::new(established.id, left)),
    })
}

/// Sends the first words. A server that turns us away may close before it has read them; its reason is still there to read.
async fn send(stream: BoxStream, first: &[u8]) -> (FrameReader<Reading>, Writing, std::io::Result<()>) {
    let (reader, mut writer) = split(stream);
    let sent = async {
        writer.write_all(first).await?;
        writer.flush().await
    };
    let sent = sent.await;
    (reader, writer, sent)
}

/// The server's first frame.
async fn reply(
    reader: &mut FrameReader<Reading>,
    sent: std::io::Result<()>,
    frame_timeout: Duration,
) -> Result<ServerFrame, ClientError> {
    let patience = Patience { idle: None, frame: frame_timeout };
    match reader.next(MAX_REFUSAL, patience).await {
        Ok(Some(body)) => message::decode_server_frame(&body).map_err(ClientError::protocol),
        Ok(None) => Err(ClientError::Lost { reason: "it was closed before the hello".into() }),
        Err(error) => Err(match sent {
            Err(error) => ClientError::lost(&error),
            Ok(()) => end_of(error),
        }),
    }
}

fn not_offered(version: u16) -> ClientError {
    ClientError::protocol(format!("it chose version {version}, which was not offered"))
}
