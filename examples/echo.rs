//! An echo server made of Texto's own parts, for the conformance suite: everything but what is said on the connections is
//! the machinery of `texto` itself.
//!
//!     cargo run --release --example echo -- 127.0.0.1:9001

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use texto::config::{AdminAddress, Config, Host};
use texto::hub::{Key, Message, MessageHandler, Peers};
use texto::server;
use texto::wire::frame::Kind;

/// Says whatever it hears.
struct Echo;

impl MessageHandler for Echo {
    fn message<S>(&mut self, peers: &mut Peers<S>, key: Key, message: Message<'_>) {
        match message {
            Message::Text(text) => peers.send(key, Kind::Text, text.as_bytes()),
            Message::Binary(bytes) => peers.send(key, Kind::Binary, bytes),
        };
    }
}

fn main() -> io::Result<()> {
    let address: SocketAddr = std::env::args()
        .nth(1)
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| io::Error::other("usage: echo HOST:PORT, with an address as in 127.0.0.1:9001"))?;
    let config = Config {
        host: Host::Address(address.ip()),
        port: address.port(),
        admin_address: AdminAddress::Off,
        message_size: 16 * 1024 * 1024,
        message_fragments: 100_000,
        outbox_size: 32 * 1024 * 1024,
        drain_time: Duration::ZERO,
        ..Config::default()
    };
    server::serve(&config, "/", || Echo)
}
