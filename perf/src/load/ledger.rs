//! The ledger: every message that was sent, until it is both acknowledged and delivered.
//!
//! A flow is one sender's messages to one receiver, numbered from zero. Its number and the message's stand in the message's id and in
//! its text, so each answer names what it answers and nothing has to be searched. The protocol promises order for acks and deliveries of
//! a flow alike; so each must be exactly the next one, and anything else is a fault that ends the run: lost, twice, out of order, for
//! someone else, altered.
//!
//! Invariant of a flow: `settled() == sent - times.len()`, and `acked <= sent`, `delivered <= sent`.

use std::collections::VecDeque;
use std::time::Instant;

use crate::fleet::Fleet;
use crate::record::Latencies;
use crate::words::{Id, Message, Said};

/// Flow and number, in hexadecimal, at the beginning of each text.
pub(crate) const TEXT_BYTES_MIN: usize = 20;
/// A version 4 UUID leaves its first 32 and last 48 bits to us.
const ID_FRAME: Id = 0x4000_8000 << NUMBER_BITS;
const NUMBER_BITS: u32 = 48;
const FRAME_MASK: Id = 0xFFFF_FFFF_FFFF << NUMBER_BITS;

/// One sender's messages to one receiver.
pub(crate) struct Flow {
    sender: usize,
    receiver: usize,
    sent: u64,
    acked: u64,
    delivered: u64,
    /// When the messages that are not settled were sent.
    times: VecDeque<Instant>,
}

impl Flow {
    fn new(sender: usize, receiver: usize) -> Flow {
        Flow { sender, receiver, sent: 0, acked: 0, delivered: 0, times: VecDeque::new() }
    }

    /// Messages that are through.
    fn settled(&self) -> u64 {
        self.acked.min(self.delivered)
    }

    fn time(&self, number: u64) -> Option<Instant> {
        self.times.get(usize::try_from(number - self.settled()).ok()?).copied()
    }
}

/// All flows of a load.
pub(crate) struct Ledger {
    flows: Vec<Flow>,
    text: Vec<u8>,
    sent: u64,
    settled: u64,
    delivery: Latencies,
    ack: Latencies,
}

impl Ledger {
    /// A flow for each pair of sender and receiver; a connection sends in one flow at most. Texts have `size` bytes.
    pub(crate) fn new(pairs: impl Iterator<Item = (usize, usize)>, size: usize) -> Ledger {
        let flows = pairs.map(|(sender, receiver)| Flow::new(sender, receiver)).collect();
        let text = (0..size.max(TEXT_BYTES_MIN)).map(|at| b'a' + (at % 26) as u8).collect();
        Ledger { flows, text, sent: 0, settled: 0, delivery: Latencies::new(), ack: Latencies::new() }
    }

    pub(crate) fn flow_count(&self) -> usize {
        self.flows.len()
    }

    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.sent - self.settled
    }

    /// Forgets the latencies so far: a warm-up is over.
    pub(crate) fn clear_latencies(&mut self) {
        (self.delivery, self.ack) = (Latencies::new(), Latencies::new());
    }

    /// Hands out the latencies, to delivery and to acknowledgement.
    pub(crate) fn take_latencies(&mut self) -> (Latencies, Latencies) {
        (std::mem::replace(&mut self.delivery, Latencies::new()), std::mem::replace(&mut self.ack, Latencies::new()))
    }

    /// Sends the next message of a flow; latency counts from `at`.
    pub(crate) fn send(&mut self, fleet: &mut Fleet, flow: usize, at: Instant) {
        let Flow { sender, receiver, sent, .. } = self.flows[flow];
        stamp(&mut self.text, flow as u64, sent);
        let id = (flow as Id) << 96 | ID_FRAME | Id::from(sent);
        fleet.send(sender, id, fleet.client(receiver), &self.text);
        self.flows[flow].sent += 1;
        self.flows[flow].times.push_back(at);
        self.sent += 1;
    }

    /// Takes what came on a connection; names the flow of which a message is through now.
    pub(crate) fn take(&mut self, fleet: &mut Fleet, link: usize, message: &Message<'_>, now: Instant) -> Option<usize> {
        let taken = match message.said {
            Said::Ack => self.acked(link, message.id, now),
            Said::Receive { sender, text } => self.delivered(fleet, link, sender, text, now),
            Said::Error(data) => Err(format!("was refused: {}", String::from_utf8_lossy(data))),
            Said::Connection => Err("got a second greeting".to_owned()),
        };
        match taken {
            Ok(flow) => self.settle(flow).then_some(flow),
            Err(sentence) => {
                fleet.fail(format!("connection {link} {sentence}"));
                None
            }
        }
    }

    fn acked(&mut self, link: usize, id: Id, now: Instant) -> Result<usize, String> {
        let (flow, number) = ((id >> 96) as usize, (id & ((1 << NUMBER_BITS) - 1)) as u64);
        let is_ours = id & FRAME_MASK == ID_FRAME;
        let known = self.flows.get_mut(flow).filter(|known| is_ours && known.sender == link);
        let known = known.ok_or_else(|| format!("got an ack for a message that it did not send: {id:032x}"))?;
        expect("ack", number, known.acked, known.sent)?;
        self.ack.note(known.time(number), now);
        known.acked += 1;
        Ok(flow)
    }

    fn delivered(&mut self, fleet: &Fleet, link: usize, sender: Id, text: &[u8], now: Instant) -> Result<usize, String> {
        let (flow, number) = unstamp(text).ok_or_else(|| format!("got a text that nobody sent: {:?}", String::from_utf8_lossy(text)))?;
        let known = usize::try_from(flow).ok().and_then(|flow| self.flows.get_mut(flow));
        let known = known.ok_or_else(|| format!("got a message of the unknown flow {flow}"))?;
        if known.receiver != link {
            return Err(format!("got a message for connection {}", known.receiver));
        }
        if fleet.client(known.sender) != sender {
            return Err(format!("got a message with the sender {sender:032x} instead of {:032x}", fleet.client(known.sender)));
        }
        if text.len() != self.text.len() || text[TEXT_BYTES_MIN..] != self.text[TEXT_BYTES_MIN..] {
            return Err(format!("got an altered text: {:?}", String::from_utf8_lossy(text)));
        }
        expect("delivery", number, known.delivered, known.sent)?;
        self.delivery.note(known.time(number), now);
        known.delivered += 1;
        Ok(flow as usize)
    }

    /// Whether a message of the flow has become both acknowledged and delivered.
    fn settle(&mut self, flow: usize) -> bool {
        let flow = &mut self.flows[flow];
        let owed = flow.sent - flow.settled();
        let is_settled = (flow.times.len() as u64) > owed;
        if is_settled {
            flow.times.pop_front();
            self.settled += 1;
        }
        debug_assert_eq!(flow.times.len() as u64, owed);
        is_settled
    }
}

