//! Usage reports coalesce, never block and stay bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use privatix_adapter::{SessionId, SessionReport, usage_reports};
use privatix_channel::{ChannelId, Usage};

fn channel(number: u8) -> ChannelId {
    format!("0x{number:064x}").parse().unwrap()
}

fn report(channel: ChannelId, session: SessionId, total: u64) -> SessionReport {
    let now = SystemTime::now();
    SessionReport {
        channel,
        session,
        peer: None,
        started_at: now,
        total: Usage::new(total),
        last_usage: now,
        ended_at: None,
    }
}

#[tokio::test]
async fn many_reports_of_one_session_arrive_as_its_newest_total() {
    let (reporter, mut reports) = usage_reports();
    let session = reporter.open(channel(1), Some("192.0.2.7:1234".parse().unwrap()));
    for total in 1..=100_000 {
        session.report(Usage::new(total));
    }
    let batch = reports.recv().await.unwrap();
    assert_eq!(batch.len(), 1);
    assert_eq!(batch[0].total, Usage::new(100_000));
    assert_eq!(batch[0].peer, Some("192.0.2.7:1234".parse().unwrap()));
    assert_eq!(batch[0].ended_at, None);
    assert!(reports.take().is_empty());
}

#[tokio::test]
async fn what_waits_is_bounded_by_the_number_of_sessions() {
    let (reporter, mut reports) = usage_reports();
    let sessions: Vec<_> = (1..=50).map(|n| reporter.open(channel(n), None)).collect();
    for total in 0..1000 {
        for session in &sessions {
            session.report(Usage::new(total));
        }
    }
    assert_eq!(format!("{reports:?}"), "UsageReports { sessions: 50 }");
    assert_eq!(reports.recv().await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_session_that_began_and_ended_unseen_arrives_whole() {
    let (reporter, mut reports) = usage_reports();
    let session = reporter.open(channel(1), None);
    session.report(Usage::new(5));
    session.end(Usage::new(9));
    session.report(Usage::new(11)); // too late
    drop(session);
    let batch = reports.recv().await.unwrap();
    assert_eq!((batch.len(), batch[0].total), (1, Usage::new(9)));
    assert!(batch[0].ended_at.is_some_and(|ended| ended >= batch[0].started_at));
}

#[tokio::test]
async fn a_dropped_session_ends_with_its_last_total() {
    let (reporter, mut reports) = usage_reports();
    reporter.open(channel(1), None).report(Usage::new(5));
    let batch = reports.recv().await.unwrap();
    assert_eq!(batch[0].total, Usage::new(5));
    assert!(batch[0].ended_at.is_some());
}

#[tokio::test]
async fn an_older_report_that_comes_late_takes_nothing_back() {
    let (reporter, mut reports) = usage_reports();
    let id = SessionId::fresh();
    let ended = SessionReport { ended_at: Some(SystemTime::now()), ..report(channel(1), id, 10) };
    reporter.report(ended.clone());
    reporter.report(report(channel(1), id, 4));
    let batch = reports.take();
    assert_eq!((batch[0].total, batch[0].ended_at), (Usage::new(10), ended.ended_at));
}

#[tokio::test]
async fn a_batch_given_back_does_not_overwrite_what_came_since() {
    let (reporter, mut reports) = usage_reports();
    let (old, new) = (reporter.open(channel(1), None), reporter.open(channel(2), None));
    old.report(Usage::new(1));
    new.report(Usage::new(1));
    let batch = reports.recv().await.unwrap();
    old.report(Usage::new(7));
    reports.give_back(batch);
    let mut totals: Vec<_> = reports.take().into_iter().map(|r| (r.channel, r.total.get())).collect();
    totals.sort();
    assert_eq!(totals, [(channel(1), 7), (channel(2), 1)]);
}

#[tokio::test]
async fn the_receiver_is_woken_and_learns_when_nobody_is_left() {
    let (reporter, mut reports) = usage_reports();
    let receiver = tokio::spawn(async move {
        let mut batches = Vec::new();
        while let Some(batch) = reports.recv().await {
            batches.push(batch);
        }
        batches
    });
    tokio::task::yield_now().await;
    let session = reporter.clone().open(channel(1), None);
    drop(reporter);
    session.report(Usage::new(3));
    drop(session);
    let batches = tokio::time::timeout(Duration::from_mins(1), receiver).await.unwrap().unwrap();
    assert_eq!(batches.last().unwrap()[0].total, Usage::new(3));
    assert!(batches.last().unwrap()[0].ended_at.is_some());
}

#[tokio::test]
async fn a_dropped_receive_takes_nothing() {
    let (reporter, mut reports) = usage_reports();
    for _ in 0..20 {
        let waiting = tokio::time::timeout(Duration::ZERO, reports.recv()).await;
        assert!(waiting.is_err());
    }
    let _session = reporter.open(channel(1), None);
    assert_eq!(reports.recv().await.unwrap().len(), 1);
}

#[test]
fn a_report_survives_the_wire() {
    let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_800_000_000_123_456);
    let sent = SessionReport {
        peer: Some("[2001:db8::1]:443".parse().unwrap()),
        started_at: at,
        last_usage: at,
        ended_at: Some(at),
        ..report(channel(1), SessionId::fresh(), u64::MAX)
    };
    let json = serde_json::to_string(&sent).unwrap();
    assert!(json.contains("1800000000123456"), "{json}");
    assert_eq!(serde_json::from_str::<SessionReport>(&json).unwrap(), sent);
}
