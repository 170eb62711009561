//! Lookups over real sockets: bounded in all, per share and in time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use privatix_net::{ResolveError, Resolver, ResolverLimits, Share};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// A name server: it answers names that begin with "fast", knows none that begin with "no", and keeps silent otherwise.
struct NameServer {
    address: SocketAddr,
    questions: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl NameServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let questions = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&questions);
        let task = tokio::spawn(async move {
            let mut question = [0; 1024];
            while let Ok((length, peer)) = socket.recv_from(&mut question).await {
                counted.fetch_add(1, Ordering::SeqCst);
                if let Some(answer) = answer(&question[..length]) {
                    socket.send_to(&answer, peer).await.unwrap();
                }
            }
        });
        Self { address, questions, _task: AbortOnDropHandle::new(task) }
    }

    fn asked(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

/// RFC 1035, section 4.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let mut end = HEADER;
    while question[end] != 0 {
        end += usize::from(question[end]) + 1;
    }
    end += 5; // the root label, the type, the class
    let name = question[HEADER + 1..].to_ascii_lowercase();
    let is_v6 = question[end - 3] == 28;
    let mut answer = question[..end].to_vec();
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    if name.starts_with(b"no") {
        answer[3] |= 3; // there is no such name
        return Some(answer);
    }
    if !name.starts_with(b"fast") {
        return None;
    }
    answer[7] = 1;
    let address = if is_v6 { Ipv6Addr::LOCALHOST.octets().to_vec() } else { vec![192, 0, 2, 1] };
    answer.extend([
        0xc0,
        12,
        0,
        if is_v6 { 28 } else { 1 },
        0,
        1,
        0,
        0,
        0,
        60,
        0,
        u8::try_from(address.len()).unwrap(),
    ]);
    answer.extend(address);
    Some(answer)
}

fn limits(lookups: usize, lookups_per_share: usize, within: Duration) -> ResolverLimits {
    let mut limits = ResolverLimits::default();
    (limits.lookups, limits.lookups_per_share, limits.within) = (lookups, lookups_per_share, within);
    limits
}

const SOON: Duration = Duration::from_millis(400);
/// Longer than any test may take.
const LONG: Duration = Duration::from_mins(1);

/// Lookups that get no answer, this many of them.
fn flood(share: &Share, count: usize) -> JoinSet<Result<Vec<IpAddr>, ResolveError>> {
    let mut lookups = JoinSet::new();
    for number in 0..count {
        let share = share.clone();
        lookups.spawn(async move { share.lookup(&format!("slow{number}.test")).await });
    }
    lookups
}

#[tokio::test]
async fn names_resolve_to_all_their_addresses_ipv4_first() {
    let server = NameServer::start().await;
    let share = Resolver::with_name_servers(&[server.address], ResolverLimits::default()).share();
    let expected = ["192.0.2.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
    assert_eq!(share.lookup("fast.test").await.unwrap(), expected);
    let asked = server.asked();
    assert_eq!(share.lookup("fast.test").await.unwrap(), expected);
    assert_eq!(server.asked(), asked, "the answer is remembered");
}

#[tokio::test]
async fn literal_addresses_and_localhost_need_no_name_server() {
    let server = NameServer::start().await;
    let share = Resolver::with_name_servers(&[server.address], ResolverLimits::default()).share();
    assert_eq!(share.lookup("192.0.2.9").await.unwrap(), ["192.0.2.9".parse::<IpAddr>().unwrap()]);
    assert_eq!(share.lookup("2001:db8::9").await.unwrap(), ["2001:db8::9".parse::<IpAddr>().unwrap()]);
    assert!(share.lookup("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn each_failure_has_its_own_error() {
    let server = NameServer::start().await;
    let share = Resolver::with_name_servers(&[server.address], limits(1, 1, SOON)).share();
    assert!(matches!(share.lookup("no.test").await, Err(ResolveError::NotFound { .. })));
    assert!(matches!(share.lookup("slow.test").await, Err(ResolveError::TimedOut { .. })));
    let long = "a".repeat(64);
    assert!(matches!(share.lookup(&long).await, Err(ResolveError::Malformed { .. })));
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_place_in_vain_learns_that_it_was_the_place() {
    let server = NameServer::start().await;
    for limits in [limits(1, 9, SOON), limits(9, 1, SOON)] {
        let share = Resolver::with_name_servers(&[server.address], limits).share();
        let ends = flood(&share, 3).join_all().await;
        let too_many = ends.iter().filter(|end| matches!(end, Err(ResolveError::TooMany { .. }))).count();
        let timed_out = ends.iter().filter(|end| matches!(end, Err(ResolveError::TimedOut { .. }))).count();
        assert_eq!((too_many, timed_out), (2, 1), "{ends:?}");
    }
}

#[tokio::test]
async fn one_share_full_of_slow_names_holds_up_no_other() {
    let server = NameServer::start().await;
    let resolver = Resolver::with_name_servers(&[server.address], limits(8, 4, LONG));
    let crowded = resolver.share();
    let lookups = flood(&crowded, 100);
    // Two questions for each lookup: for IPv4 and for IPv6.
    while server.asked() < 8 {
        tokio::task::yield_now().await;
    }
    let other = resolver.share();
    timeout(Duration::from_secs(5), other.lookup("fast.test")).await.unwrap().unwrap();
    assert!(server.asked() <= 8 * 2 + 2, "no more than four lookups of the crowd are under way");
    drop(lookups);
    timeout(Duration::from_secs(5), crowded.lookup("fast.test"))
        .await
        .expect("their places are free again")
        .unwrap();
}

#[test]
fn slow_names_take_no_thread_of_those_that_files_and_databases_need() {
    // One blocking thread, as all of tokio's would be taken by this many lookups of the C library.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let server = NameServer::start().await;
        let share = Resolver::with_name_servers(&[server.address], limits(64, 64, LONG)).share();
        let lookups = flood(&share, 64);
        while server.asked() < 64 {
            tokio::task::yield_now().await;
        }
        let work = tokio::task::spawn_blocking(|| 7);
        assert_eq!(timeout(Duration::from_secs(5), work).await.unwrap().unwrap(), 7);
        drop(lookups);
    });
}
