//! What a tick costs: a hundred channels changed, are assessed and get their next deadline, with
//! a hundred, ten thousand and a million channels open. The time must hardly grow.
#![allow(missing_docs, reason = "criterion's macros make the public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use privatix_billing::{Account, Billing, Measure, Scheduler, Terms, TermsDraft, Unit, assess_agent};
use privatix_channel::{Amount, ChannelId, ServiceStatus, Usage};

const MIB: u64 = 1 << 20;
const CHANGED: usize = 100;

fn terms() -> Terms {
    TermsDraft {
        unit: Unit { name: "MiB".into(), measure: Measure::Bytes, size: MIB },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: Amount::new(1_000),
        free_units: 0,
        min_units: 100,
        max_units: None,
        billing_interval: 1,
        max_billing_unit_lag: 3,
        max_suspend: Duration::from_mins(30),
        max_inactive: Duration::from_mins(30),
        max_first_use: None,
    }
    .validate()
    .unwrap()
}

fn channel(index: usize) -> ChannelId {
    let mut bytes = [0; 32];
    // Spread like hashes.
    bytes[..8].copy_from_slice(&(index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    ChannelId::new(bytes.into())
}

fn tick(criterion: &mut Criterion) {
    let terms = terms();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let mut group = criterion.benchmark_group("tick");
    group.throughput(Throughput::Elements(CHANGED as u64));
    for open in [100, 10_000, 1_000_000] {
        let mut scheduler = Scheduler::new();
        let mut account = Account::new(Amount::new(1 << 60), ServiceStatus::Active, start);
        for index in 0..open {
            scheduler.set_deadline(
                channel(index),
                Some(start + Duration::from_micros(index as u64 * 7 + 1_800_000_000)),
            );
        }
        let mut now = start;
        group.bench_function(BenchmarkId::new("100 changed of", open), |bencher| {
            bencher.iter(|| {
                now += Duration::from_micros(1);
                for index in 0..CHANGED {
                    scheduler.mark(channel(index * (open / CHANGED)));
                }
                for id in scheduler.pop_due(now) {
                    account.used = account.used.saturating_add(Usage::new(1_000));
                    account.paid = Amount::new(u128::from(account.used.get() / MIB) * 1_000);
                    account.last_usage = now;
                    let assessment = assess_agent(&terms, &account, now);
                    black_box(assessment.action);
                    scheduler.set_deadline(id, assessment.next);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tick);
criterion_main!(benches);
