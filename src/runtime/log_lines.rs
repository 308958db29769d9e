//! The log of the process: lines on standard error, written by a thread of their own.
//!
//! Standard error may be a pipe that nobody reads, and an event loop that waits for it serves no one. So a line is put into a bounded
//! queue, and the thread `texto-log` is the only one that ever waits. When the queue is full, lines are dropped and counted, and the
//! count is told where they are missing:
//!
//! ```text
//!  info!(…) ─▶ one_line ─▶ simplelog ─▶ Line ─────▶ Queue ─────▶ texto-log ─▶ standard error
//!              escaped     time, level  collects    ≤ 1 MiB,     one write
//!                          in ~20       a line      else drop    for all that waits
//!                          writes                   and count
//! ```
//!
//! Whatever a message holds, it is one line of bounded length: control characters are escaped, so nothing that a peer sent can forge a
//! line or speak to a terminal.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::limits::{LOG_BYTES_MAX, LOG_MESSAGE_CHARS_MAX};
use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, LevelPadding, ThreadLogMode, WriteLogger};

/// How long the writer leaves alone a standard error that is non-blocking and full.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// How long it leaves alone one that fails, such as a file on a full disk.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// How long a flush through the log's own interface waits: too short to be noticed by who ends the process in a hurry.
const FLUSH_PATIENCE: Duration = Duration::from_millis(100);

/// The log of the process, once started.
#[derive(Debug)]
pub struct LogLines {
    queue: Arc<Queue>,
}

/// Begins to log lines of `level` and more important ones. There is one log in a process; a second start fails.
pub fn start(level: LevelFilter) -> io::Result<LogLines> {
    let lines = LogLines::onto(io::stderr())?;
    log::set_boxed_logger(Box::new(lines.logger(level))).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(lines)
}

impl LogLines {
    /// A log that ends in `sink`. Its thread lives as long as the process: it may be inside a write that never returns.
    fn onto(sink: impl Write + Send + 'static) -> io::Result<LogLines> {
        let queue = Arc::new(Queue::default());
        let drained = Arc::clone(&queue);
        thread::Builder::new().name("texto-log".to_owned()).spawn(move || drain(&drained, sink))?;
        Ok(LogLines { queue })
    }

    /// Waits until all lines are written, at most for `patience`; whether they are.
    pub fn flush(&self, patience: Duration) -> bool {
        self.queue.flush(patience)
    }

    fn logger(&self, level: LevelFilter) -> Logger {
        let config = ConfigBuilder::new()
            .set_time_format_custom(simplelog::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
            .set_level_padding(LevelPadding::Right)
            .set_thread_level(LevelFilter::Debug)
            .set_thread_mode(ThreadLogMode::Names)
            .set_location_level(LevelFilter::Off)
            .build();
        let line = Line { queue: Arc::clone(&self.queue), bytes: Vec::new() };
        Logger { lines: WriteLogger::new(level, config, line), queue: Arc::clone(&self.queue) }
    }
}

/// simplelog's logger, given only messages of one line.
struct Logger {
    lines: Box<WriteLogger<Line>>,
    queue: Arc<Queue>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Formatted here, because simplelog holds a lock for all threads while it writes.
        let message = one_line(&record.args().to_string());
        let metadata = record.metadata().clone();
        self.lines.log(&Record::builder().metadata(metadata).args(format_args!("{message}")).build());
    }

    /// For who is about to end the process: waits a little for the last lines.
    fn flush(&self) {
        self.queue.flush(FLUSH_PATIENCE);
    }
}

