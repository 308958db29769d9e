//! The service manager that started this process, if one did: the socket that it hands over, and what it wants to be told.
//!
//! The protocol is systemd's (sd_listen_fds(3), sd_notify(3)): a few variables of the environment. Without them all of this does nothing.
//!
//! With a watchdog the manager ends a process that it has not heard of for a while. What it is told here is that every loop has turned since it
//! was told last, and not merely that some thread of the process runs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use socket2::SockRef;

use super::listener::ListeningSocket;
use super::mailbox::Mailbox;
use super::metrics::{Numbers, Status};

/// How often within the time of the watchdog the loops are asked whether they turn: one that was busy for a moment gets another chance.
const QUESTIONS_PER_TIMEOUT: u32 = 4;

/// The listening socket that was handed over, if one was. Before any thread starts: it takes the variables out of the environment.
pub fn inherited_socket() -> io::Result<Option<ListeningSocket>> {
    let mut inherited = ListenFd::from_env();
    if inherited.len() > 1 {
        return Err(io::Error::other(format!("{} sockets were handed over: one is allowed", inherited.len())));
    }
    let socket = match inherited.take_tcp_listener(0) {
        Ok(None) => return Ok(None),
        Ok(Some(tcp)) => {
            // As on a socket of one's own: see `listener::open`.
            SockRef::from(&tcp).set_tcp_nodelay(true)?;
            ListeningSocket::Tcp(tcp)
        }
        Err(_) => match inherited.take_unix_listener(0) {
            Ok(Some(unix)) => ListeningSocket::Unix(unix),
            Ok(None) | Err(_) => return Err(io::Error::other("what was handed over is neither a TCP nor a unix stream socket")),
        },
    };
    if !socket.is_listening()? {
        return Err(io::Error::other("the socket that was handed over does not listen: Accept=no is needed"));
    }
    socket.set_nonblocking()?;
    Ok(Some(socket))
}

/// Tells that the node serves, on `address`.
pub fn tell_ready(address: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("serves on {address}"))]);
}

/// Tells that the node has begun to stop.
pub fn tell_stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("closes its clients")]);
}

/// Starts to tell that the node is alive, as long as all loops turn, if there is a watchdog that wants to know.
pub fn start_watchdog(status: &Arc<Status>, mailboxes: &Arc<[Mailbox]>) -> io::Result<()> {
    let Some(timeout) = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero()) else { return Ok(()) };
    let (status, mailboxes) = (Arc::clone(status), Arc::clone(mailboxes));
    let interval = timeout / QUESTIONS_PER_TIMEOUT;
    thread::Builder::new().name("texto-watchdog".into()).spawn(move || {
        loop {
            look(&status, &mailboxes, interval);
        }
    })?;
    Ok(())
}

/// Asks all loops a question that each answers as it turns, gives them `interval` for it, and tells the watchdog if they have.
fn look(status: &Status, mailboxes: &[Mailbox], interval: Duration) {
    let question = status.ask();
    mailboxes.iter().for_each(Mailbox::ring);
    thread::sleep(interval);
    if !have_turned(status, question) {
        log::error!("an event loop has stood still for {interval:?}: the watchdog is not told that this node is alive");
        return;
    }
    let connections = Numbers::sum(&status.loops()).connections;
    let does = if status.is_draining.load(Ordering::Acquire) { "closes its clients" } else { "serves" };
    tell(&[NotifyState::Watchdog, NotifyState::Status(&format!("{does}; {connections} connections"))]);
}

/// Whether all loops have answered. Those without clients on a node that stops have ended, or are about to.
fn have_turned(status: &Status, question: u64) -> bool {
    status.answers(question).all(|is_there| is_there) || status.are_all_drained()
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        log::warn!("the service manager cannot be told anything: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_alive_when_all_its_loops_have_turned() {
        let status = Status::new(2, 1);
        let question = status.ask();
        for (number, expected) in [(0, false), (1, true)] {
            assert!(!have_turned(&status, question));
            status.publish(number, &Numbers::default());
            assert_eq!(have_turned(&status, question), expected);
        }
        assert!(!have_turned(&status, status.ask()), "an answer counts once");
    }

    #[test]
    fn loops_that_have_ended_need_not_turn() {
        let status = Status::new(1, 1);
        status.note_drained();
        assert!(have_turned(&status, status.ask()));
    }
}
