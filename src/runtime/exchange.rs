//! Carries a message to the loop or the node that its recipient's id names, and the answer back.
//!
//! Here, and nowhere else, the loops and the broker meet.
//!
//! Every answer that depends on Redis comes through the mailbox of the sender's loop, also a refusal that is known at once: a
//! refusal must not overtake the answers that are already on their way.

use super::mailbox::{Mailboxes, Post};
use crate::broker::{Loops, Publication, Publisher};
use crate::hub::{Forward, Route};
use crate::wire::delivery::{Delivery, Refusal, Settlement};

/// One loop's way to the others and to Redis.
pub struct Exchange {
    mailboxes: Mailboxes,
    publisher: Option<Publisher>,
    publications: Vec<Publication>,
    refused: Vec<Settlement>,
}

impl Exchange {
    /// A way to the loops behind `mailboxes`, and to the other nodes if there is a `publisher`.
    pub fn new(mailboxes: Mailboxes, publisher: Option<Publisher>) -> Exchange {
        Exchange { mailboxes, publisher, publications: Vec::new(), refused: Vec::new() }
    }

    /// Sends every forward on its way. Those to siblings are settled at once, in `settled`; the others later, through the mailbox.
    pub fn dispatch(&mut self, forwards: &mut Vec<Forward>, settled: &mut Vec<Settlement>) {
        for Forward { delivery, request, route } in forwards.drain(..) {
            match route {
                Route::Broker => self.publications.push(Publication { delivery, request: Some(request) }),
                Route::Sibling(number) => {
                    let is_taken = self.mailboxes.post_message(number, Post::FromSibling(delivery));
                    let outcome = if is_taken { Ok(()) } else { Err(Refusal::LoopBusy) };
                    settled.push(Settlement { request, outcome });
                }
            }
        }
        self.publish();
        self.mailboxes.ring();
    }

    /// A message from a sibling, already acknowledged, is for a client that this loop does not hold. Another node that drew the same
    /// tag may, so it is passed on, with nobody to answer.
    pub fn pass_on(&mut self, delivery: Delivery) {
        if self.publisher.is_some() {
            self.publications.push(Publication { delivery, request: None });
        }
    }

    fn publish(&mut self) {
        if self.publications.is_empty() {
            return;
        }
        match &self.publisher {
            Some(publisher) => publisher.offer(&mut self.publications, &mut self.refused),
            // The router makes no such forward on a node that is alone; were there one, it would be refused like this.
            None => self.refused.extend(
                self.publications
                    .drain(..)
                    .filter_map(|publication| publication.request.map(|request| Settlement { request, outcome: Err(Refusal::Down) })),
            ),
        }
        for settlement in self.refused.drain(..) {
            self.mailboxes.post(settlement.request.client.event_loop(), Post::Settled(settlement));
        }
    }
}

impl Loops for Mailboxes {
    fn deliver(&mut self, delivery: Delivery) {
        // A mailbox that is full counts what it refuses; the sender has its ack from Redis, and a subscriber that waited would be cut off.
        self.post_message(delivery.to.event_loop(), Post::FromBroker(delivery));
    }

    fn settle(&mut self, settlement: Settlement) {
        self.post(settlement.request.client.event_loop(), Post::Settled(settlement));
    }

    fn ring(&mut self) {
        Mailboxes::ring(self);
    }
}
