//! Reading: which sockets of a tick's events are read now, which in the next tick, and by how much.
//!
//! mio reports edges: what is told once and not used up is not told again. So who had more to say than one read takes is remembered here and
//! gone on with in the next tick; see [`super::backlog`].
//!
//! The kernel tells events in the order in which they came. When ten thousand clients hang up at once, a message of one who stays comes behind
//! all their ends, each of which costs as much as a message. So ends and opening handshakes only join a queue when they are told, which costs
//! next to nothing, and a few of them are attended to in each tick: those who talk wait for a few, not for ten thousand.

use std::io::{ErrorKind, Read};

use mio::event::Event;
use mio::net::TcpStream;

use super::backlog::{Backlog, End, Unread};
use crate::hub::{Hub, Key, MessageHandler, Moment};
use crate::limits::{BACKLOG_READS_PER_TICK, MOVES_PER_TICK, SCRATCH_BYTES};

/// The reading side of one loop.
pub struct Reader {
    /// The one buffer that all sockets of the loop are read into.
    scratch: Box<[u8]>,
    /// Connections of which there may be more to read.
    backlog: Backlog,
    /// Connections that come or go.
    moves: Backlog,
}

impl Reader {
    /// A reader that nothing has been told.
    #[expect(clippy::new_without_default, reason = "64 KiB are no default")]
    pub fn new() -> Reader {
        Reader { scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(), backlog: Backlog::default(), moves: Backlog::default() }
    }

    /// Whether something is left for the next tick.
    pub fn is_behind(&self) -> bool {
        !self.backlog.is_empty() || !self.moves.is_empty()
    }

    /// Whether those who come and go wait for longer than a tick.
    pub fn is_crowded(&self) -> bool {
        self.moves.len() >= MOVES_PER_TICK
    }

    /// Reads what is left from the last tick, then the sockets of `events`, then some of those who come and go.
    pub fn receive<'a, M: MessageHandler>(&mut self, events: impl Iterator<Item = &'a Event>, hub: &mut Hub<TcpStream, M>, now: Moment) {
        for _ in 0..self.backlog.len().min(BACKLOG_READS_PER_TICK) {
            let Some(unread) = self.backlog.pop() else { break };
            self.read(unread, hub, now);
        }
        for event in events {
            self.attend(event, hub, now);
        }
        for _ in 0..MOVES_PER_TICK {
            let Some(unread) = self.moves.pop() else { break };
            self.read(unread, hub, now);
        }
    }

    fn attend<M: MessageHandler>(&mut self, event: &Event, hub: &mut Hub<TcpStream, M>, now: Moment) {
        let key = Key::from_bits(event.token().0 as u64);
        if event.is_writable() {
            hub.writable(key);
        }
        let end = if event.is_read_closed() || event.is_error() { End::Closed } else { End::Open };
        if (!event.is_readable() && end == End::Open) || self.waits(key, end) {
            return;
        }
        let unread = Unread::new(key, end);
        if end == End::Closed || !hub.is_open(key) {
            self.moves.push(unread);
        } else {
            self.read(unread, hub, now);
        }
    }

    /// Nothing can be written to the connection any more. What it said before is still heard, and then it has failed.
    pub fn give_up(&mut self, key: Key) {
        if !self.waits(key, End::Broken) {
            self.moves.push(Unread::new(key, End::Broken));
        }
    }

    fn waits(&mut self, key: Key, end: End) -> bool {
        self.backlog.has(key, end) || self.moves.has(key, end)
    }

    /// Reads a socket once, or to its end if the peer has closed its side.
    fn read<M: MessageHandler>(&mut self, unread: Unread, hub: &mut Hub<TcpStream, M>, now: Moment) {
        let Unread { key, end, bytes_max } = unread;
        loop {
            let Some(socket) = hub.socket(key) else { return };
            match socket.read(&mut self.scratch[..bytes_max]) {
                Ok(0) if end == End::Broken => return hub.socket_failed(key),
                Ok(0) => return hub.end_of_input(key, now),
                Ok(len) => {
                    let messages = hub.receive(key, &mut self.scratch[..len], now);
                    if len == bytes_max {
                        // There is more, but the others come first.
                        return self.backlog.push(unread.fitted_to(messages));
                    }
                    // A short read means that the kernel has no more: the next edge will tell. Only the end of a stream has to be fetched.
                    if end == End::Open {
                        return;
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock if end != End::Broken => return,
                    ErrorKind::Interrupted => {}
                    _ => return hub.socket_failed(key),
                },
            }
        }
    }
}
