//! Request heads: what comes after a head changes nothing, what is decided from a part of it stays so, every answer is a response of
//! HTTP, and tungstenite takes what Texto takes, with the same key.

use texto::wire::upgrade::{self, Asked, Method, Opening, Page, Refusal};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response};

const ENDPOINT: Option<&str> = Some("/v1/texto");

pub(crate) fn check(bytes: &[u8]) {
    let asked = upgrade::read(bytes, ENDPOINT);
    check_parts(bytes, &asked);
    match asked {
        Asked::Incomplete => {}
        Asked::WebSocket(opening) => check_opening(&bytes[..opening.head_len], &opening),
        Asked::Page { path, method, known } => {
            assert!(path.starts_with('/') && !path.contains('?'), "{path}");
            check_response(Refusal::NotFound, method);
            let page = Page { entity_tag: "\"a\"", ..Page::plain(b"a") };
            let mut response = Vec::new();
            page.write(&mut response, method, known);
            assert!(response.starts_with(format!("HTTP/1.1 {} ", page.status_code(method, known)).as_bytes()));
        }
        Asked::Refused(refusal, method) => check_response(refusal, method),
    }
}

/// A head that comes in two parts is waited for, or refused, but never understood before it is whole; and it is understood as if it had
/// come in one.
fn check_parts(bytes: &[u8], whole: &Asked<'_>) {
    for at in [bytes.len() / 4, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        match upgrade::read(&bytes[..at], ENDPOINT) {
            Asked::Incomplete => {}
            decided => assert_eq!(&decided, whole, "decided after {at} of {} bytes", bytes.len()),
        }
    }
    if *whole != Asked::Incomplete {
        let more = [bytes, b"\x81\x80\0\0\0\0"].concat();
        assert_eq!(&upgrade::read(&more, ENDPOINT), whole, "with a frame behind it");
    }
}

fn check_opening(head: &[u8], opening: &Opening<'_>) {
    assert!(head.ends_with(b"\n"), "a head ends with a line");
    let mut response = Vec::new();
    opening.write(&mut response);
    let response = std::str::from_utf8(&response).expect("a response is text");
    let (_, accept) = response.split_once("Sec-WebSocket-Accept: ").expect("a 101 has the key");
    let (accept, rest) = accept.split_at(28);
    assert_eq!(rest, "\r\n\r\n");
    let _any_answer_will_do = opening.has_parameter("nogreet");
    // tungstenite's parser of URIs is stricter, and so are its lists of tokens; it is asked about the rest.
    if let Ok(Some((len, request))) = Request::try_parse(head) {
        assert_eq!(len, head.len());
        if let Ok(theirs) = create_response(&request) {
            assert_eq!(theirs.headers()["Sec-WebSocket-Accept"], accept);
        }
    }
}

fn check_response(refusal: Refusal, method: Method) {
    let mut response = Vec::new();
    refusal.write(&mut response, method);
    let response = String::from_utf8(response).expect("a response is text");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head ends with an empty line");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok());
    assert_eq!(status, Some(refusal.code()));
    let fields: Vec<(&str, &str)> = lines.map(|line| line.split_once(": ").expect("a field has a name and a value")).collect();
    let value_of = |name| fields.iter().find(|field| field.0 == name).map(|field| field.1);
    assert_eq!(value_of("Connection"), Some("close"));
    let length = value_of("Content-Length").and_then(|length| length.parse().ok());
    assert_eq!(length.map(|length: usize| if method == Method::Head { 0 } else { length }), Some(body.len()));
}
