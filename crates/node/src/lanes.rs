//! Which jobs share workers. What moves money waits neither for services nor for strangers, whose addresses anybody can
//! announce and who may keep a connection waiting.

use privatix_jobs::Lane;

/// Opens, closes, transfers, and what else sends transactions.
pub const MONEY: Lane = Lane::new("money", 8).priority(0);
/// Orders to the plug-in.
pub const SERVICE: Lane = Lane::new("service", 16).priority(10);
/// What the plug-in takes long for: a job waits here, and does hardly anything else.
pub const SERVICE_SLOW: Lane = Lane::new("service-slow", 256).priority(10);
/// Questions to agents with whom we have a channel.
pub const PEERS: Lane = Lane::new("peers", 16).priority(20);
/// Questions to anybody who announces an address.
pub const STRANGERS: Lane = Lane::new("strangers", 16).priority(50);
