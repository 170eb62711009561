//! Log lines on their way to standard error, so that no task ever waits for whoever reads them, or fails with them.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that may wait. Later lines are lost until the writer has caught up.
const MAX_WAITING: usize = 1 << 20;
/// Before a sink that cannot take anything at the moment is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// A bounded queue of log lines with a thread that writes them. Cheap to clone.
///
/// Adding a line never waits and never fails. A line that does not fit, because the sink takes nothing (a full pipe, a
/// stopped terminal), and a line that the sink refuses (no reader, a full disk) are dropped and counted.
#[derive(Clone, Debug)]
pub(crate) struct LogQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    writing: bool,
}

impl LogQueue {
    /// Starts the thread that writes to `sink`. It runs until the process ends.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let queue =
            Self(Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), lost: Arc::default() }));
        let shared = Arc::clone(&queue.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_to(Sink::new(sink)))?;
        Ok(queue)
    }

    /// Adds a line, which ends with a line feed.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut state = self.0.state.lock();
        if state.waiting.len() + line.len() > MAX_WAITING {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.waiting.extend_from_slice(line);
        self.0.changed.notify_all();
    }

    /// Waits until every line is written or lost, for `limit` at most. Returns whether that is so.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.0.state.lock();
        while state.writing || !state.waiting.is_empty() {
            if self.0.changed.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    /// Lines lost so far.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.lost)
    }
}

impl Shared {
    fn write_to(&self, mut sink: Sink<impl Write>) {
        let mut reported = 0;
        loop {
            let batch = {
                let mut state = self.state.lock();
                while state.waiting.is_empty() {
                    self.changed.wait(&mut state);
                }
                state.writing = true;
                std::mem::take(&mut state.waiting)
            };
            let lost_now = sink.write_lines(&batch);
            let lost = self.lost.fetch_add(lost_now, Ordering::Relaxed) + lost_now;
            if lost_now == 0 && lost > reported {
                // A line like any other: it goes through this queue.
                tracing::warn!(
                    lines = lost - reported,
                    "log lines were lost: standard error did not take them"
                );
                reported = lost;
            }
            self.state.lock().writing = false;
            self.changed.notify_all();
        }
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Entry<'a>;

    fn make_writer(&'a self) -> Entry<'a> {
        Entry(self)
    }
}

/// Adds what is written to it, a whole line at a time, to the queue.
pub(crate) struct Entry<'a>(&'a LogQueue);

impl Write for Entry<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines end up.
struct Sink<W> {
    to: W,
    /// The last line was written in part only.
    torn: bool,
}

impl<W: Write> Sink<W> {
    const fn new(to: W) -> Self {
        Self { to, torn: false }
    }

    /// Writes lines and returns how many of them were not, or not wholly, written.
    fn write_lines(&mut self, lines: &[u8]) -> u64 {
        if self.torn && self.write(b"\n").is_err() {
            return count(lines);
        }
        self.torn = false;
        match self.write(lines) {
            Ok(()) => 0,
            Err(rest) => {
                let written = lines.len() - rest;
                self.torn = written > 0 && lines[written - 1] != b'\n';
                count(&lines[written..])
            }
        }
    }

    /// Writes all of it, or returns how many bytes were refused.
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), usize> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(0) => return Err(bytes.len()),
                Ok(written) => bytes = &bytes[written.min(bytes.len())..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another program can have made the terminal or pipe, which it shares with us, non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(_) => return Err(bytes.len()),
            }
        }
        Ok(())
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// Keeps what is written to it.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing until it is released.
    struct Stuck {
        entered: mpsc::Sender<()>,
        released: mpsc::Receiver<()>,
        then: Kept,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            let _ = self.released.recv(); // an error means: released for good
            self.then.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_arrive_in_their_order() {
        let kept = Kept::default();
        let queue = LogQueue::start(kept.clone()).unwrap();
        let lines: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
        for line in &lines {
            queue.push(line.as_bytes());
        }
        assert!(queue.flush(LONG));
        assert_eq!(String::from_utf8(kept.0.lock().clone()).unwrap(), lines.concat());
        assert_eq!(queue.lost().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn lines_for_a_reader_that_does_not_read_are_lost_beyond_a_bound_and_nobody_waits() {
        let (entered_to, entered) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let kept = Kept::default();
        let sink = Stuck { entered: entered_to, released, then: kept.clone() };
        let queue = LogQueue::start(sink).unwrap();
        queue.push(b"first\n");
        entered.recv().unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let pushed = 2 * MAX_WAITING / line.len();
        for _ in 0..pushed {
            queue.push(&line);
        }
        let fit = MAX_WAITING / line.len();
        assert_eq!(queue.lost().load(Ordering::Relaxed), (pushed - fit) as u64);
        assert!(!queue.flush(Duration::from_millis(1)), "nothing is written yet");
        drop(release);
        assert!(queue.flush(LONG));
        assert_eq!(kept.0.lock().len(), b"first\n".len() + fit * line.len());
    }

    /// Takes `left` bytes and then refuses, as a full disk does, until it is emptied.
    struct Full {
        left: usize,
        kept: Vec<u8>,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.left == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            self.kept.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_are_refused_are_counted_and_the_next_one_begins_on_its_own_line() {
        let mut sink = Sink::new(Full { left: 6, kept: Vec::new() });
        assert_eq!(sink.write_lines(b"one\ntwo\nthree\n"), 2);
        assert_eq!(sink.write_lines(b"four\n"), 1);
        sink.to.left = 100;
        assert_eq!(sink.write_lines(b"five\n"), 0);
        assert_eq!(sink.to.kept, b"one\ntw\nfive\n");
        assert_eq!(sink.write_lines(b"six\n"), 0);
        assert_eq!(sink.to.kept, b"one\ntw\nfive\nsix\n");
    }
}
