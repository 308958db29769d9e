//! One line on a terminal that tells how far a run is; nothing where nobody watches.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(200);

/// The line, and when it was last drawn.
pub(crate) struct Progress {
    is_watched: bool,
    drawn: Instant,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress { is_watched: io::stderr().is_terminal(), drawn: Instant::now() }
    }

    /// Draws what `line` says, a few times a second at most.
    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.is_watched && self.drawn.elapsed() >= INTERVAL {
            self.drawn = Instant::now();
            self.draw(&line());
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn end(&self) {
        if self.is_watched {
            self.draw("");
        }
    }

    fn draw(&self, line: &str) {
        // A terminal that has gone away takes no harm to the run.
        let _gone = write!(io::stderr(), "\r\x1b[K{line}").and_then(|()| io::stderr().flush());
    }
}
