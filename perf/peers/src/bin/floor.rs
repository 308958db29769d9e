//! The floor: a server that does the system calls which routing needs, and next to nothing else. One thread, one epoll.
//!
//! What it does: one read per readable socket; all frames in it are unmasked and answered; all writes of a poll batch are held back to
//! its end, one write per socket. An idle connection costs its file descriptor and eight bytes.
//!
//! What it leaves out, so that nobody takes it for a server:
//! - JSON: it searches for `"receiver_id":"`, `"text":` and `"id":"` and believes what follows. No `error` is ever sent.
//! - UTF-8, RSV bits, opcodes other than text and Close, fragmented messages, control frames, minimal lengths, the mask bit.
//! - HTTP: whatever has a `Sec-WebSocket-Key: ` in its first read is upgraded.
//! - Directory, ids: an id is the number of the file descriptor, so a lookup is an index, and the next tenant inherits the name.
//! - Deadlines, pings, limits, slow readers (what waits for one is unbounded), metrics, draining, Redis, a second thread.
//!
//! Bytes are not left out: a frame cut by the end of a read and a write cut by a full socket are kept and finished.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;

use memchr::memmem::{self, Finder};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tungstenite::handshake::derive_accept_key;

const LISTENER: Token = Token(usize::MAX);
const SCRATCH_BYTES: usize = 256 * 1024;
const ID_BYTES: usize = 36;

fn main() -> io::Result<()> {
    let listener = texto_peers::listen(std::env::args().nth(1).as_deref())?;
    let mut floor = Floor::new(TcpListener::from_std(listener))?;
    let mut events = Events::with_capacity(1024);
    loop {
        match floor.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept()?,
                Token(fd) => {
                    if event.is_writable() {
                        floor.resume(fd);
                    }
                    if event.is_readable() {
                        floor.receive(fd);
                    }
                }
            }
        }
        floor.flush();
    }
}

/// Eight bytes: `Option<TcpStream>` is a bare descriptor, and `owed` is where this batch's bytes wait, counted from one.
#[derive(Default)]
struct Connection {
    stream: Option<TcpStream>,
    owed: u32,
}

/// What is searched for in a message. Built once: preparing a search costs more than the search.
struct Marks {
    id: Finder<'static>,
    receiver: Finder<'static>,
    text: Finder<'static>,
}

struct Floor {
    marks: Marks,
    poll: Poll,
    listener: TcpListener,
    /// By file descriptor.
    connections: Vec<Connection>,
    /// Bytes of this batch by socket; the first `owing` entries are in use, the others keep their allocation.
    outgoing: Vec<(usize, Vec<u8>)>,
    owing: usize,
    /// The beginning of a frame whose end has not arrived. Empty nearly always.
    partial: HashMap<usize, Vec<u8>>,
    /// What a full socket has not taken. Empty nearly always.
    unsent: HashMap<usize, Vec<u8>>,
    scratch: Vec<u8>,
    receives: u64,
}

