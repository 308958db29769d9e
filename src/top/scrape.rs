//! One look at a node: `GET /metrics`, within a time and up to a size.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::readings::Reading;
use crate::limits::TOP_PAGE_BYTES_MAX;

/// Time for a node to answer. It needs a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no reading of a node.
#[derive(Debug)]
pub(super) enum ScrapeError {
    /// Nobody could be asked, or nothing came back.
    Silent(String, io::Error),
    /// Somebody answered, who is no node.
    Stranger(String),
}

impl fmt::Display for ScrapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScrapeError::Silent(address, error) => write!(f, "{address} does not answer: {error}"),
            ScrapeError::Stranger(address) => write!(f, "{address} answers, but is not the operator's address of a node"),
        }
    }
}

/// What the node at `address` tells now.
pub(super) fn scrape(address: &str) -> Result<Reading, ScrapeError> {
    let response = fetch(address).map_err(|error| ScrapeError::Silent(address.to_owned(), error))?;
    let at = Instant::now();
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let page = page_of(&response).ok_or_else(|| ScrapeError::Stranger(address.to_owned()))?;
    Ok(Reading::parse(page, at, since_epoch))
}

/// The whole response.
fn fetch(address: &str) -> io::Result<String> {
    let end = Instant::now() + PATIENCE;
    let mut stream = connect(address)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let (mut response, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || response.len() > TOP_PAGE_BYTES_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(String::from_utf8_lossy(&response).into_owned()),
            Ok(len) => response.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
    }
}

/// A connection to the first of the name's addresses that takes one.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The body of a response of a node, whole.
fn page_of(response: &str) -> Option<&str> {
    let (head, body) = response.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse::<usize>().ok()?;
    (head.starts_with("HTTP/1.1 200 ") && body.len() == length && body.contains("\ntexto_build_info{")).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_page_of_a_node_is_taken() {
        let body = "# TYPE texto_build_info gauge\ntexto_build_info{version=\"1\"} 1\n";
        let response = |status: &str, length: usize| format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        assert_eq!(page_of(&response("200 OK", body.len())), Some(body));
        for other in [
            response("404 Not Found", body.len()),
            response("200 OK", body.len() + 1),
            response("200 OK", body.len()).replace("texto_", "other_"),
            "HTTP/1.1 200 OK\r\n\r\n".to_owned() + body,
            "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
            String::new(),
        ] {
            assert_eq!(page_of(&other), None, "{other:?}");
        }
    }
}
