//! A terminal that is drawn on, and given back as it was.
//!
//! Plain escape sequences that every terminal of the last decades understands: another screen, no cursor, lines written over each other.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\r\n";
const CLEAR_REST: &str = "\x1b[J";
const KEYS: &str = "q ends";

/// Keys that end it: also Ctrl-C and Ctrl-D, which in this mode are keys like others.
const END_KEYS: [u8; 4] = [b'q', b'Q', 3, 4];

/// The terminal while it is ours. Given back with the value.
pub(super) struct Terminal {
    found: Termios,
    is_over: Arc<AtomicBool>,
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wake {
    /// It is time.
    Time,
    /// Somebody has had enough.
    End,
}

impl Terminal {
    /// Takes over the terminal that standard input and output are.
    pub(super) fn enter() -> io::Result<Terminal> {
        if !isatty(io::stdin()) || !isatty(io::stdout()) {
            return Err(io::Error::other("standard input and output are none"));
        }
        let is_over = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&is_over))?;
        }
        let found = tcgetattr(io::stdin())?;
        let mut raw = found.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let terminal = Terminal { found, is_over };
        write(ENTER)?;
        Ok(terminal)
    }

    /// Columns and rows, if it tells.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        let size = tcgetwinsize(io::stdout()).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
    }

    /// Shows `lines` in place of what is there, and the keys below them where there is room.
    pub(super) fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let mut picture = HOME.to_owned();
        for (index, line) in lines.iter().enumerate() {
            picture.push_str(line);
            let is_last = self.size().is_some_and(|(_, rows)| index + 1 == rows);
            // A line end on the last row would scroll the first one away.
            picture.push_str(if is_last { "\x1b[K" } else { CLEAR_LINE });
        }
        if self.size().is_none_or(|(_, rows)| lines.len() < rows) {
            picture.push_str(KEYS);
        }
        picture.push_str(CLEAR_REST);
        write(&picture)
    }

    /// Waits for `time`, or until a key or a signal says that it is enough.
    pub(super) fn wait(&mut self, time: Duration) -> io::Result<Wake> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if self.is_over.load(Ordering::Relaxed) {
                return Ok(Wake::End);
            }
            if left.is_zero() {
                return Ok(Wake::Time);
            }
            if is_key_pressed(left)? && is_end_key()? {
                return Ok(Wake::End);
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // If the terminal is gone, nobody misses it.
        let _left = write(LEAVE);
        let _restored = tcsetattr(io::stdin(), OptionalActions::Now, &self.found);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Waits for a key at most so long. A signal ends the wait early.
fn is_key_pressed(time: Duration) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
    let time = Timespec::try_from(time).map_err(io::Error::other)?;
    match poll(&mut watched, Some(&time)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads what was typed; whether it ends the show. So does the end of the input.
fn is_end_key() -> io::Result<bool> {
    let mut typed = [0; 64];
    match io::stdin().read(&mut typed) {
        Ok(0) => Ok(true),
        Ok(len) => Ok(typed[..len].iter().any(|key| END_KEYS.contains(key))),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}
