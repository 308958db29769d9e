//! How a connection comes in: past the limits of the [`Gate`], and by whom it is counted.
//!
//! A slot has no room for an address, and an idle connection needs none. Where connections are counted by address, whose a connection is
//! stands in a table beside the slots; elsewhere that table does not exist.

use std::net::IpAddr;

use super::connection::{Connection, First, Peer};
use super::gate::{Gate, ProxyProtocol};
use super::limit::{Introduction, Limit};
use super::peers::{Key, Peers};
use crate::wire::address::Source;
use crate::wire::upgrade::Refusal;

/// Whose a connection is, where that is counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Visitor {
    /// Nobody's: it is not counted.
    #[default]
    Unknown,
    /// A trusted proxy's, which has still to say for whom it speaks.
    Proxy(Option<Source>),
    /// It is counted as this one's.
    Counted(Source),
}

impl<S> Peers<S> {
    /// A connection from `peer` has been accepted. `None`: it is refused, and so many are being told so that this one is closed without a word.
    pub(super) fn arrive(&mut self, socket: S, peer: Option<IpAddr>) -> Option<Key> {
        let is_trusted = self.gate.trusts(peer);
        let admitted = self.admit(peer, is_trusted);
        if admitted.is_err() && !self.gate.may_tell() {
            return None;
        }
        let first = match (self.gate.settings().proxy_protocol, is_trusted) {
            (ProxyProtocol::Off, _) | (ProxyProtocol::Accept, false) => First::RequestHead,
            (ProxyProtocol::Accept | ProxyProtocol::Require, true) => First::ProxyHeader,
            (ProxyProtocol::Require, false) => First::Nothing,
        };
        let key = self.insert(socket, first);
        match admitted {
            Ok(visitor) => self.note_visitor(key, visitor),
            Err(limit) => drop(self.refused.insert(key.slot(), limit)),
        }
        Some(key)
    }

    fn admit(&mut self, peer: Option<IpAddr>, is_trusted: bool) -> Result<Visitor, Limit> {
        let source = peer.map(Source::of);
        let visitor = match source {
            _ if !self.gate.counts_addresses() => Visitor::Unknown,
            proxy if is_trusted => Visitor::Proxy(proxy),
            None => Visitor::Unknown,
            Some(source) => self.gate.count(source, &mut self.tally).map(|()| Visitor::Counted(source))?,
        };
        let entered = self.gate.enter(self.now, &mut self.tally);
        entered.map(|()| visitor).inspect_err(|_| self.forget_visitor(visitor))
    }

    /// The proxy on the connection `key` has said for whom it speaks, or that it speaks for nobody.
    pub(super) fn introduce(&mut self, key: Key, client: Option<IpAddr>) -> Result<(), Limit> {
        let Some(client) = client else {
            self.tally.count_introduction(Introduction::Proxy);
            // It passes on bytes and looks into none: what the request says of a client are the client's own words.
            return match self.visitor(key) {
                Visitor::Proxy(proxy) => self.count_visitor(key, proxy),
                Visitor::Unknown | Visitor::Counted(_) => Ok(()),
            };
        };
        self.tally.count_introduction(Introduction::Client);
        match self.visitor(key) {
            Visitor::Unknown | Visitor::Counted(_) => Ok(()),
            // A chain of proxies: the next may be named in the request.
            Visitor::Proxy(_) if self.gate.trusts(Some(client)) => {
                self.note_visitor(key, Visitor::Proxy(Some(Source::of(client))));
                Ok(())
            }
            Visitor::Proxy(_) => self.count_visitor(key, Some(Source::of(client))),
        }
    }

    /// The request of a trusted proxy names its client, or does not, and then the proxy itself is the client.
    pub(super) fn settle_visitor(&mut self, key: Key, client: impl FnOnce(&Gate) -> Option<IpAddr>) -> Result<(), Limit> {
        let Visitor::Proxy(proxy) = self.visitor(key) else { return Ok(()) };
        let client = client(&self.gate).map(Source::of);
        self.count_visitor(key, client.or(proxy))
    }

    fn count_visitor(&mut self, key: Key, source: Option<Source>) -> Result<(), Limit> {
        let Some(source) = source else { return Ok(()) };
        self.gate.count(source, &mut self.tally)?;
        self.note_visitor(key, Visitor::Counted(source));
        Ok(())
    }

    fn visitor(&self, key: Key) -> Visitor {
        self.visitors.get(key.slot() as usize).copied().unwrap_or_default()
    }

    fn note_visitor(&mut self, key: Key, visitor: Visitor) {
        let slot = key.slot() as usize;
        if self.gate.counts_addresses() {
            if self.visitors.len() <= slot {
                self.visitors.resize(slot + 1, Visitor::Unknown);
            }
            self.visitors[slot] = visitor;
        }
    }

    fn forget_visitor(&self, visitor: Visitor) {
        if let Visitor::Counted(source) = visitor {
            self.gate.forget(source);
        }
    }

    /// Why the connection was refused when it came or was introduced, if it was.
    pub(super) fn refusal(&self, key: Key) -> Option<Refusal> {
        let on_arrival = self.refused.get(&key.slot()).copied().map(Refusal::from);
        match self.peer(key).map(|peer| &peer.connection) {
            Some(Connection::Opening { first: First::ExcessHead, .. }) => Some(Refusal::TooManyFromAddress),
            _ => on_arrival,
        }
    }

    /// The connection is about to leave its opening handshake behind, if it is in one.
    pub(super) fn leave_opening(&mut self, key: Key) {
        if let Some(Peer { connection: Connection::Opening { .. }, .. }) = self.peer(key)
            && !self.refused.contains_key(&key.slot())
        {
            self.gate.end_handshake();
        }
    }

    /// The connection that had `slot` has gone.
    pub(super) fn depart(&mut self, slot: u32) {
        // Mostly nobody is, and then nothing is to be hashed.
        match self.refused.is_empty() || self.refused.remove(&slot).is_none() {
            true => self.gate.leave(),
            false => self.gate.forget_refused(),
        }
        if let Some(visitor) = self.visitors.get_mut(slot as usize).map(std::mem::take) {
            self.forget_visitor(visitor);
        }
    }
}
