//! How a connection begins: in clear, or with a session.

use bytes::BytesMut;
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, timeout_at},
};

use super::{
    FAREWELL, Shared,
    connection::{End, end_of},
    peers::Ticket,
};
use crate::{
    CallerSession, Refusal,
    frame::{FrameReader, Patience, deadline},
    message::{self, MAX_HELLO, ServerHello, SessionHello, VERSIONS},
    session::{self, Established, HEADER, MAGIC, SessionReader, SessionWriter, Start},
    transport::{Reading, Writing},
};

/// A session that has begun.
pub(super) struct Session {
    established: Established,
    /// What the service is informed of.
    caller: CallerSession,
    version: u16,
    /// When its key expires.
    expires: Instant,
}

impl Session {
    pub(super) const fn caller(&self) -> CallerSession {
        self.caller
    }

    pub(super) const fn version(&self) -> u16 {
        self.version
    }

    /// The two directions of the session over those of the connection.
    pub(super) fn wrap(
        self,
        reader: FrameReader<Reading>,
        writer: Writing,
    ) -> (FrameReader<Reading>, Writing) {
        let keys = self.established.keys;
        let (reader, received) = reader.into_parts();
        let reader = SessionReader::new(reader, received, keys.clone());
        (FrameReader::new(Box::new(reader)), Box::new(SessionWriter::new(writer, keys)))
    }
}

/// Completes when the key of the session expires; never without one.
pub(super) fn over(session: Option<&Session>) -> impl Future<Output = ()> + use<> {
    let expires = session.map(|session| session.expires);
    async move {
        match expires {
            Some(expires) => tokio::time::sleep_until(expires).await,
            None => std::future::pending().await,
        }
    }
}

/// Agrees on a version, and on a session where the client begins one.
pub(super) async fn agree(
    shared: &Shared,
    ticket: &Ticket,
    reader: &mut FrameReader<Reading>,
    writer: &mut Writing,
) -> Result<Option<Session>, End> {
    let due = deadline(shared.limits.handshake_timeout);
    let read = async {
        match reader.peek().await {
            Ok(Some(first)) if first == MAGIC => begin(shared, ticket, reader).await,
            Ok(Some(_)) => greet(shared, reader).await,
            Ok(None) => Err(End::Gone),
            Err(error) => Err(end_of(&error)),
        }
    };
    let (out, session) = timeout_at(due, read).await.unwrap_or_else(|_| Err(End::Bye(Refusal::TooSlow)))?;
    let write = async {
        writer.write_all(&out).await?;
        writer.flush().await
    };
    match timeout_at(due.max(deadline(FAREWELL)), write).await {
        Ok(Ok(())) => Ok(session),
        _ => Err(End::Gone),
    }
}

/// What to answer to a hello.
async fn greet(
    shared: &Shared,
    reader: &mut FrameReader<Reading>,
) -> Result<(BytesMut, Option<Session>), End> {
    let patience = Patience { idle: None, frame: shared.limits.handshake_timeout };
    let body = match reader.next(MAX_HELLO, patience).await {
        Ok(Some(body)) => body,
        Ok(None) => return Err(End::Gone),
        Err(error) => return Err(end_of(&error)),
    };
    let client = message::decode_client_hello(&body).map_err(End::Bye)?;
    let Some(version) = VERSIONS.highest_common(client) else {
        return Err(End::Bye(Refusal::UnsupportedVersion { client, server: VERSIONS }));
    };
    let mut out = BytesMut::new();
    message::put_server_hello(&mut out, hello(shared, version)).map_err(|_| End::Bye(Refusal::Internal))?;
    Ok((out, None))
}

/// What to answer to the beginning of a session.
async fn begin(
    shared: &Shared,
    ticket: &Ticket,
    reader: &mut FrameReader<Reading>,
) -> Result<(BytesMut, Option<Session>), End> {
    let malformed = |reason: String| End::Bye(Refusal::malformed(reason));
    let length = match reader.peek::<HEADER>().await {
        Ok(Some([.., high, low])) => usize::from(u16::from_be_bytes([high, low])),
        Ok(None) => return Err(End::Gone),
        Err(error) => return Err(end_of(&error)),
    };
    if !session::LENGTHS.contains(&length) {
        return Err(malformed(format!("a handshake has no {length} bytes")));
    }
    let message = reader.exactly(HEADER + length).await.map_err(|error| end_of(&error))?;
    let start = Start::read(&message[HEADER..]).map_err(|error| malformed(error.to_string()))?;
    let client = start.client;
    let Some(identities) = &shared.identities else {
        return Err(End::Bye(Refusal::UnsupportedVersion { client: client.versions, server: VERSIONS }));
    };
    ticket.take_session(Instant::now()).map_err(End::Bye)?;
    let Some(identity) = identities.identity(&client.agent) else {
        return Err(End::Bye(Refusal::UnknownAgent { agent: client.agent }));
    };
    let spoken = identity.binding().versions;
    let version =
        spoken.highest_common(client.versions).filter(|version| session::VERSIONS.contains(*version));
    let Some(version) = version else {
        return Err(End::Bye(Refusal::UnsupportedVersion { client: client.versions, server: spoken }));
    };
    let left = identity.binding().expires().duration_since(identities.now()).unwrap_or_default();
    let expires = deadline(left);

    // It is never closed.
    let Ok(_turn) = shared.handshakes.acquire().await else { return Err(End::Gone) };
    let hello = SessionHello { server: hello(shared, version), key: *identity.binding() };
    let answered = message::session_hello(hello).map_err(|error| error.to_string()).and_then(|hello| {
        session::answer(&start, &identity.secret, &hello).map_err(|error| error.to_string())
    });
    let (out, established) = answered.map_err(malformed)?;
    shared.counters.session();
    let caller = CallerSession::new(client.agent, established.id);
    Ok((BytesMut::from(&*out), Some(Session { established, caller, version, expires })))
}

fn hello(shared: &Shared, version: u16) -> ServerHello {
    let limits = &shared.limits;
    ServerHello {
        version,
        max_in_flight: limits.max_in_flight.max(1),
        idle_timeout_ms: u64::try_from(limits.idle_timeout.as_millis()).unwrap_or(u64::MAX),
    }
}
