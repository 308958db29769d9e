//! The one way into a loop from another thread: a bounded queue and a bell.
//!
//! Posting and ringing are two steps: who posts forty messages in a row rings once, and one write to an eventfd wakes the loop. The bell is
//! not rung again before the loop has answered it.
//!
//! Invariant: what was posted before a ring is seen by the loop after it. Hence the loop marks the bell as silent *before* it empties
//! the queue: a post that comes in between rings again, and at worst the loop wakes once for nothing.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::{Registry, Token, Waker};

use crate::limits::{MAILBOX_BYTES_MAX, MAILBOX_POSTS_MAX};
use crate::wire::delivery::{Delivery, Settlement};

/// What another thread has for a loop.
#[derive(Debug)]
pub enum Post {
    /// A message from another loop of this node.
    FromSibling(Delivery),
    /// A message from another node.
    FromBroker(Delivery),
    /// What became of a message that this loop had handed on.
    Settled(Settlement),
    /// Close all connections, spread over this time, and end.
    Drain(Duration),
}

impl Post {
    fn bytes(&self) -> usize {
        match self {
            Post::FromSibling(delivery) | Post::FromBroker(delivery) => delivery.text.borrow().as_json().len(),
            Post::Settled(_) | Post::Drain(_) => 0,
        }
    }
}

/// The mailbox of one loop; each clone is the same one.
#[derive(Clone)]
pub struct Mailbox {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    is_rung: AtomicBool,
    refused: AtomicU64,
    waker: Waker,
}

#[derive(Default)]
struct Queue {
    posts: VecDeque<Post>,
    bytes: usize,
}

impl Mailbox {
    /// The mailbox of the loop that polls `registry`, which will see `token` when it is rung.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Mailbox> {
        let waker = Waker::new(registry, token)?;
        let shared = Shared { queue: Mutex::default(), is_rung: AtomicBool::new(false), refused: AtomicU64::new(0), waker };
        Ok(Mailbox { shared: Arc::new(shared) })
    }

    /// Posts a message, unless too much is waiting already. Returns whether it was taken.
    pub fn post_message(&self, post: Post) -> bool {
        let mut queue = self.queue();
        let bytes = queue.bytes + post.bytes();
        if queue.posts.len() >= MAILBOX_POSTS_MAX || bytes > MAILBOX_BYTES_MAX {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        queue.bytes = bytes;
        queue.posts.push_back(post);
        true
    }

    /// Messages that were refused because too much was waiting.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Posts what must not get lost: a settlement or a command. Each answers something that is bounded itself.
    pub fn post(&self, post: Post) {
        self.queue().posts.push_back(post);
    }

    /// Wakes the loop, unless it has been woken and has not looked yet.
    pub fn ring(&self) {
        if !self.shared.is_rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.shared.waker.wake()
        {
            // Nobody is left to be woken, or the kernel has no memory for eight bytes. The next ring tries again.
            self.shared.is_rung.store(false, Ordering::Release);
            log::error!("an event loop cannot be woken: {error}");
        }
    }

    /// For the loop alone: takes all that is there, in order, in exchange for an empty `posts`.
    pub(super) fn take(&self, posts: &mut VecDeque<Post>) {
        debug_assert!(posts.is_empty());
        self.shared.is_rung.store(false, Ordering::Release);
        let mut queue = self.queue();
        queue.bytes = 0;
        std::mem::swap(&mut queue.posts, posts);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A thread that panicked while it held the lock was between two whole posts: a push either happened or did not.
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mailboxes of all loops of the node, for one thread that posts to them.
pub struct Mailboxes {
    boxes: Arc<[Mailbox]>,
    touched: Vec<bool>,
}

impl Mailboxes {
    /// A way to all of `boxes`, which stand in the order of their loops' numbers.
    pub fn new(boxes: Arc<[Mailbox]>) -> Mailboxes {
        let touched = vec![false; boxes.len()];
        Mailboxes { boxes, touched }
    }

    /// Posts a message to loop `number`. Returns whether there is such a loop and it has taken the message.
    pub fn post_message(&mut self, number: u8, post: Post) -> bool {
        self.touch(number).is_some_and(|mailbox| mailbox.post_message(post))
    }

    /// Posts what must not get lost to loop `number`, if there is one.
    pub fn post(&mut self, number: u8, post: Post) {
        if let Some(mailbox) = self.touch(number) {
            mailbox.post(post);
        }
    }

    /// Wakes the loops that got something since the last call.
    pub fn ring(&mut self) {
        for (mailbox, touched) in self.boxes.iter().zip(&mut self.touched) {
            if std::mem::take(touched) {
                mailbox.ring();
            }
        }
    }

    fn touch(&mut self, number: u8) -> Option<&Mailbox> {
        *self.touched.get_mut(usize::from(number))? = true;
        self.boxes.get(usize::from(number))
    }
}

impl Clone for Mailboxes {
    fn clone(&self) -> Mailboxes {
        Mailboxes::new(Arc::clone(&self.boxes))
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll};

    use super::*;

    fn delivery(text: &str) -> Delivery {
        let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        Delivery::parse(format!(r#"{{"SenderID":"{uuid}","RecipientID":"{uuid}","Text":"{text}"}}"#).as_bytes()).unwrap()
    }

    fn rings(poll: &mut Poll, timeout: Duration) -> usize {
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(timeout)).unwrap();
        events.iter().count()
    }

    #[test]
    fn many_posts_ring_once_and_arrive_in_order() {
        let mut poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(poll.registry(), Token(7)).unwrap();
        for text in ["a", "b", "c"] {
            assert!(mailbox.post_message(Post::FromSibling(delivery(text))));
            mailbox.ring();
        }
        assert_eq!(rings(&mut poll, Duration::from_secs(5)), 1);
        let mut posts = VecDeque::new();
        mailbox.take(&mut posts);
        let texts: Vec<_> = posts.drain(..).map(|post| format!("{post:?}")).collect();
        assert_eq!(texts.len(), 3);
        assert!(texts.iter().zip(["a", "b", "c"]).all(|(post, text)| post.contains(&format!("\\\"{text}\\\""))), "{texts:?}");
        mailbox.ring();
        assert_eq!(rings(&mut poll, Duration::from_secs(5)), 1, "after a look it can be rung again");
    }

    #[test]
    fn a_full_mailbox_refuses_messages_but_takes_settlements() {
        let poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(poll.registry(), Token(7)).unwrap();
        let large = "x".repeat(MAILBOX_BYTES_MAX / 4);
        let taken = (0..5).filter(|_| mailbox.post_message(Post::FromBroker(delivery(&large)))).count();
        assert_eq!(taken, 3, "quotes included, a fourth would pass the bound");
        assert_eq!(mailbox.refused(), 2);
        mailbox.post(Post::Drain(Duration::ZERO));
        let mut posts = VecDeque::new();
        mailbox.take(&mut posts);
        assert_eq!(posts.len(), 4);
        assert!(mailbox.post_message(Post::FromBroker(delivery(&large))), "room again");
    }
}
