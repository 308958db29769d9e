//! What comes in: a request head first, then frames, and at the end the client's Close.
//!
//! Everything is decided from the bytes at hand; what is not whole is kept in the connection's box until more comes.

use super::connection::{Connection, Farewell, First, Input, Peer, Phase};
use super::{CloseReason, Hub, Introduction, Key, Limit, Message, MessageHandler, ProxyProtocol};
use crate::limits::HEAD_BYTES_MAX;
use crate::wire::message::{self, Event, Partial};
use crate::wire::proxy::{self, Found};
use crate::wire::upgrade::{self, Asked, Method, Opening, Refusal};

impl<S, M: MessageHandler> Hub<S, M> {
    /// The first bytes of a connection, or the next of them.
    pub(super) fn receive_opening(&mut self, key: Key, first: First, bytes: &mut [u8]) {
        match first {
            First::RequestHead | First::ExcessHead => self.receive_head(key, bytes),
            First::ProxyHeader => self.receive_proxy_header(key, bytes),
            First::Nothing => self.refuse_introduction(key, Introduction::Untrusted, "connections come through a proxy here"),
        }
    }

    /// Bytes of a PROXY header, or of one that began before, and what follows it.
    fn receive_proxy_header(&mut self, key: Key, bytes: &mut [u8]) {
        let mut stored = self.take_head(key);
        let bytes = match stored.is_empty() {
            true => bytes,
            false => {
                stored.extend_from_slice(bytes);
                &mut stored
            }
        };
        let is_required = self.peers.gate.settings().proxy_protocol == ProxyProtocol::Require;
        match proxy::read(bytes) {
            Found::Incomplete => self.peers.with_work(key, |work| work.input = Input::Head(bytes.to_vec())),
            Found::Malformed(what) => self.refuse_introduction(key, Introduction::Malformed, what),
            Found::Absent if is_required => self.refuse_introduction(key, Introduction::Missing, "the PROXY header is missing"),
            Found::Absent => {
                self.peers.tally.count_introduction(Introduction::Absent);
                self.begin_request(key, First::RequestHead, bytes);
            }
            Found::Header { len, client } => {
                let is_excess = self.peers.introduce(key, client).is_err();
                self.begin_request(key, if is_excess { First::ExcessHead } else { First::RequestHead }, &mut bytes[len..]);
            }
        }
    }

    fn begin_request(&mut self, key: Key, kind: First, bytes: &mut [u8]) {
        if let Some(Peer { connection: Connection::Opening { first, .. }, .. }) = self.peers.peer_mut(key) {
            *first = kind;
        }
        match bytes {
            [] => self.peers.release(key),
            bytes => self.read_head(key, bytes),
        }
    }

    fn refuse_introduction(&mut self, key: Key, introduction: Introduction, what: &'static str) {
        self.peers.tally.count_introduction(introduction);
        self.refuse(key, Refusal::Malformed(what), Method::Get);
    }

    fn take_head(&mut self, key: Key) -> Vec<u8> {
        let stored = self.peers.peer_mut(key).and_then(|peer| peer.connection.work()).map(|work| std::mem::take(&mut work.input));
        match stored {
            Some(Input::Head(head)) => head,
            Some(Input::None | Input::Message(_)) | None => Vec::new(),
        }
    }

    /// Bytes of a request head, or of one that began before.
    fn receive_head(&mut self, key: Key, bytes: &mut [u8]) {
        let mut stored = Input::None;
        self.peers.with_work(key, |work| stored = std::mem::take(&mut work.input));
        let Input::Head(mut head) = stored else { return self.read_head(key, bytes) };
        // A head that ends, ends with a line: no line, nothing to read again.
        let may_be_whole = bytes.contains(&b'\n') || head.len() + bytes.len() >= HEAD_BYTES_MAX;
        head.extend_from_slice(bytes);
        if may_be_whole {
            self.read_head(key, &mut head);
        } else {
            self.peers.with_work(key, |work| work.input = Input::Head(head));
        }
    }

    fn read_head(&mut self, key: Key, bytes: &mut [u8]) {
        let head_len = match upgrade::read(bytes, self.peers.settings.endpoint) {
            Asked::Incomplete => return self.peers.with_work(key, |work| work.input = Input::Head(bytes.to_vec())),
            Asked::Refused(refusal, method) => return self.refuse(key, refusal, method),
            Asked::Page { path, method, known } => {
                return match self.handler.page(path) {
                    None => self.refuse(key, Refusal::NotFound, method),
                    Some(page) => {
                        let status = page.status_code(method, known);
                        self.answer(key, status, |out| page.write(out, method, known));
                    }
                };
            }
            Asked::WebSocket(opening) => match self.admission(key, &opening) {
                Err(refusal) => return self.refuse(key, refusal, Method::Get),
                Ok(()) => {
                    self.switch(key, &opening);
                    opening.head_len
                }
            },
        };
        self.receive_frames(key, &mut bytes[head_len..]);
    }