/// Both promises of the protocol are about order, so only the next number is right.
fn expect(what: &str, number: u64, next: u64, sent: u64) -> Result<(), String> {
    match number {
        _ if number >= sent => Err(format!("got the {what} of message {number}, which was not sent")),
        _ if number > next => Err(format!("got the {what} of message {number} while {next} is missing")),
        _ if number < next => Err(format!("got the {what} of message {number} twice or too late: {next} was next")),
        _ => Ok(()),
    }
}

fn stamp(text: &mut [u8], flow: u64, number: u64) {
    for (digits, mut value) in [(0..8, flow), (8..TEXT_BYTES_MIN, number)] {
        for digit in text[digits].iter_mut().rev() {
            *digit = b"0123456789abcdef"[(value & 15) as usize];
            value >>= 4;
        }
    }
}

fn unstamp(text: &[u8]) -> Option<(u64, u64)> {
    let stamp = std::str::from_utf8(text.get(..TEXT_BYTES_MIN)?).ok()?;
    let (flow, number) = stamp.split_at_checked(8)?;
    Some((u64::from_str_radix(flow, 16).ok()?, u64::from_str_radix(number, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back() {
        let mut text = [b'x'; 32];
        stamp(&mut text, 7, 0x1234_5678_9abc);
        assert_eq!(&text[..TEXT_BYTES_MIN], b"00000007123456789abc");
        assert_eq!(unstamp(&text), Some((7, 0x1234_5678_9abc)));
        assert_eq!(unstamp(b"short"), None);
    }

    #[test]
    fn only_the_next_number_is_right() {
        assert!(expect("ack", 4, 4, 5).is_ok());
        for wrong in [3, 5, 6] {
            assert!(expect("ack", wrong, 4, 6).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_message_is_through_when_it_is_acknowledged_and_delivered() {
        let mut ledger = Ledger::new([(0, 1)].into_iter(), 32);
        let (now, id) = (Instant::now(), ID_FRAME);
        ledger.flows[0].sent = 1;
        ledger.flows[0].times.push_back(now);
        ledger.sent = 1;
        assert_eq!(ledger.acked(0, id, now), Ok(0));
        assert!(!ledger.settle(0));
        ledger.flows[0].delivered = 1;
        assert!(ledger.settle(0));
        assert_eq!((ledger.settled(), ledger.outstanding()), (1, 0));
    }

    #[test]
    fn an_ack_belongs_to_its_sender() {
        let mut ledger = Ledger::new([(0, 1)].into_iter(), 32);
        ledger.flows[0].sent = 1;
        let now = Instant::now();
        assert!(ledger.acked(1, ID_FRAME, now).is_err());
        assert!(ledger.acked(0, ID_FRAME | 1 << 96, now).is_err());
        assert!(ledger.acked(0, 0, now).is_err());
    }
}
