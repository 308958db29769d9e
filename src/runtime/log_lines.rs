//! The log of the process: lines on standard error, written by a thread of their own.
//!
//! Standard error may be a pipe that nobody reads, and an event loop that waits for it serves no one. So a line is put into a bounded
//! queue, and the thread `texto-log` is the only one that ever waits. When the queue is full, lines are dropped and counted, and the
//! count is told where they are missing. What says the same again and again is left out before it is even written, and counted, too:
//!
//! ```text
//!  info!(…) ─▶ limiter ─────▶ format ──────▶ queue ─────▶ texto-log ─▶ standard error
//!              same again?    text or JSON,  ≤ 1 MiB,     one write
//!              count it       one line       else drop    for all that waits
//!                                            and count
//! ```

mod format;
mod limiter;
mod queue;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};

pub use format::LogFormat;
use format::Occasion;
use limiter::{INTERVAL, LeftOut, Limiter};
use queue::{Queue, write_lines};

/// How long the writer leaves alone a standard error that fails, such as a file on a full disk.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// How long a flush through the log's own interface waits: too short to be noticed by who ends the process in a hurry.
const FLUSH_PATIENCE: Duration = Duration::from_millis(100);

/// The log of the process, once started.
#[derive(Clone, Debug)]
pub struct LogLines {
    shared: Arc<Shared>,
}

/// What the threads that log share with the one that writes.
#[derive(Debug)]
struct Shared {
    level: LevelFilter,
    format: LogFormat,
    limiter: Mutex<Limiter>,
    queue: Queue,
}

/// Begins to log lines of `level` and more important ones. There is one log in a process; a second start fails.
pub fn start(level: LevelFilter, format: LogFormat) -> io::Result<LogLines> {
    let lines = LogLines::onto(io::stderr(), level, format)?;
    log::set_boxed_logger(Box::new(lines.clone())).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(lines)
}

impl LogLines {
    /// A log that ends in `sink`. Its thread lives as long as the process: it may be inside a write that never returns.
    fn onto(sink: impl Write + Send + 'static, level: LevelFilter, format: LogFormat) -> io::Result<LogLines> {
        let shared = Arc::new(Shared { level, format, limiter: Mutex::default(), queue: Queue::default() });
        let drained = Arc::clone(&shared);
        thread::Builder::new().name("texto-log".to_owned()).spawn(move || drain(&drained, sink))?;
        Ok(LogLines { shared })
    }

    /// Waits until all lines are written, at most for `patience`; whether they are.
    pub fn flush(&self, patience: Duration) -> bool {
        self.shared.tell_left_out(true);
        self.shared.queue.flush(patience)
    }
}

impl Log for LogLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.shared.level
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.shared.log(record);
        }
    }

    /// For who is about to end the process: waits a little for the last lines.
    fn flush(&self) {
        LogLines::flush(self, FLUSH_PATIENCE);
    }
}

impl Shared {
    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        // No step under this lock leaves the limiter half changed.
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, record: &Record<'_>) {
        // A place of its own for the guard: the line is made without the lock.
        let admitted = self.limiter().admit(record, Instant::now());
        let Some(left_out) = admitted else { return };
        let thread = thread::current();
        let line = self.format.line(record, Occasion { time: SystemTime::now(), thread: thread.name(), left_out });
        self.queue.push(line.as_bytes());
    }

    /// Tells what was left out and no line has told; at the end, all of it.
    fn tell_left_out(&self, is_end: bool) {
        let overdue = self.limiter().take_overdue(Instant::now(), is_end);
        for LeftOut { level, count, sample } in overdue {
            let line = self.own_line(level, &format!("{count} more lines like this were left out: {sample}"), count);
            self.queue.push(line.as_bytes());
        }
    }

    /// A line of the log about itself.
    fn own_line(&self, level: Level, message: &str, count: u64) -> String {
        let occasion = Occasion { time: SystemTime::now(), thread: None, left_out: 0 };
        let fields = [("count", count)];
        let mut record = Record::builder();
        record.level(level).target(module_path!()).key_values(&fields);
        self.format.line(&record.args(format_args!("{message}")).build(), occasion)
    }
}

