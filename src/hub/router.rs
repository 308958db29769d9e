//! The message handler of Texto: envelopes in, answers and deliveries out. The one place where a message is routed.
//!
//! ```text
//!   send to …          the message goes                           the ack comes
//!   this loop          into the recipient's outbox                at once
//!   a sibling loop     to its mailbox, as a Forward               when the mailbox has taken it
//!   elsewhere          to Redis, as a Forward                     when Redis has answered
//!   nobody             nowhere, if there is no other node to ask  at once
//! ```
//!
//! Which of them it is, is written in the recipient's id. A client of this loop that is not found may still be one of another node
//! that drew the same tag, so Redis is asked before the message is dropped.

use super::tally::Heard;
use super::{Charge, CloseReason, Key, Message, MessageHandler, Peers};
use crate::limits::FRAME_HEADER_BYTES_MAX;
use crate::wire::answer::{Answer, Body};
use crate::wire::delivery::{Delivery, Request, Settlement};
use crate::wire::envelope::{Envelope, Refused, Said};
use crate::wire::id::{ClientId, MessageId, SpelledId};
use crate::wire::reject::Reject;
use crate::wire::text::Text;
use crate::wire::upgrade::{Opening, Page};

/// A message that has to leave its loop. It is answered through [`MessageHandler::settle`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    /// The message.
    pub delivery: Delivery,
    /// Who waits for the answer.
    pub request: Request,
    /// Which way it goes.
    pub route: Route,
}

/// The way of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// To the loop of this number on the same node.
    Sibling(u8),
    /// To whatever node holds the recipient.
    Broker,
}

/// What Texto says to its clients.
#[derive(Debug)]
pub struct Router {
    loops: usize,
    has_broker: bool,
    pages: &'static [(&'static str, Page)],
    forwards: Vec<Forward>,
}

impl Router {
    /// A router on a node with as many `loops`; `has_broker` if there may be other nodes.
    pub fn new(loops: usize, has_broker: bool, pages: &'static [(&'static str, Page)]) -> Router {
        Router { loops, has_broker, pages, forwards: Vec::new() }
    }

    fn route<S>(&mut self, peers: &mut Peers<S>, from: &Client, id: MessageId, receiver: ClientId, text: Text<'_>) {
        if let Some(recipient) = peers.find(receiver) {
            peers.tally.sends_to_loop += 1;
            say(peers, from, id, Body::Ack);
            receive(peers, recipient, &from.id, text);
            return;
        }
        let Some(route) = self.way_to(receiver, peers) else {
            peers.tally.sends_to_nobody += 1;
            say(peers, from, id, Body::Ack);
            return;
        };
        match route {
            Route::Sibling(_) => peers.tally.sends_to_sibling += 1,
            Route::Broker => peers.tally.sends_to_broker += 1,
        }
        peers.expect_answer(from.key);
        let client = from.id.id();
        let delivery = Delivery { to: receiver, from: client, text: text.to_owned() };
        self.forwards.push(Forward { delivery, request: Request { client, id }, route });
    }

    /// Where a client that is not on this loop may be.
    fn way_to<S>(&self, receiver: ClientId, peers: &Peers<S>) -> Option<Route> {
        let (tag, this_loop) = peers.place();
        let there = receiver.event_loop();
        let is_sibling = receiver.tag() == tag && there != this_loop && usize::from(there) < self.loops;
        match (is_sibling, self.has_broker) {
            (true, _) => Some(Route::Sibling(there)),
            (false, true) => Some(Route::Broker),
            (false, false) => None,
        }
    }
}

/// A client that something is said to.
struct Client {
    key: Key,
    id: SpelledId,
}

impl Client {
    fn of<S>(peers: &Peers<S>, key: Key) -> Option<Client> {
        peers.client_id(key).map(|id| Client { key, id: id.into() })
    }
}

impl MessageHandler for Router {
    fn opened<S>(&mut self, peers: &mut Peers<S>, key: Key, opening: &Opening<'_>) {
        if !opening.has_parameter("nogreet") {
            let Some(client) = Client::of(peers, key) else { return };
            let id = peers.message_id();
            say(peers, &client, id, Body::Connection);
        }
    }

