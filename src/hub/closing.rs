//! How a connection comes to its end: who says the last word, and what is said before it.
//!
//! See the picture in `connection.rs`. What is owed is always said first; a client that leaves, or is sent away, while messages of it are
//! on their way, stays until they are answered.

use super::close_reason::CloseReason;
use super::connection::{Connection, Farewell, Input, Peer, Phase};
use super::limit::Limit;
use super::peers::{Key, Peers};
use crate::wire::frame::{self, Violation};

impl<S> Peers<S> {
    /// Closes the connection: says so with the code of `reason`, then waits for the client's Close. A reason without a code ends it at once.
    pub fn close(&mut self, key: Key, reason: CloseReason) {
        match reason.close_frame() {
            None => self.end(key, reason),
            Some((code, words)) if self.peer(key).is_some_and(|peer| peer.connection.is_listed()) => {
                self.begin_closing(key, Phase::AwaitingClose, reason);
                self.say_close(key, Some(code), words);
            }
            // The last word has been said already.
            Some(_) => {}
        }
    }

    /// Closes the connection as [`Peers::close`] does, but not before its messages that are on their way are answered. Meanwhile it is heard.
    pub(super) fn close_when_answered(&mut self, key: Key, reason: CloseReason) {
        if self.has_unanswered(key) {
            self.begin_closing(key, Phase::AwaitingAnswers, reason);
        } else {
            self.close(key, reason);
        }
    }

    /// Fails the connection (RFC 6455 section 7.1.7): the stream has no meaning after a violation. What came before it is answered first.
    pub(super) fn fail(&mut self, key: Key, violation: Violation) {
        if violation == Violation::TooBig {
            self.tally.limit_hits[Limit::MessageSize as usize] += 1;
        }
        if self.has_unanswered(key) {
            self.with_work(key, |work| work.farewell = Farewell::Fail(violation));
            self.begin_closing(key, Phase::AwaitingAnswers, violation.into());
        } else {
            self.fail_now(key, violation);
        }
    }

    /// Sends a client away that asks too much of the node. It is heard no more, but what it said before is answered first.
    pub fn dismiss(&mut self, key: Key, reason: CloseReason) {
        if self.has_unanswered(key) {
            self.with_work(key, |work| work.farewell = Farewell::Dismiss);
            self.begin_closing(key, Phase::AwaitingAnswers, reason);
        } else {
            self.dismiss_now(key, reason);
        }
    }

    fn dismiss_now(&mut self, key: Key, reason: CloseReason) {
        self.begin_closing(key, Phase::Lingering, reason);
        if let Some((code, words)) = reason.close_frame() {
            self.say_close(key, Some(code), words);
        }
    }

    fn fail_now(&mut self, key: Key, violation: Violation) {
        self.begin_closing(key, Phase::Lingering, violation.into());
        self.say_close(key, Some(violation.code()), violation.reason());
    }

    /// The client leaves, with a Close frame or by closing its side: what it is owed is said first, and `farewell` last.
    pub(super) fn let_go(&mut self, key: Key, farewell: Farewell, reason: CloseReason) {
        if self.has_unanswered(key) {
            self.with_work(key, |work| work.farewell = farewell);
            self.begin_closing(key, Phase::AwaitingAnswers, reason);
        } else {
            self.begin_closing(key, Phase::Flushing, reason);
            self.flush_and_end(key, farewell);
        }
    }

    fn has_unanswered(&mut self, key: Key) -> bool {
        self.peer_mut(key).and_then(|peer| peer.connection.work()).is_some_and(|work| work.unanswered > 0)
    }

    /// Says the last word, if there is one, and ends the connection when all is written.
    fn flush_and_end(&mut self, key: Key, farewell: Farewell) {
        match farewell {
            Farewell::Nothing | Farewell::Dismiss => {}
            Farewell::Close(code) => self.say_close(key, code, ""),
            Farewell::Fail(violation) => return self.fail_now(key, violation),
        }
        self.change_phase(key, Phase::Flushing);
        self.end_if_flushed(key);
    }