/// `message` with its control characters escaped, cut when it is too long.
fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for (number, c) in message.chars().enumerate() {
        if number == LOG_MESSAGE_CHARS_MAX {
            line.push('…');
            break;
        }
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// What simplelog writes to, under its lock: pieces of a line, of which the last ends with the only line feed.
struct Line {
    queue: Arc<Queue>,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(piece);
        if piece.ends_with(b"\n") {
            self.queue.push(&self.bytes);
            self.bytes.clear();
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines on their way from the threads that log to the one that writes.
#[derive(Debug, Default)]
struct Queue {
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
    fn flush(&self, patience: Duration) -> bool {
        let written = self.changed.wait_timeout_while(self.lock(), patience, |waiting| waiting.is_writing || !waiting.bytes.is_empty());
        !written.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn push(&self, line: &[u8]) {
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

    /// Waits for lines and takes all of them, with the count of those missing after them.
    fn take(&self) -> (Vec<u8>, u64) {
        let waiting = self.lock();
        let is_idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && waiting.dropped == 0;
        let mut waiting = self.changed.wait_while(waiting, is_idle).unwrap_or_else(PoisonError::into_inner);
        waiting.is_writing = true;
        (std::mem::take(&mut waiting.bytes), std::mem::take(&mut waiting.dropped))
    }

    /// The lines taken are dealt with; `lost` of them could not be written.
    fn settle(&self, lost: u64) {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        waiting.dropped += lost;
        drop(waiting);
        self.changed.notify_all();
    }
}

fn drain(queue: &Queue, mut sink: impl Write) {
    loop {
        let (lines, dropped) = queue.take();
        let lost = write_lines(&mut sink, lines, dropped);
        queue.settle(lost);
        if lost > 0 {
            thread::sleep(FAILURE_PAUSE);
        }
    }
}

/// Writes `lines` and, if any are missing after them, how many. Returns how many could not be written.
fn write_lines(sink: &mut impl Write, lines: Vec<u8>, dropped: u64) -> u64 {
    let mut text = lines;
    let lines_end = text.len();
    if dropped > 0 {
        text.extend_from_slice(format!("... {dropped} log lines were dropped, because stderr did not take them\n").as_bytes());
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
    use std::sync::mpsc::{Receiver, Sender, channel};

    use log::Level;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A sink that waits in every write for leave to take it, and tells that it does.
    struct Gated {
        called: Sender<()>,
        leave: Receiver<()>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Gated {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.called.send(());
            self.leave.recv().map_err(io::Error::other)?;
            let _ = self.taken.send(text.to_vec());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

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

    fn log(logger: &Logger, level: Level, message: &str) {
        logger.log(&Record::builder().level(level).target("texto::somewhere").args(format_args!("{message}")).build());
    }

    #[test]
    fn a_sink_that_blocks_blocks_nobody_and_the_gap_is_told_where_it_is() {
        let ((called, is_called), (allow, leave), (taken, batches)) = (channel(), channel(), channel());
        let lines = LogLines::onto(Gated { called, leave, taken }).unwrap();
        let logger = lines.logger(LevelFilter::Info);
        log(&logger, Level::Info, "first");
        is_called.recv_timeout(PATIENCE).unwrap();
        // The writer is stuck from here on; were logging to wait for it, the test would never end.
        let sent = 50_000;
        for number in 0..sent {
            log(&logger, Level::Info, &format!("line {number}"));
        }
        assert!(!lines.flush(Duration::from_millis(1)));
        allow.send(()).unwrap();
        allow.send(()).unwrap();
        assert!(lines.flush(PATIENCE));
        log(&logger, Level::Info, "last");
        allow.send(()).unwrap();
        assert!(lines.flush(PATIENCE));

        let texts: Vec<String> = batches.try_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
        assert_eq!(texts.len(), 3);
        assert!(texts[0].ends_with("first\n") && texts[2].ends_with("last\n") && texts[1].len() <= LOG_BYTES_MAX + 100);
        let kept = texts[1].lines().count() - 1;
        for (number, line) in texts[1].lines().take(kept).enumerate() {
            assert!(line.ends_with(&format!("line {number}")), "{line}");
        }
        let told = format!("... {} log lines were dropped, because stderr did not take them", sent - kept);
        assert_eq!(texts[1].lines().last(), Some(told.as_str()));
    }

    #[test]
    fn a_line_has_the_time_the_level_and_the_message() {
        let queue = Arc::new(Queue::default());
        let logger = LogLines { queue: Arc::clone(&queue) }.logger(LevelFilter::Debug);
        log(&logger, Level::Info, "texto listens");
        log(&logger, Level::Trace, "not this");
        log(&logger, Level::Debug, "details");
        let text = String::from_utf8(queue.take().0).unwrap();
        let lines: Vec<(&str, &str)> = text.lines().map(|line| line.split_once(' ').unwrap()).collect();
        assert!(lines.iter().all(|(time, _)| time.ends_with('Z') && time.as_bytes()[10] == b'T'), "{text}");
        assert_eq!(lines[0].1, "[INFO ] texto listens");
        assert!(lines[1].1.starts_with("[DEBUG] ") && lines[1].1.ends_with("texto::somewhere: details"), "{text}");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        for (message, expected) in [
            ("plain, ümlaut", "plain, ümlaut"),
            ("two\nlines\r\n", "two\\nlines\\r\\n"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("nul\0", "nul\\u{0}"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ] {
            assert_eq!(one_line(message), expected);
        }
        assert_eq!(one_line(&"ü".repeat(100_000)).chars().count(), LOG_MESSAGE_CHARS_MAX + 1);
    }

    #[test]
    fn lines_of_many_threads_stay_whole() {
        let queue = Arc::new(Queue::default());
        let logger = LogLines { queue: Arc::clone(&queue) }.logger(LevelFilter::Info);
        thread::scope(|scope| {
            for name in 'a'..'e' {
                let logger = &logger;
                scope.spawn(move || (0..500).for_each(|_| log(logger, Level::Warn, &name.to_string().repeat(50))));
            }
        });
        let text = String::from_utf8(queue.take().0).unwrap();
        assert_eq!(text.lines().count(), 4 * 500);
        for line in text.lines() {
            let (_, message) = line.split_once(" [WARN ] ").unwrap();
            assert!(message.len() == 50 && message.chars().all(|c| message.starts_with(c)), "{line}");
        }
    }

    #[test]
    fn a_sink_that_refuses_loses_only_what_it_refused() {
        let full = || Err(io::Error::from(ErrorKind::WouldBlock));
        let broken = || Err(io::Error::from(ErrorKind::BrokenPipe));
        let interrupted = || Err(io::Error::from(ErrorKind::Interrupted));
        for (script, dropped, lost, written) in [
            (vec![], 0, 0, "a\nb\n"),
            (vec![], 7, 0, "a\nb\n... 7 log lines were dropped, because stderr did not take them\n"),
            (vec![full(), Ok(1), interrupted(), Ok(2)], 0, 0, "a\nb\n"),
            (vec![broken()], 7, 9, ""),
            (vec![Ok(1), broken()], 0, 2, "a"),
            (vec![Ok(2), broken()], 0, 1, "a\n"),
            (vec![Ok(4), broken()], 7, 7, "a\nb\n"),
            (vec![Ok(6), Ok(0)], 7, 7, "a\nb\n.."),
        ] {
            let mut sink = Scripted(script, Vec::new());
            assert_eq!(write_lines(&mut sink, b"a\nb\n".to_vec(), dropped), lost, "{written:?}");
            assert_eq!(String::from_utf8(sink.1).unwrap(), written);
        }
    }

    #[test]
    fn what_was_lost_is_told_with_the_next_lines() {
        let queue = Queue::default();
        queue.push(b"a\n");
        assert_eq!(queue.take(), (b"a\n".to_vec(), 0));
        queue.settle(1);
        assert_eq!(queue.take(), (Vec::new(), 1));
        queue.settle(0);
        queue.push(b"b\n");
        assert_eq!(queue.take(), (b"b\n".to_vec(), 0));
    }
}
