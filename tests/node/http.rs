//! One TCP connection to a node: bytes in, HTTP responses out.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;

/// A good request for a WebSocket.
pub(crate) const UPGRADE: &str = "GET /v1/texto HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A connection on which no WebSocket is open yet.
pub(crate) struct Http {
    stream: TcpStream,
    /// What has been read and not used.
    rest: Vec<u8>,
}

/// A response. After any other status than 101 its body has been read to the end of the connection.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a field, by its name in any case; it stands there at most once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        let value = found.next();
        assert_eq!(found.next(), None, "{name} is there twice: {self:?}");
        value
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("pages are UTF-8")
    }
}

impl Http {
    /// A connection on which nothing has been said.
    pub(crate) fn connect(address: SocketAddr) -> Http {
        Http::adopt(TcpStream::connect(address).expect("a node takes connections"))
    }

    /// The same over a socket that has been connected already.
    pub(crate) fn adopt(stream: TcpStream) -> Http {
        stream.set_nodelay(true).expect("a socket can be told not to wait");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket has a write timeout");
        Http { stream, rest: Vec::new() }
    }

    /// The socket.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The socket, and what has been read from it and not used.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.rest)
    }

    /// Says any bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the node takes bytes");
    }

    /// Says any bytes, to a node that may have hung up; whether it took them.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Closes the sending side.
    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open socket can be shut down");
    }

    /// Asks for a page.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Says a request and reads the response.
    pub(crate) fn ask(&mut self, request: &str) -> Response {
        self.write(request.as_bytes());
        self.response()
    }

    /// Reads a response. Its end is the end of the connection, which has to be an orderly one: no byte of the body is missing.
    pub(crate) fn response(&mut self) -> Response {
        let head_len = loop {
            if let Some(at) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.read_more(), "the connection ended within a head: {:?}", String::from_utf8_lossy(&self.rest));
        };
        let mut response = parse_head(&self.rest[..head_len]);
        self.rest.drain(..head_len);
        if response.status != 101 {
            while self.read_more() {}
            response.body = std::mem::take(&mut self.rest);
        }
        response
    }

    /// Reads up to the end of the connection.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.rest)
    }

    /// Whether the connection has been ended, by a close or a reset, after whatever the node had to say.
    pub(crate) fn wait_for_end(&mut self) {
        let mut bytes = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return,
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return,
                Ok(_) => {}
                Err(error) => panic!("the node does not end the connection: {error}"),
            }
        }
    }

    fn read_more(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        let len = self.stream.read(&mut bytes).expect("a response comes in time and whole");
        self.rest.extend_from_slice(&bytes[..len]);
        len > 0
    }
}

fn parse_head(head: &[u8]) -> Response {
    let head = std::str::from_utf8(head).expect("a head is text");
    let mut lines = head.trim_end().split("\r\n");
    let status_line = lines.next().expect("a head has a first line");
    let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse().ok());
    let fields = lines.map(|line| line.split_once(": ").expect("a field has a name and a value"));
    Response {
        status: status.unwrap_or_else(|| panic!("no status in {status_line:?}")),
        fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: Vec::new(),
    }
}