    fn message<S>(&mut self, peers: &mut Peers<S>, key: Key, message: Message<'_>) {
        let Some(client) = Client::of(peers, key) else { return };
        let parsed = match message {
            Message::Text(text) => Envelope::parse(text, &client.id),
            Message::Binary(_) => Err(Refused { id: None, reject: Reject::Binary }),
        };
        // A client that acknowledges what others send it must not run into a limit of its own.
        let is_notice = matches!(parsed, Ok(Envelope { said: Said::Ack | Said::Error, .. }));
        let charge = if is_notice { Charge::Within } else { peers.charge_message(key) };
        let is_within_rate = charge == Charge::Within;
        peers.tally.count_message(if is_within_rate { heard(&parsed) } else { Heard::Refused });
        match parsed {
            Ok(envelope) if !is_within_rate => reject(peers, &client, Some(envelope.id), Reject::TooManyMessages),
            Err(refused) if !is_within_rate => reject(peers, &client, refused.id, Reject::TooManyMessages),
            Err(refused) => reject(peers, &client, refused.id, refused.reject),
            Ok(Envelope { id, said: Said::Registration }) => say(peers, &client, id, Body::Connection),
            Ok(Envelope { id, said: Said::Send { receiver, text } }) => self.route(peers, &client, id, receiver, text),
            Ok(Envelope { said: Said::Ack | Said::Error, .. }) => {}
        }
        if charge == Charge::FarAbove {
            peers.dismiss(key, CloseReason::Flooding);
        }
    }

    fn page(&mut self, path: &str) -> Option<Page> {
        self.pages.iter().find(|(known, _)| *known == path).map(|(_, page)| page.clone())
    }

    fn deliver<S>(&mut self, peers: &mut Peers<S>, delivery: &Delivery) -> bool {
        let recipient = peers.find(delivery.to);
        let is_delivered = recipient.is_some_and(|key| receive(peers, key, &delivery.from.into(), delivery.text.borrow()));
        match is_delivered {
            true => peers.tally.deliveries += 1,
            false => peers.tally.deliveries_dropped += 1,
        }
        recipient.is_some()
    }

    fn settle<S>(&mut self, peers: &mut Peers<S>, settlement: Settlement) {
        let Some(key) = peers.take_answered(settlement.request.client) else { return };
        let client = Client { key, id: settlement.request.client.into() };
        match settlement.outcome {
            Ok(()) => say(peers, &client, settlement.request.id, Body::Ack),
            Err(refusal) => reject(peers, &client, Some(settlement.request.id), Reject::NotHandedOn(refusal)),
        }
        peers.farewell(key);
    }

    fn forwards(&mut self) -> Option<&mut Vec<Forward>> {
        Some(&mut self.forwards)
    }
}

/// What a message is counted as.
fn heard(parsed: &Result<Envelope<'_>, Refused>) -> Heard {
    match parsed {
        Ok(Envelope { said: Said::Registration, .. }) => Heard::Registration,
        Ok(Envelope { said: Said::Send { .. }, .. }) => Heard::Send,
        Ok(Envelope { said: Said::Ack, .. }) => Heard::Ack,
        Ok(Envelope { said: Said::Error, .. }) => Heard::Error,
        Err(_) => Heard::Refused,
    }
}

/// Answers one request, or says something of the server's own.
fn say<S>(peers: &mut Peers<S>, client: &Client, id: MessageId, body: Body<'_>) {
    owe(peers, client.key, &Answer { client: &client.id, id, body });
}

fn reject<S>(peers: &mut Peers<S>, client: &Client, id: Option<MessageId>, reject: Reject) {
    peers.tally.count_reject(reject);
    let id = id.unwrap_or_else(|| peers.message_id());
    say(peers, client, id, Body::Error(reject));
}

/// Hands a message to its recipient. Returns whether it was put into the queue.
fn receive<S>(peers: &mut Peers<S>, recipient: Key, sender: &SpelledId, text: Text<'_>) -> bool {
    let Some(client) = Client::of(peers, recipient) else { return false };
    let answer = Answer { client: &client.id, id: peers.message_id(), body: Body::Receive { sender, text } };
    // Another implementation's node may have larger limits. What would never fit is no fault of the reader.
    if answer.json_len() + FRAME_HEADER_BYTES_MAX > peers.outbox_bytes_max() {
        return false;
    }
    owe(peers, recipient, &answer)
}

/// Puts an answer into the queue of its client. Returns whether it did.
fn owe<S>(peers: &mut Peers<S>, key: Key, answer: &Answer<'_>) -> bool {
    let Some(out) = peers.owe(key, answer.json_len() + FRAME_HEADER_BYTES_MAX) else { return false };
    answer.write(out);
    peers.tally.said[answer.body.kind_index()] += 1;
    true
}