impl Floor {
    fn new(mut listener: TcpListener) -> io::Result<Floor> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let marks = Marks { id: Finder::new(b"\"id\":\""), receiver: Finder::new(b"\"receiver_id\":\""), text: Finder::new(b"\"text\":") };
        Ok(Floor {
            marks,
            poll,
            listener,
            connections: Vec::new(),
            outgoing: Vec::new(),
            owing: 0,
            partial: HashMap::new(),
            unsent: HashMap::new(),
            scratch: vec![0; SCRATCH_BYTES],
            receives: 0,
        })
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let fd = usize::try_from(stream.as_raw_fd()).expect("an open descriptor is not negative");
            self.poll.registry().register(&mut stream, Token(fd), Interest::READABLE)?;
            if self.connections.len() <= fd {
                self.connections.resize_with(fd + 1, Connection::default);
            }
            self.connections[fd] = Connection { stream: Some(stream), owed: 0 };
        }
    }

    /// Reads until the socket is drained: a short read is the end of it.
    fn receive(&mut self, fd: usize) {
        loop {
            let kept = self.recall(fd);
            let Some(stream) = self.connections[fd].stream.as_mut() else { return };
            match stream.read(&mut self.scratch[kept..]) {
                Ok(0) => return self.close(fd),
                Ok(count) => {
                    self.take(fd, kept + count);
                    if kept + count < self.scratch.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.keep(fd, 0..kept),
                Err(_) => return self.close(fd),
            }
        }
    }

    /// Puts the beginning of a cut frame in front of what comes next.
    fn recall(&mut self, fd: usize) -> usize {
        if self.partial.is_empty() {
            return 0;
        }
        let Some(bytes) = self.partial.remove(&fd) else { return 0 };
        self.scratch[..bytes.len()].copy_from_slice(&bytes);
        bytes.len()
    }

    fn keep(&mut self, fd: usize, rest: Range<usize>) {
        if rest.len() >= self.scratch.len() {
            self.close(fd);
        } else if !rest.is_empty() {
            self.partial.insert(fd, self.scratch[rest].to_vec());
        }
    }

    /// Answers everything whole in the first `filled` bytes of the scratch. No frame begins with a `G`: its RSV1 would be set.
    fn take(&mut self, fd: usize, filled: usize) {
        if self.scratch[0] == b'G' {
            return self.upgrade(fd, filled);
        }
        // Taken out for the loop: a message in it is read while the answers are written.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut at = 0;
        while let Some((opcode, payload)) = unmask(&mut scratch[at..filled]) {
            match opcode {
                0x1 => self.route(fd, &scratch[at..][payload.clone()]),
                0x8 => {
                    self.scratch = scratch;
                    return self.close(fd);
                }
                _ => {}
            }
            at += payload.end;
        }
        self.scratch = scratch;
        self.keep(fd, at..filled);
    }

    fn upgrade(&mut self, fd: usize, filled: usize) {
        let head = &self.scratch[..filled];
        const KEY: &[u8] = b"Sec-WebSocket-Key: ";
        let Some(start) = memmem::find(head, KEY).map(|at| at + KEY.len()).filter(|start| start + 24 <= filled) else {
            return self.close(fd);
        };
        let accept = derive_accept_key(&head[start..start + 24]);
        let me = session(fd);
        let id = self.fresh();
        let out = self.owe(fd);
        out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
        out.extend_from_slice(accept.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        let parts: [&[u8]; 7] =
            [b"{\"client_id\":\"", &me, b"\",\"id\":\"", &id, b"\",\"kind\":\"connection\",\"data\":{\"client_id\":\"", &me, b"\"}}"];
        text(out, &parts);
    }

    fn route(&mut self, sender: usize, message: &[u8]) {
        let Some(id) = after(message, &self.marks.id).and_then(|rest| rest.get(..ID_BYTES)) else { return };
        let Some(receiver_id) = after(message, &self.marks.receiver).and_then(|rest| rest.get(..ID_BYTES)) else { return };
        let Some(said) = after(message, &self.marks.text).and_then(|rest| rest.strip_suffix(b"}}")) else { return };
        let me = session(sender);
        let parts: [&[u8]; 5] = [b"{\"client_id\":\"", &me, b"\",\"id\":\"", id, b"\",\"kind\":\"ack\",\"data\":null}"];
        text(self.owe(sender), &parts);

        let Some(receiver) = descriptor(receiver_id).filter(|&fd| self.connections.get(fd).is_some_and(|peer| peer.stream.is_some()))
        else {
            return;
        };
        let fresh = self.fresh();
        let parts: [&[u8]; 9] = [
            b"{\"client_id\":\"",
            receiver_id,
            b"\",\"id\":\"",
            &fresh,
            b"\",\"kind\":\"receive\",\"data\":{\"sender_id\":\"",
            &me,
            b"\",\"text\":",
            said,
            b"}}",
        ];
        text(self.owe(receiver), &parts);
    }

    /// The bytes that this batch owes a socket.
    fn owe(&mut self, fd: usize) -> &mut Vec<u8> {
        let owed = &mut self.connections[fd].owed;
        if *owed == 0 {
            if self.owing == self.outgoing.len() {
                self.outgoing.push((fd, Vec::new()));
            }
            self.outgoing[self.owing].0 = fd;
            self.owing += 1;
            *owed = u32::try_from(self.owing).expect("fewer sockets than u32 counts");
        }
        &mut self.outgoing[*owed as usize - 1].1
    }

    /// The end of the batch: one write per socket.
    fn flush(&mut self) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for (fd, bytes) in &mut outgoing[..self.owing] {
            self.connections[*fd].owed = 0;
            self.write(*fd, bytes);
            bytes.clear();
        }
        self.outgoing = outgoing;
        self.owing = 0;
    }

    fn write(&mut self, fd: usize, bytes: &[u8]) {
        if !self.unsent.is_empty() && self.unsent.contains_key(&fd) {
            return self.unsent.entry(fd).or_default().extend_from_slice(bytes);
        }
        let Some(stream) = self.connections[fd].stream.as_mut() else { return };
        let count = match stream.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return self.close(fd),
        };
        if count < bytes.len() {
            self.unsent.insert(fd, bytes[count..].to_vec());
            self.watch(fd, Interest::READABLE | Interest::WRITABLE);
        }
    }

    /// A socket that was full takes bytes again.
    fn resume(&mut self, fd: usize) {
        let Some(bytes) = self.unsent.remove(&fd) else { return };
        self.write(fd, &bytes);
        if !self.unsent.contains_key(&fd) {
            self.watch(fd, Interest::READABLE);
        }
    }

    fn watch(&mut self, fd: usize, interest: Interest) {
        let Some(stream) = self.connections[fd].stream.as_mut() else { return };
        if self.poll.registry().reregister(stream, Token(fd), interest).is_err() {
            self.close(fd);
        }
    }

    fn close(&mut self, fd: usize) {
        self.connections[fd].stream = None;
        self.partial.remove(&fd);
        self.unsent.remove(&fd);
    }

    /// An id that no other message of this process has.
    fn fresh(&mut self) -> [u8; ID_BYTES] {
        self.receives += 1;
        let mut id = *b"00000000-0000-4000-8000-000000000000";
        hex(self.receives, &mut id[24..]);
        id
    }
}