    fn admission(&mut self, key: Key, opening: &Opening<'_>) -> Result<(), Refusal> {
        let peers = &mut self.peers;
        if self.drain.is_some() {
            return Err(Refusal::Draining);
        }
        if let Some(refusal) = peers.refusal(key) {
            return Err(refusal);
        }
        if !peers.gate.settings().allowed_origins.allow(opening.origin) {
            peers.gate.hit(Limit::Origin, &mut peers.tally)?;
        }
        peers.settle_visitor(key, |gate| opening.forwarded.client(&gate.settings().trusted_proxies))?;
        Ok(())
    }

    /// The 101: from here on the client has a session.
    fn switch(&mut self, key: Key, opening: &Opening<'_>) {
        let now = self.peers.now.stamp();
        if let Some(out) = self.peers.append(key) {
            opening.write(out);
        }
        self.peers.leave_opening(key);
        if let Some(peer) = self.peers.peer_mut(key) {
            let work = peer.connection.work_place().and_then(Option::take);
            peer.connection = Connection::Open { is_pinged: false, debt: 0, heard: now, work };
            self.peers.list(key);
            self.peers.tally.count_response(101);
            self.handler.opened(&mut self.peers, key, opening);
        }
    }

    pub(super) fn refuse(&mut self, key: Key, refusal: Refusal, method: Method) {
        self.peers.tally.refused[refusal.label_index()] += 1;
        self.answer(key, refusal.code(), |out| refusal.write(out, method));
    }

    /// An HTTP response, after which the connection ends.
    fn answer(&mut self, key: Key, status: u16, write: impl FnOnce(&mut Vec<u8>)) {
        let reason = if status == 408 { CloseReason::SlowHead } else { CloseReason::Answered };
        self.peers.begin_closing(key, Phase::Lingering, reason);
        self.peers.tally.count_response(status);
        if let Some(out) = self.peers.append(key) {
            write(out);
        }
    }

    /// Bytes of an open connection. Returns how many messages and control frames there were in them.
    pub(super) fn receive_frames(&mut self, key: Key, bytes: &mut [u8]) -> usize {
        let limits = self.peers.settings.message;
        let mut partial = self.take_partial(key);
        let had_partial = partial.is_some();
        let mut is_older = had_partial;
        let mut input = bytes;
        let mut messages = 0;
        loop {
            match message::next(&mut partial, &mut input, limits) {
                Ok(Some(event)) => self.act(key, event),
                Ok(None) => break,
                Err(violation) => {
                    self.peers.fail(key, violation);
                    return messages;
                }
            }
            messages += 1;
            // What was incomplete before may have ended; the message that begins behind it has a time of its own.
            is_older &= partial.as_ref().is_some_and(|partial| partial.is_in_message());
            if !self.peers.is_heard(key) {
                return messages;
            }
        }
        match partial {
            Some(partial) => self.put_partial(key, partial, is_older),
            None if had_partial => self.peers.release(key),
            None => {}
        }
        messages
    }

    fn act(&mut self, key: Key, event: Event<'_>) {
        match event {
            Event::Text(text) => self.receive_message(key, Message::Text(text)),
            Event::Binary(bytes) => self.receive_message(key, Message::Binary(bytes)),
            Event::Ping(payload) => {
                self.peers.tally.pings_received += 1;
                self.peers.pong(key, payload);
            }
            Event::Pong => {}
            Event::Close(code) => self.peers.let_go(key, Farewell::Close(code), CloseReason::ClosedByPeer),
        }
    }

    fn receive_message(&mut self, key: Key, message: Message<'_>) {
        if message.len() > self.peers.gate.settings().message_bytes_tried {
            self.peers.tally.limit_hits_dry[Limit::MessageSize as usize] += 1;
        }
        self.handler.message(&mut self.peers, key, message);
    }

    /// We have sent Close, and look for the client's among what it had still to say. If it is only sent away, that is handed on, though it
    /// cannot be answered any more.
    pub(super) fn receive_close(&mut self, key: Key, reason: CloseReason, bytes: &mut [u8]) {
        let limits = self.peers.settings.message;
        let is_heard = reason == CloseReason::Draining;
        let mut partial = self.take_partial(key);
        let mut input = bytes;
        loop {
            match message::next(&mut partial, &mut input, limits) {
                Ok(Some(Event::Text(text))) if is_heard => self.receive_message(key, Message::Text(text)),
                Ok(Some(Event::Text(_) | Event::Binary(_) | Event::Ping(_) | Event::Pong)) => {}
                Ok(Some(Event::Close(_))) | Err(_) => return self.end_after_flush(key, reason),
                Ok(None) => return partial.map_or((), |partial| self.put_partial(key, partial, true)),
            }
        }
    }

    fn take_partial(&mut self, key: Key) -> Option<Box<Partial>> {
        let work = self.peers.peer_mut(key)?.connection.work()?;
        match std::mem::take(&mut work.input) {
            Input::Message(partial) => Some(partial),
            Input::None | Input::Head(_) => None,
        }
    }

    /// Keeps what is incomplete. The deadline of a message counts from its first byte, so an older one goes on counting.
    fn put_partial(&mut self, key: Key, partial: Box<Partial>, is_older: bool) {
        let now = self.peers.now.stamp();
        self.peers.with_work(key, |work| {
            work.input = Input::Message(partial);
            if !is_older {
                work.input_since = now;
            }
        });
    }
}
