//! What another server does when the same is done to it: a table to read, not a judgement, so it runs only when asked for.
//!
//! `perf/manners.sh` starts the servers and asks.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use super::{frames, heads};
use crate::node::{Came, Client, Http};

/// How long a server may take to say or do something: then it has left the connection open.
const WAIT: Duration = Duration::from_millis(500);

#[test]
#[ignore = "it looks at another server, at the address in TEXTO_PEER"]
fn the_rows_of_others() {
    let peer: SocketAddr = std::env::var("TEXTO_PEER").expect("TEXTO_PEER is set").parse().expect("TEXTO_PEER is an address");
    let (mut same, mut all) = (0, 0);
    let mut tell = |claim: &str, expected: &str, found: &str| {
        all += 1;
        same += usize::from(expected == found);
        let mark = if expected == found { "" } else { "  <- differs" };
        println!("{claim:<60} {expected:<12} {found}{mark}");
    };
    tell("what is done", "Texto", "Texto");
    for (claim, request, status, _) in heads::rows() {
        tell(claim, &status.to_string(), &status_of(peer, request.as_bytes()));
    }
    for (claim, bytes, code) in frames::rows() {
        tell(&claim, &format!("Close {code}"), &end_of(peer, &bytes));
    }
    println!("{} of {} as Texto", same - 1, all - 1);
    let mut afterwards = Client::connect(peer);
    afterwards.check();
}

/// The status that a request gets, or what becomes of the connection instead.
fn status_of(peer: SocketAddr, request: &[u8]) -> String {
    let mut http = Http::connect(peer);
    http.try_write(request);
    http.stream().set_read_timeout(Some(WAIT)).expect("a socket has a read timeout");
    let mut bytes = [0; 64];
    match http.stream().read(&mut bytes) {
        Ok(0) => "closed without a word".to_owned(),
        Ok(len) => String::from_utf8_lossy(&bytes[..len]).split(' ').nth(1).unwrap_or("nonsense").to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => "left open".to_owned(),
        Err(_) => "reset".to_owned(),
    }
}

/// How a session ends after these bytes.
fn end_of(peer: SocketAddr, bytes: &[u8]) -> String {
    let mut client = Client::connect(peer);
    client.write(bytes);
    loop {
        return match client.next_within(WAIT) {
            Came::Message(_) | Came::Ping(_) | Came::Pong(_) => continue,
            Came::Close(Some(code), _) => format!("Close {code}"),
            Came::Close(None, _) => "Close".to_owned(),
            Came::End => "closed without a word".to_owned(),
            Came::Reset => "reset".to_owned(),
            Came::Nothing => "left open".to_owned(),
        };
    }
}