/// The id of the session on a descriptor: its number, in the clothes of a UUID of version 4.
fn session(fd: usize) -> [u8; ID_BYTES] {
    let mut id = *b"00000000-0000-4000-8000-ffffffffffff";
    hex(fd as u64, &mut id[..8]);
    id
}

fn descriptor(id: &[u8]) -> Option<usize> {
    id[..8].iter().try_fold(0, |number, &digit| Some(number << 4 | char::from(digit).to_digit(16)? as usize))
}

/// Lower-case digits, right-aligned, over zeros.
fn hex(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

fn after<'a>(message: &'a [u8], mark: &Finder<'_>) -> Option<&'a [u8]> {
    mark.find(message).map(|at| &message[at + mark.needle().len()..])
}

/// Appends one unmasked text frame.
fn text(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(0x81);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// The frame at the beginning of `bytes`, unmasked: its opcode and where its payload lies. `None`: not whole yet.
fn unmask(bytes: &mut [u8]) -> Option<(u8, Range<usize>)> {
    let (length, mask_at) = match bytes.get(1)? & 0x7F {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let start = mask_at + 4;
    let mask: [u8; 4] = bytes.get(mask_at..start)?.try_into().ok()?;
    let payload = bytes.get_mut(start..start.checked_add(length)?)?;
    let mut chunks = payload.chunks_exact_mut(4);
    for chunk in &mut chunks {
        let word = u32::from_ne_bytes(chunk.try_into().ok()?) ^ u32::from_ne_bytes(mask);
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
    Some((bytes[0] & 0x0F, start..start + length))
}