fn drain(shared: &Shared, mut sink: impl Write) {
    loop {
        let patience = shared.limiter().is_at_limit(Instant::now()).then_some(INTERVAL);
        let (lines, dropped) = shared.queue.take(patience);
        let gap =
            shared.own_line(Level::Warn, &format!("{dropped} log lines were dropped here, because stderr did not take them"), dropped);
        let lost = write_lines(&mut sink, lines, dropped, &gap);
        shared.queue.settle(lost);
        if lost > 0 {
            thread::sleep(FAILURE_PAUSE);
        }
        shared.tell_left_out(false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::limits::{LOG_BYTES_MAX, LOG_KIND_BURST};

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

    /// A sink that keeps what it gets where a test can see it.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn log(lines: &LogLines, level: Level, message: &str) {
        lines.log(&Record::builder().level(level).target("texto::somewhere").args(format_args!("{message}")).build());
    }

    #[test]
    fn a_sink_that_blocks_blocks_nobody_and_the_gap_is_told_where_it_is() {
        let ((called, is_called), (allow, leave), (taken, batches)) = (channel(), channel(), channel());
        let lines = LogLines::onto(Gated { called, leave, taken }, LevelFilter::Debug, LogFormat::Text).unwrap();
        log(&lines, Level::Debug, "first");
        is_called.recv_timeout(PATIENCE).unwrap();
        // The writer is stuck from here on; were logging to wait for it, the test would never end.
        let sent = 50_000;
        for number in 0..sent {
            log(&lines, Level::Debug, &format!("line {number}"));
        }
        assert!(!lines.flush(Duration::from_millis(1)));
        allow.send(()).unwrap();
        allow.send(()).unwrap();
        assert!(lines.flush(PATIENCE));
        log(&lines, Level::Debug, "last");
        allow.send(()).unwrap();
        assert!(lines.flush(PATIENCE));

        let texts: Vec<String> = batches.try_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
        assert_eq!(texts.len(), 3);
        assert!(texts[0].ends_with("first\n") && texts[2].ends_with("last\n") && texts[1].len() <= LOG_BYTES_MAX + 200);
        let kept = texts[1].lines().count() - 1;
        for (number, line) in texts[1].lines().take(kept).enumerate() {
            assert!(line.ends_with(&format!("line {number}")), "{line}");
        }
        let told = format!("[WARN ] {} log lines were dropped here, because stderr did not take them", sent - kept);
        assert!(texts[1].lines().last().is_some_and(|line| line.ends_with(&told)), "{:?}", texts[1].lines().last());
    }

    #[test]
    fn lines_below_the_level_are_not_written() {
        let kept = Kept::default();
        let lines = LogLines::onto(kept.clone(), LevelFilter::Info, LogFormat::Text).unwrap();
        log(&lines, Level::Debug, "not this");
        log(&lines, Level::Info, "but this");
        assert!(lines.flush(PATIENCE));
        assert!(kept.text().ends_with("Z [INFO ] but this\n") && kept.text().lines().count() == 1, "{}", kept.text());
    }

    #[test]
    fn a_kind_that_comes_in_crowds_is_left_out_and_the_end_tells_how_many() {
        let kept = Kept::default();
        let lines = LogLines::onto(kept.clone(), LevelFilter::Info, LogFormat::Text).unwrap();
        (0..LOG_KIND_BURST + 100).for_each(|number| log(&lines, Level::Warn, &format!("garbage {number}")));
        assert!(lines.flush(PATIENCE));
        let text = kept.text();
        assert_eq!(text.lines().count(), LOG_KIND_BURST as usize + 1, "{text}");
        let told = format!("[WARN ] 100 more lines like this were left out: garbage {}", LOG_KIND_BURST - 1);
        assert!(text.trim_end().ends_with(&told), "{text}");
    }

    #[test]
    fn lines_of_many_threads_stay_whole() {
        let kept = Kept::default();
        let lines = LogLines::onto(kept.clone(), LevelFilter::Debug, LogFormat::Text).unwrap();
        thread::scope(|scope| {
            for name in 'a'..'e' {
                let lines = &lines;
                scope.spawn(move || (0..500).for_each(|_| log(lines, Level::Debug, &name.to_string().repeat(50))));
            }
        });
        assert!(lines.flush(PATIENCE));
        let text = kept.text();
        assert_eq!(text.lines().count(), 4 * 500);
        for line in text.lines() {
            let (_, message) = line.split_once(" texto::somewhere: ").unwrap();
            assert!(message.len() == 50 && message.chars().all(|c| message.starts_with(c)), "{line}");
        }
    }
}
