//! The toy Redis of the simulation, and each node's two ways to it: a queue of what to publish, and a subscription to the node's own tag.

use texto::wire::delivery::{Delivery, Refusal, Request, Settlement};

use super::cluster::{Cluster, Health, Post, Publication};
use super::random::Random;

/// Messages that wait for Redis at one node.
const QUEUE_MAX: usize = 48;

impl Cluster {
    /// A message waits for Redis from now on, and somebody perhaps for the answer.
    pub(crate) fn enqueue(&mut self, node: usize, delivery: Delivery, request: Option<Request>) {
        let queue = &mut self.nodes[node].queue;
        let refusal = (queue.len() >= QUEUE_MAX).then_some(Refusal::QueueFull);
        queue.push_back(Publication { delivery, request, refusal });
    }

    /// The publisher of a node hands at most `messages` messages to Redis.
    pub(crate) fn publish(&mut self, node: usize, messages: usize, dice: &mut Random) {
        for _ in 0..messages {
            let Some(Publication { delivery, request, refusal }) = self.nodes[node].queue.pop_front() else { return };
            let (is_taken, outcome) = match (refusal, self.health) {
                (Some(refusal), _) => (false, Err(refusal)),
                (None, Health::Up) => (true, Ok(())),
                (None, Health::Down) => (false, Err(Refusal::Down)),
                (None, Health::Rejecting) => (false, Err(Refusal::Rejected)),
                (None, Health::Stalled) => (dice.one_in(2), Err(Refusal::Unanswered)),
            };
            if let Some(request) = request {
                let sender = (node, usize::from(request.client.event_loop()));
                // Settlements are always taken: each answers a request that is itself bounded by the queue.
                self.at(sender).mailbox.push_back(Post::Settled(Settlement { request, outcome }));
            }
            if is_taken {
                self.fan_out(&delivery);
            } else if request.is_none() {
                self.lose(&delivery);
            }
        }
    }

    /// Redis gives a message to all who have subscribed to its channel.
    fn fan_out(&mut self, delivery: &Delivery) {
        let mut payload = Vec::new();
        delivery.write_payload(&mut payload);
        let copy = Delivery::parse(&payload).expect("what a node publishes, a node can read");
        assert_eq!(&copy, delivery);
        for node in 0..self.nodes.len() {
            if self.nodes[node].tag != delivery.to.tag() {
                continue;
            }
            if self.nodes[node].is_subscribed {
                self.nodes[node].subscription.push_back(copy.clone());
            } else {
                self.lose(delivery);
            }
        }
    }

    /// The subscriber of a node reads at most `messages` messages.
    pub(crate) fn subscribe(&mut self, node: usize, messages: usize) {
        for _ in 0..messages {
            let Some(delivery) = self.nodes[node].subscription.pop_front() else { return };
            let number = usize::from(delivery.to.event_loop());
            if number < self.nodes[node].loops.len() && !self.post((node, number), Post::FromBroker(delivery.clone())) {
                self.lose(&delivery);
            }
        }
    }

    /// The subscriber of a node loses its connection, or gets one again.
    pub(crate) fn set_subscribed(&mut self, node: usize, is_subscribed: bool) {
        self.nodes[node].is_subscribed = is_subscribed;
        if !is_subscribed {
            for delivery in std::mem::take(&mut self.nodes[node].subscription) {
                self.lose(&delivery);
            }
        }
    }

    fn lose(&mut self, delivery: &Delivery) {
        self.lost.insert(delivery.text.borrow().as_json().to_owned());
    }

    /// What is still under way in a node that ends is lost.
    pub(crate) fn forget(&mut self, node: usize) {
        let posts: Vec<Post> = self.nodes[node].loops.iter_mut().flat_map(|event_loop| std::mem::take(&mut event_loop.mailbox)).collect();
        for post in posts {
            match post {
                Post::FromSibling(delivery) | Post::FromBroker(delivery) => self.lose(&delivery),
                Post::Settled(_) => {}
            }
        }
        for publication in std::mem::take(&mut self.nodes[node].queue) {
            self.lose(&publication.delivery);
        }
        self.set_subscribed(node, false);
    }
}
