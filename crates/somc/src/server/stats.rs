//! Counters of a server.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a [`Server`](crate::Server) has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Connections open now.
    pub connections: u64,
    /// Of these, connections that have not proved a channel.
    pub strangers: u64,
    /// Connections ended to make room for others.
    pub dismissed: u64,
    /// Connections accepted since the start, those turned away not counted.
    pub accepted: u64,
    /// Connections turned away for a limit.
    pub turned_away: u64,
    /// Sessions begun since the start: connections on which an agent has proved its key.
    pub sessions: u64,
    /// Requests read, whatever became of them.
    pub requests: u64,
    /// Requests refused for a rate limit.
    pub rate_limited: u64,
    /// Payments read.
    pub payments: u64,
    /// Calls made to [`Service::pay`](crate::Service::pay): fewer than payments when they coalesce.
    pub payment_calls: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    connections: AtomicU64,
    accepted: AtomicU64,
    dismissed: AtomicU64,
    turned_away: AtomicU64,
    sessions: AtomicU64,
    requests: AtomicU64,
    rate_limited: AtomicU64,
    payments: AtomicU64,
    payment_calls: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self, strangers: usize) -> ServerStats {
        ServerStats {
            connections: self.connections.load(Relaxed),
            strangers: u64::try_from(strangers).unwrap_or(u64::MAX),
            dismissed: self.dismissed.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            turned_away: self.turned_away.load(Relaxed),
            sessions: self.sessions.load(Relaxed),
            requests: self.requests.load(Relaxed),
            rate_limited: self.rate_limited.load(Relaxed),
            payments: self.payments.load(Relaxed),
            payment_calls: self.payment_calls.load(Relaxed),
        }
    }

    /// Counts an open connection until the result is dropped.
    pub(super) fn open_connection(&self) -> OpenConnection<'_> {
        self.accepted.fetch_add(1, Relaxed);
        self.connections.fetch_add(1, Relaxed);
        OpenConnection(self)
    }

    pub(super) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }

    pub(super) fn dismissed(&self) {
        self.dismissed.fetch_add(1, Relaxed);
    }

    pub(super) fn session(&self) {
        self.sessions.fetch_add(1, Relaxed);
    }

    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn rate_limited(&self) {
        self.rate_limited.fetch_add(1, Relaxed);
    }

    pub(super) fn payment(&self) {
        self.payments.fetch_add(1, Relaxed);
    }

    pub(super) fn payment_call(&self) {
        self.payment_calls.fetch_add(1, Relaxed);
    }
}

pub(super) struct OpenConnection<'a>(&'a Counters);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}
