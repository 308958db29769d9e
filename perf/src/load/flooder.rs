//! A client that says as much as its socket takes and reads whatever comes.
//!
//! One thread each way, with blocking sockets and bytes made beforehand: a flooder must not be what is slow here. The threads yield to
//! the one that measures. Every other flooder sends messages to itself; the rest send frames of two bytes, which are the dearest bytes
//! that a client can say, because each is refused by an answer of its own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::setpriority_process;

use crate::frame::{self, Seen};
use crate::target::Target;
use crate::words::{self, Message};

/// Bytes said at once: more than a socket takes while a server is busy.
const BLOCK_BYTES: usize = 256 * 1024;

/// How long one block may take: a server that stops reading must not hold the tool.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of a flood.
#[derive(Default)]
pub(crate) struct Flooded {
    /// Bytes that the server's socket took.
    pub(crate) said: u64,
    /// Bytes that came back.
    pub(crate) heard: u64,
    /// Flooders that the server closed.
    pub(crate) cut_off: u64,
}

impl Flooded {
    pub(crate) fn add(&mut self, other: &Flooded) {
        self.said += other.said;
        self.heard += other.heard;
        self.cut_off += other.cut_off;
    }
}

/// Floods until it is over, or until the server has had enough.
pub(crate) fn flood(target: &Target, size: usize, number: usize, is_over: &AtomicBool) -> io::Result<Flooded> {
    yield_to_others();
    let mut stream = TcpStream::connect(target.address)?;
    let block = block(size, number, open(&mut stream, target)?);
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut listening = stream.try_clone()?;
    let mut flooded = Flooded::default();
    thread::scope(|scope| {
        let listener = scope.spawn(move || listen(&mut listening));
        while !is_over.load(Ordering::Relaxed) {
            if stream.write_all(&block).is_err() {
                flooded.cut_off = 1;
                break;
            }
            flooded.said += block.len() as u64;
        }
        // Ends the listener too. The server may have been first.
        let _gone = stream.shutdown(Shutdown::Both);
        flooded.heard = listener.join().expect("a listener does not panic");
    });
    Ok(flooded)
}

/// Makes this thread the last in line for its processor.
fn yield_to_others() {
    // Refused to nobody; and if it were, the tool's lateness would tell.
    let _refused = setpriority_process(None, 19);
}

/// The opening handshake; the session's id.
fn open(stream: &mut TcpStream, target: &Target) -> io::Result<words::Id> {
    stream.write_all(target.request().as_bytes())?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..count]);
        let head_len = memchr::memmem::find(&bytes, b"\r\n\r\n").map(|at| at + 4);
        if let Some(frames) = head_len.map(|len| &bytes[len..])
            && let Seen::Whole(_, payload) = frame::look(frames)
        {
            let greeting = Message::read(&frames[payload]).ok_or_else(|| io::Error::other("the greeting of a flooder is none"))?;
            return Ok(greeting.client);
        }
        if count == 0 {
            return Err(io::Error::other("the server takes no flooder"));
        }
    }
}

/// What a flooder says again and again.
fn block(size: usize, number: usize, me: words::Id) -> Vec<u8> {
    let mut payload = Vec::new();
    if number.is_multiple_of(2) {
        words::write_send(&mut payload, me, 1, me, &vec![b'x'; size]);
    } else {
        payload.extend_from_slice(b"{}");
    }
    let mut block = Vec::new();
    while block.len() < BLOCK_BYTES {
        frame::mask(&mut block, frame::TEXT, &payload, [1, 2, 3, 4]);
    }
    block
}

/// Reads to the end; how many bytes came.
fn listen(stream: &mut TcpStream) -> u64 {
    yield_to_others();
    let mut bytes = vec![0; BLOCK_BYTES];
    let mut heard = 0;
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        heard += count as u64;
    }
    heard
}
