//! What a process uses.

use std::fs;
use std::time::Duration;

use privatix_demo::Result;

/// Memory that it holds now, in MiB.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("the system shows no VmRSS")?;
    Ok(kib.parse::<u64>()? / 1_024)
}

/// Processor time that it has used since its start.
pub(crate) fn used(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name is in brackets and may hold anything: what is counted comes after the last one.
    let after = stat.rsplit_once(')').ok_or("the system shows no times")?.1;
    let ticks =
        |index: usize| after.split_whitespace().nth(index).and_then(|ticks| ticks.parse::<u64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).ok_or("the system shows no times")?;
    Ok(Duration::from_millis((user + system) * 1_000 / TICKS_PER_SECOND))
}

/// `sysconf(_SC_CLK_TCK)`, which is this on every Linux.
const TICKS_PER_SECOND: u64 = 100;
