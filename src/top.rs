//! `texto top`: nodes while they run, in a terminal, as their operators' addresses tell.
//!
//! ```text
//!   scrape ─ GET /metrics ─▶ Reading ─┐
//!   scrape, an interval later ────────┴▶ Change ─▶ view ─▶ lines ─▶ terminal, or standard output
//! ```
//!
//! It needs nothing that is not on the page that Prometheus reads, and asks no more often than it draws.

mod readings;
mod scrape;
mod terminal;
mod view;

use std::io::{self, Write};
use std::thread;

use crate::config::TopSettings;
use readings::{Change, Reading};
use scrape::{ScrapeError, scrape};
use terminal::{Terminal, Wake};
use view::Node;

/// Columns and rows of a terminal that does not tell.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Shows the nodes until it is told to end, or once. The error is one line for people.
pub fn run(settings: &TopSettings) -> Result<(), String> {
    let first = look(&settings.addresses);
    // A wrong address is told at once; a node that goes away later is a thing to see.
    if let Some(error) = first.iter().find_map(|reading| reading.as_ref().err()) {
        return Err(error.to_string());
    }
    if settings.is_once {
        thread::sleep(settings.interval);
        let lines = draw(&settings.addresses, &first, &look(&settings.addresses), (usize::MAX, usize::MAX));
        let text: String = lines.iter().map(|line| format!("{}\n", line.trim_end())).collect();
        // A reader that has seen enough, such as `head`, is no error.
        let _unread = io::stdout().write_all(text.as_bytes());
        return Ok(());
    }
    watch(settings, first)
}

fn watch(settings: &TopSettings, first: Vec<Result<Reading, ScrapeError>>) -> Result<(), String> {
    let told = |error: io::Error| format!("the terminal cannot be used: {error}; texto top --once prints plain text");
    let mut terminal = Terminal::enter().map_err(told)?;
    let (mut before, mut now) = (first, None);
    loop {
        let shown = now.as_ref().unwrap_or(&before);
        let size = terminal.size().unwrap_or(USUAL_SIZE);
        terminal.show(&draw(&settings.addresses, &before, shown, size)).map_err(told)?;
        if terminal.wait(settings.interval).map_err(told)? == Wake::End {
            return Ok(());
        }
        if let Some(now) = now.replace(look(&settings.addresses)) {
            before = now;
        }
    }
}

/// Asks all nodes at once: one that does not answer must not hold up the others.
fn look(addresses: &[String]) -> Vec<Result<Reading, ScrapeError>> {
    thread::scope(|scope| {
        let asked: Vec<_> = addresses.iter().map(|address| scope.spawn(move || scrape(address))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap_or(Err(ScrapeError::Broken))).collect()
    })
}

type Readings = [Result<Reading, ScrapeError>];

fn draw(addresses: &[String], before: &Readings, now: &Readings, size: (usize, usize)) -> Vec<String> {
    let nodes = addresses.iter().zip(before.iter().zip(now)).map(|(address, (before, now))| Node {
        address,
        change: match now {
            // Of a node that has come back, nothing is known but what it says now.
            Ok(now) => Ok(Change { before: before.as_ref().unwrap_or(now), now }),
            Err(error) => Err(error.to_string()),
        },
    });
    view::lines(&nodes.collect::<Vec<_>>(), size)
}
