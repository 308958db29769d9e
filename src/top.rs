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
use std::sync::Arc;
use std::thread;

use crate::config::TopSettings;
use readings::{Change, Reading};
use scrape::scrape;
use terminal::{Terminal, Wake};
use view::Node;

/// Columns and rows of a terminal that does not tell.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// What each node has told, or why it has not, in one line for people.
type Look = Vec<Result<Arc<Reading>, String>>;

/// Shows the nodes until it is told to end, or once. The error is one line for people.
pub fn run(settings: &TopSettings) -> Result<(), String> {
    let first = look(&settings.addresses);
    // A wrong address is told at once; a node that goes away later is a thing to see.
    if let Some(error) = first.iter().find_map(|reading| reading.as_ref().err()) {
        return Err(error.clone());
    }
    if settings.is_once {
        thread::sleep(settings.interval);
        let lines = draw(&settings.addresses, [&first, &first, &look(&settings.addresses)], (usize::MAX, usize::MAX));
        let text: String = lines.iter().map(|line| format!("{}\n", line.trim_end())).collect();
        // A reader that has seen enough, such as `head`, is no error.
        let _unread = io::stdout().write_all(text.as_bytes());
        return Ok(());
    }
    watch(settings, &first)
}

fn watch(settings: &TopSettings, first: &Look) -> Result<(), String> {
    let told = |error: io::Error| format!("the terminal cannot be used: {error}; texto top --once prints plain text");
    let mut terminal = Terminal::enter().map_err(told)?;
    let (mut before, mut now) = (first.clone(), first.clone());
    loop {
        let size = terminal.size().unwrap_or(USUAL_SIZE);
        terminal.show(&draw(&settings.addresses, [first, &before, &now], size)).map_err(told)?;
        if terminal.wait(settings.interval).map_err(told)? == Wake::End {
            return Ok(());
        }
        before = std::mem::replace(&mut now, look(&settings.addresses));
    }
}

/// Asks all nodes at once: one that does not answer must not hold up the others.
fn look(addresses: &[String]) -> Look {
    let ask = |address: &String| scrape(address).map(Arc::new).map_err(|error| error.to_string());
    thread::scope(|scope| {
        let asked: Vec<_> = addresses.iter().map(|address| scope.spawn(move || ask(address))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("the node could not be asked".to_owned()))).collect()
    })
}

/// The lines for three looks: the first of all, the one before, and the one now.
fn draw(addresses: &[String], [first, before, now]: [&Look; 3], size: (usize, usize)) -> Vec<String> {
    let nodes = addresses.iter().enumerate().map(|(index, address)| {
        // Of a node that has come back, nothing is known but what it says now.
        let change = |now| Change { first: told(first, index, now), before: told(before, index, now), now };
        Node { address, change: now[index].as_deref().map(change).map_err(String::as_str) }
    });
    view::lines(&nodes.collect::<Vec<_>>(), size)
}

/// What a node told in a look, or else what it says `now`.
fn told<'r>(look: &'r Look, index: usize, now: &'r Reading) -> &'r Reading {
    look[index].as_deref().unwrap_or(now)
}
