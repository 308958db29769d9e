//! Texto's protocol on tokio and tokio-tungstenite: the server most people would write, on one thread.
//!
//! Usage: `tokio-tungstenite HOST:PORT [default | small]`. `default` leaves tungstenite's buffers as they are; `small` makes them 1 KiB.
//!
//! Fair on purpose: one task per connection without a lock, ids as integers, JSON borrowed from the frame and the text passed on raw, and
//! all that waits for a connection is written in one flush. Only `send` is answered; refused messages, pings on idle, limits on
//! connections, metrics and Redis are left out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, Utf8Bytes};
use uuid::Uuid;

/// Who is connected, and where their messages go.
type Directory = Rc<RefCell<HashMap<Uuid, UnboundedSender<Utf8Bytes>>>>;

#[derive(Deserialize)]
struct Envelope<'a> {
    id: Uuid,
    #[serde(borrow)]
    kind: &'a str,
    #[serde(borrow)]
    data: Option<Directed<'a>>,
}

#[derive(Deserialize)]
struct Directed<'a> {
    receiver_id: Uuid,
    #[serde(borrow)]
    text: &'a RawValue,
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let listener = texto_peers::listen(arguments.next().as_deref())?;
    let config = match arguments.next().as_deref() {
        None | Some("default") => WebSocketConfig::default(),
        Some("small") => WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(1024),
        Some(other) => return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{other}: not `default` or `small`"))),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, accept(listener, config))
}

async fn accept(listener: std::net::TcpListener, config: WebSocketConfig) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let directory = Directory::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let directory = Rc::clone(&directory);
        tokio::task::spawn_local(async move {
            let Ok(socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await else { return };
            let me = Uuid::new_v4();
            let (mailbox, mail) = unbounded_channel();
            directory.borrow_mut().insert(me, mailbox);
            // However a connection ends, its task ends with it; the reason is of no interest here.
            let _ended = converse(socket, me, mail, &directory).await;
            directory.borrow_mut().remove(&me);
        });
    }
}

async fn converse(
    mut socket: WebSocketStream<TcpStream>,
    me: Uuid,
    mut mail: UnboundedReceiver<Utf8Bytes>,
    directory: &Directory,
) -> Result<(), Error> {
    socket.send(Message::Text(greeting(me))).await?;
    loop {
        tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    if let Some(answer) = route(me, &text, directory) {
                        socket.feed(Message::Text(answer)).await?;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            Some(text) = mail.recv() => socket.feed(Message::Text(text)).await?,
        }
        while let Ok(text) = mail.try_recv() {
            socket.feed(Message::Text(text)).await?;
        }
        socket.flush().await?;
    }
}

/// Hands a message to its receiver's task and answers its sender.
fn route(me: Uuid, text: &str, directory: &Directory) -> Option<Utf8Bytes> {
    let envelope: Envelope<'_> = serde_json::from_str(text).ok()?;
    let directed = envelope.data.filter(|_| envelope.kind == "send")?;
    let receiver_id = directed.receiver_id;
    if let Some(mailbox) = directory.borrow().get(&receiver_id) {
        let (id, said) = (Uuid::new_v4(), directed.text.get());
        let receive =
            format!(r#"{{"client_id":"{receiver_id}","id":"{id}","kind":"receive","data":{{"sender_id":"{me}","text":{said}}}}}"#);
        // Gone in this very moment: acknowledged and dropped, as for an id that nobody holds.
        let _gone = mailbox.send(receive.into());
    }
    let id = envelope.id;
    Some(format!(r#"{{"client_id":"{me}","id":"{id}","kind":"ack","data":null}}"#).into())
}

fn greeting(me: Uuid) -> Utf8Bytes {
    let id = Uuid::new_v4();
    format!(r#"{{"client_id":"{me}","id":"{id}","kind":"connection","data":{{"client_id":"{me}"}}}}"#).into()
}
