//! Redis takes what it is given, but much too slowly: a stall that never stalls.
//!
//! A real Redis cannot be made to do this, so a toy stands in for it. It answers what a node asks at the beginning, and reads what is
//! published sip by sip; each sip is a sign of life, so no time limit of a single read or write is ever reached.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::outage::{UNANSWERED, refused};
use crate::{answers, nobody, node_at, wait_for_links};

/// Bytes of a sip, and the time between two.
const SIP: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(10);

/// Starts the toy, which serves as long as there are tests. Where it listens.
fn start() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // What the kernel would read ahead on its behalf makes a reader seem fast. Connections inherit this.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(16).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Answers commands until one publishes something large, and takes that in slowly; an error is the end of the connection.
fn serve(stream: TcpStream) -> io::Result<()> {
    let mut input = BufReader::new(stream);
    loop {
        let words = header(&mut input, b'*')?;
        let name = word(&mut input)?;
        if name == b"PUBLISH" {
            let _channel = word(&mut input)?;
            let size = header(&mut input, b'$')?;
            if size > SIP {
                return take_in(input.into_inner());
            }
            // What the node sends to itself.
            io::copy(&mut input.by_ref().take(size as u64 + 2), &mut io::sink())?;
            input.get_mut().write_all(b":0\r\n")?;
            continue;
        }
        let rest: Vec<Vec<u8>> = (1..words).map(|_| word(&mut input)).collect::<io::Result<_>>()?;
        let answer = match &name[..] {
            b"CLIENT" => "+OK\r\n".to_owned(),
            b"ROLE" => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".to_owned(),
            b"PSUBSCRIBE" => {
                let pattern = String::from_utf8_lossy(&rest[0]);
                format!("*3\r\n$10\r\npsubscribe\r\n${}\r\n{pattern}\r\n:1\r\n", pattern.len())
            }
            _ => "-ERR unknown command\r\n".to_owned(),
        };
        input.get_mut().write_all(answer.as_bytes())?;
    }
}

/// The number in a line such as `*3` or `$7`.
fn header(input: &mut impl BufRead, sign: u8) -> io::Result<usize> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let number = line.strip_prefix(sign as char).and_then(|rest| rest.trim_end().parse().ok());
    number.ok_or_else(|| io::Error::other("no command"))
}

/// A bulk string.
fn word(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; header(input, b'$')? + 2];
    input.read_exact(&mut bytes)?;
    bytes.truncate(bytes.len() - 2);
    Ok(bytes)
}

fn take_in(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = [0; SIP];
    while stream.read(&mut bytes)? > 0 {
        thread::sleep(PAUSE);
    }
    Ok(())
}

#[test]
fn a_redis_that_takes_a_message_too_slowly_is_given_up_in_time() {
    const TIMEOUT: Duration = Duration::from_millis(500);
    let url = format!("redis://{}", start());
    let node = node_at(&url, &[("publish-timeout", "500ms"), ("message-size", "8MiB"), ("outbox-size", "16MiB")]);
    wait_for_links(&node);
    let mut client = node.client();
    // More than the kernel takes at once for a reader with so small a buffer.
    let text = "x".repeat(4 << 20);
    let since = Instant::now();
    let id = client.send(&nobody(1), &text);
    assert_eq!(answers(&mut client, &[id]), [refused(UNANSWERED)]);
    let took = since.elapsed();
    assert!(took >= TIMEOUT && took < 3 * TIMEOUT, "{took:?}");
    node.wait_for_log("lost Redis");
    client.check();
}
