//! What happened, in order.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines with their time.
pub(crate) struct History {
    start: Instant,
    lines: Mutex<Vec<(Duration, String)>>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), lines: Mutex::default() }
    }

    /// Adds a line.
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.lines().push((self.start.elapsed(), line.into()));
    }

    /// Adds a line and prints it.
    pub(crate) fn print(&self, line: impl Into<String>) {
        let line = line.into();
        println!("{}", shown(self.start.elapsed(), &line));
        self.note(line);
    }

    /// All lines.
    pub(crate) fn text(&self) -> String {
        self.lines().iter().fold(String::new(), |mut text, (at, line)| {
            let _ = writeln!(text, "{}", shown(*at, line));
            text
        })
    }

    fn lines(&self) -> MutexGuard<'_, Vec<(Duration, String)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(at: Duration, line: &str) -> String {
    format!("{:>5}.{:03} s  {line}", at.as_secs(), at.subsec_millis())
}
