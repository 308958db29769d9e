//! Lines on their way from the threads that log to the one that writes, which alone ever waits for standard error.

use std::io::{ErrorKind, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::limits::LOG_BYTES_MAX;

/// How long the writer leaves alone a standard error that is non-blocking and full.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Rung when a line comes in and when a write has ended.
    changed: Condvar,
}

/// Invariant: `bytes.len() <= LOG_BYTES_MAX`, and it ends with a line feed or is empty.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Lines that are missing after those in `bytes`.
    dropped: u64,
    /// Whether lines that are no longer in `bytes` are not yet written.
    is_writing: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No step under this lock leaves the queue half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all lines are written, at most for `patience`; whether they are.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let written = self.changed.wait_timeout_while(self.lock(), patience, |waiting| waiting.is_writing || !waiting.bytes.is_empty());
        !written.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Puts a line in, or counts it as dropped.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        // Once a line is missing, so are all until the gap has been told: then the count stands where they are missing.
        if waiting.dropped > 0 || waiting.bytes.len() + line.len() > LOG_BYTES_MAX {
            waiting.dropped += 1;
        } else {
            waiting.bytes.extend_from_slice(line);
        }
        drop(waiting);
        self.changed.notify_all();
    }

    /// Waits for lines, at most for `patience` if there is one, and takes all of them, with the count of those missing after them.
    pub(super) fn take(&self, patience: Option<Duration>) -> (Vec<u8>, u64) {
        let waiting = self.lock();
        let is_idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && waiting.dropped == 0;
        let mut waiting = match patience {
            None => self.changed.wait_while(waiting, is_idle).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => self.changed.wait_timeout_while(waiting, patience, is_idle).unwrap_or_else(PoisonError::into_inner).0,
        };
        waiting.is_writing = true;
        (std::mem::take(&mut waiting.bytes), std::mem::take(&mut waiting.dropped))
    }

    /// The lines taken are dealt with; `lost` of them could not be written.
    pub(super) fn settle(&self, lost: u64) {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        waiting.dropped += lost;
        drop(waiting);
        self.changed.notify_all();
    }
}

/// Writes `lines` and, if any are missing after them, `gap`, which tells how many. Returns how many could not be written.
pub(super) fn write_lines(sink: &mut impl Write, lines: Vec<u8>, dropped: u64, gap: &str) -> u64 {
    let mut text = lines;
    let lines_end = text.len();
    if dropped > 0 {
        text.extend_from_slice(gap.as_bytes());
    }
    let written = write_all(sink, &text);
    if written == text.len() {
        return 0;
    }
    let unwritten = text[written.min(lines_end)..lines_end].iter().filter(|byte| **byte == b'\n').count();
    dropped + unwritten as u64
}

/// Writes all of `text`, however long it takes; how much of it, if the sink fails.
fn write_all(sink: &mut impl Write, text: &[u8]) -> usize {
    let mut written = 0;
    while written < text.len() {
        match sink.write(&text[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Whoever shares the terminal or the pipe with us may have made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_PAUSE),
            Err(_) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A sink that answers its writes as told, and then takes them all.
    struct Scripted(Vec<io::Result<usize>>, Vec<u8>);

    impl Write for Scripted {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let count = if self.0.is_empty() { text.len() } else { self.0.remove(0)? };
            self.1.extend_from_slice(&text[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_refuses_loses_only_what_it_refused() {
        let full = || Err(io::Error::from(ErrorKind::WouldBlock));
        let broken = || Err(io::Error::from(ErrorKind::BrokenPipe));
        let interrupted = || Err(io::Error::from(ErrorKind::Interrupted));
        for (script, dropped, lost, written) in [
            (vec![], 0, 0, "a\nb\n"),
            (vec![], 7, 0, "a\nb\n... 7 are missing\n"),
            (vec![full(), Ok(1), interrupted(), Ok(2)], 0, 0, "a\nb\n"),
            (vec![broken()], 7, 9, ""),
            (vec![Ok(1), broken()], 0, 2, "a"),
            (vec![Ok(2), broken()], 0, 1, "a\n"),
            (vec![Ok(4), broken()], 7, 7, "a\nb\n"),
            (vec![Ok(6), Ok(0)], 7, 7, "a\nb\n.."),
        ] {
            let mut sink = Scripted(script, Vec::new());
            assert_eq!(write_lines(&mut sink, b"a\nb\n".to_vec(), dropped, "... 7 are missing\n"), lost, "{written:?}");
            assert_eq!(String::from_utf8(sink.1).unwrap(), written);
        }
    }

    #[test]
    fn what_was_lost_is_told_with_the_next_lines() {
        let queue = Queue::default();
        queue.push(b"a\n");
        assert_eq!(queue.take(None), (b"a\n".to_vec(), 0));
        queue.settle(1);
        assert_eq!(queue.take(None), (Vec::new(), 1));
        queue.settle(0);
        queue.push(b"b\n");
        assert_eq!(queue.take(None), (b"b\n".to_vec(), 0));
        queue.settle(0);
        assert_eq!(queue.take(Some(Duration::from_millis(1))), (Vec::new(), 0));
    }
}