    /// Ends a connection that has said its last word.
    pub(super) fn end_if_flushed(&mut self, key: Key) {
        let Some(Peer { connection, .. }) = self.peer_mut(key) else { return };
        if let Connection::Closing { phase: Phase::Flushing, reason, work, .. } = connection
            && work.as_ref().is_none_or(|work| work.outbox.is_empty())
        {
            let reason = *reason;
            self.end(key, reason);
        }
    }

    fn change_phase(&mut self, key: Key, new: Phase) {
        let now = self.now.stamp();
        if self.peer(key).is_some_and(|peer| peer.connection.is_listed()) {
            self.unlist(key);
        }
        if let Some(Peer { connection: Connection::Closing { phase, since, .. }, .. }) = self.peer_mut(key) {
            (*phase, *since) = (new, now);
        }
    }

    /// Closes are said beyond the bound of the outbox: the one frame that must not be refused for want of room.
    fn say_close(&mut self, key: Key, code: Option<u16>, words: &str) {
        if let Some(out) = self.append(key) {
            frame::write_close(out, code, words);
        }
    }

    /// Moves the connection on to `Closing`, unless it is there already.
    pub(super) fn begin_closing(&mut self, key: Key, phase: Phase, reason: CloseReason) {
        let since = self.now.stamp();
        let is_unanswered = phase == Phase::AwaitingAnswers;
        self.leave_opening(key);
        // Whether the client's Close is still to come, now or when all is answered.
        let awaits_close = phase == Phase::AwaitingClose || is_unanswered && reason.close_frame().is_some();
        let Some(peer) = self.peer_mut(key) else { return };
        if peer.connection.is_listed() && !is_unanswered {
            self.unlist(key);
        }
        let Some(peer) = self.peer_mut(key) else { return };
        let Some(work) = peer.connection.work_place() else { return };
        let mut work = work.take();
        if let Some(work) = &mut work {
            // Of what comes now only a Close frame is of interest, and that only where a message is not cut in two.
            work.input = match std::mem::take(&mut work.input) {
                Input::Message(partial) if awaits_close => Input::Message(partial),
                Input::None | Input::Head(_) | Input::Message(_) => Input::None,
            };
        }
        peer.connection = Connection::Closing { phase, reason, since, work };
    }

    /// Ends the connection here and now. It is freed by `reap`, after the batch: until then an event for it may still be in hand.
    pub(super) fn end(&mut self, key: Key, reason: CloseReason) {
        self.leave_opening(key);
        let Some(peer) = self.peer_mut(key) else { return };
        if peer.connection.is_listed() {
            self.unlist(key);
        }
        self.unlist_blocked(key);
        let Some(peer) = self.peer_mut(key) else { return };
        let Some(place) = peer.connection.work_place() else { return };
        let work = place.take();
        peer.connection = Connection::Closed { reason };
        self.ended.push(key);
        drop(work);
    }

    /// Lets a client go that was leaving, or to be sent away, and is owed no answer any more.
    pub fn farewell(&mut self, key: Key) {
        let Some(Peer { connection, .. }) = self.peer_mut(key) else { return };
        let Connection::Closing { phase: Phase::AwaitingAnswers, reason, work, .. } = connection else { return };
        let farewell = match work {
            Some(work) if work.unanswered > 0 => return,
            Some(work) => std::mem::take(&mut work.farewell),
            None => Farewell::Nothing,
        };
        let reason = *reason;
        match farewell {
            Farewell::Nothing if reason.close_frame().is_some() => self.close(key, reason),
            Farewell::Dismiss => self.dismiss_now(key, reason),
            Farewell::Nothing | Farewell::Close(_) | Farewell::Fail(_) => self.flush_and_end(key, farewell),
        }
    }
}
