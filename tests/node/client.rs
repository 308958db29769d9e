//! One WebSocket to a node, read by tungstenite: nothing of Texto's own code judges what Texto says.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::PATIENCE;
use super::http::{Http, UPGRADE};

/// A client with a session.
pub(crate) struct Client {
    socket: WebSocket<TcpStream>,
    id: String,
}

/// What came from the node. Pings and Closes have been answered already.
#[derive(Debug, PartialEq)]
pub(crate) enum Came {
    Message(Value),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    /// The node has closed the connection.
    End,
    /// Nothing within the time.
    Nothing,
    /// The connection was reset.
    Reset,
}

impl Client {
    /// A client that has been greeted.
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let mut client = Client::connect_to(address, "/v1/texto");
        let greeting = client.expect("connection");
        client.id = greeting["data"]["client_id"].as_str().expect("a greeting names the session").to_owned();
        assert_eq!(greeting["client_id"], client.id);
        client
    }

    /// A client that has been greeted, if there is a way to a node: who dials while nodes come and go must be able to fail.
    pub(crate) fn try_connect(address: SocketAddr) -> Option<Client> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let (socket, _) = tungstenite::client::client_with_config(format!("ws://{address}/v1/texto"), stream, Some(config)).ok()?;
        let mut client = Client { socket, id: String::new() };
        let Came::Message(greeting) = client.next() else { return None };
        client.id = greeting["data"]["client_id"].as_str()?.to_owned();
        Some(client)
    }

    /// A WebSocket on `target`, such as `/v1/texto?nogreet=1`; the greeting, if any, is still to be read.
    pub(crate) fn connect_to(address: SocketAddr, target: &str) -> Client {
        Client::upgrade(Http::connect(address), target)
    }

    /// Makes a WebSocket of a connection on which nothing has been said.
    pub(crate) fn upgrade(mut http: Http, target: &str) -> Client {
        http.write(UPGRADE.replace("/v1/texto", target).as_bytes());
        Client::adopt(http)
    }

    /// Makes a WebSocket of a connection on which an upgrade has been asked for.
    pub(crate) fn adopt(mut http: Http) -> Client {
        let response = http.response();
        assert_eq!(response.status, 101, "{response:?}");
        Client::adopt_upgraded(http)
    }

    /// Makes a WebSocket of a connection whose upgrade has been granted.
    pub(crate) fn adopt_upgraded(http: Http) -> Client {
        let (stream, rest) = http.into_parts();
        // Small, because some tests have thousands of clients.
        let config = WebSocketConfig::default().read_buffer_size(4096);
        Client { socket: WebSocket::from_partially_read(stream, rest, Role::Client, Some(config)), id: String::new() }
    }

    /// Notes the session of a client that was not greeted by [`Client::connect`].
    pub(crate) fn set_id(&mut self, id: &str) {
        id.clone_into(&mut self.id);
    }

    /// The session.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The number of the event loop that serves this client: it is written in its id.
    pub(crate) fn event_loop(&self) -> u8 {
        u8::from_str_radix(&self.id[6..8], 16).expect("an id is hexadecimal")
    }

    /// The socket.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    /// Keeps the connection and lets go of everything else.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.socket.into_inner()
    }

    /// Says any bytes. A node that has hung up does not make this fail: what it said before is still to be read.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _refused = self.stream().write_all(bytes);
    }

    /// Says one frame with this first byte.
    pub(crate) fn frame(&mut self, first: u8, payload: &[u8]) {
        self.write(&frame(first, payload));
    }

    /// Says one text message.
    pub(crate) fn say(&mut self, text: &str) {
        self.frame(0x81, text.as_bytes());
    }

    /// Asks for `text` to be handed to `receiver`, and returns the id of the request.
    pub(crate) fn send(&mut self, receiver: &str, text: &str) -> String {
        let (request, id) = self.request(receiver, text);
        self.say(&request);
        id
    }

    /// The JSON of a send, and its id.
    pub(crate) fn request(&self, receiver: &str, text: &str) -> (String, String) {
        let id = id();
        let request = json!({"client_id": self.id, "id": id, "kind": "send", "data": {"receiver_id": receiver, "text": text}});
        (request.to_string(), id)
    }

    /// Sends, and waits for the `ack`.
    pub(crate) fn deliver(&mut self, receiver: &str, text: &str) {
        let id = self.send(receiver, text);
        let ack = self.expect("ack");
        assert_eq!(ack["id"], id);
    }

    /// The next message, which is of this kind.
    pub(crate) fn expect(&mut self, kind: &str) -> Value {
        match self.next() {
            Came::Message(message) if message["kind"] == kind => message,
            other => panic!("{}: expected a message of kind {kind}, got {other:?}", self.id),
        }
    }

    /// The next message, whatever pings come before it.
    pub(crate) fn next_message(&mut self) -> Value {
        loop {
            match self.next() {
                Came::Message(message) => return message,
                Came::Ping(_) => {}
                other => panic!("{}: expected a message, got {other:?}", self.id),
            }
        }
    }

    /// The next message, which is a `receive`: its text.
    pub(crate) fn receive(&mut self) -> String {
        self.expect("receive")["data"]["text"].as_str().expect("a text is a string").to_owned()
    }

    /// Skips messages and pings until a Close frame comes; its code.
    pub(crate) fn expect_close(&mut self) -> Option<u16> {
        loop {
            match self.next() {
                Came::Message(_) | Came::Ping(_) | Came::Pong(_) => {}
                Came::Close(code, _) => return code,
                other => panic!("{}: expected a Close, got {other:?}", self.id),
            }
        }
    }

    /// Reads until the connection has ended, by a close or by a reset.
    pub(crate) fn expect_end(&mut self) {
        loop {
            match self.next() {
                Came::End | Came::Reset => return,
                Came::Nothing => panic!("{}: the node does not end the connection", self.id),
                Came::Message(_) | Came::Ping(_) | Came::Pong(_) | Came::Close(..) => {}
            }
        }
    }

    /// Whether the node does what it should for this client: a message to itself goes there and back.
    pub(crate) fn check(&mut self) {
        let id = self.id.clone();
        self.deliver(&id, "are you there?");
        assert_eq!(self.receive(), "are you there?");
    }

    /// What comes next, waited for with patience.
    pub(crate) fn next(&mut self) -> Came {
        self.next_within(PATIENCE)
    }

    /// What comes next within `time`.
    pub(crate) fn next_within(&mut self, time: Duration) -> Came {
        self.stream().set_read_timeout(Some(time)).expect("a socket has a read timeout");
        let read = self.socket.read();
        // Makes tungstenite write its pong, or its Close.
        let _refused = self.socket.flush();
        match read {
            Ok(Message::Text(text)) => Came::Message(serde_json::from_str(&text).expect("a node speaks JSON")),
            Ok(Message::Ping(payload)) => Came::Ping(payload.to_vec()),
            Ok(Message::Pong(payload)) => Came::Pong(payload.to_vec()),
            Ok(Message::Close(None)) => Came::Close(None, String::new()),
            Ok(Message::Close(Some(close))) => Came::Close(Some(close.code.into()), close.reason.to_string()),
            Ok(other) => panic!("a node says no such thing: {other:?}"),
            Err(error) => came(&error),
        }
    }

    /// Closes the sending side.
    pub(crate) fn half_close(&mut self) {
        self.stream().shutdown(Shutdown::Write).expect("an open socket can be shut down");
    }

    /// Resets the connection: what is on its way in either direction is lost.
    pub(crate) fn reset(mut self) {
        socket2::SockRef::from(&*self.stream()).set_linger(Some(Duration::ZERO)).expect("a socket can be told to linger");
    }
}

fn came(error: &tungstenite::Error) -> Came {
    match error {
        tungstenite::Error::Io(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Came::Nothing,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Came::Reset,
            ErrorKind::UnexpectedEof => Came::End,
            other => panic!("reading failed: {other}"),
        },
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Came::End,
        other => panic!("a node does not break the protocol: {other}"),
    }
}

/// A UUID that no other request of this test program has.
pub(crate) fn id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("00000000-0000-4000-8000-{:012x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A frame with this first byte, masked, its length encoded in as few bytes as it takes.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0x13, 0xc8, 0x77];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
