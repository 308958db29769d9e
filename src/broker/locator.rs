//! Where Redis is now: the way from the address to a connection.
//!
//! With Sentinels the master is looked for at each connection, with a time limit on every step:
//!
//! ```text
//!  for each Sentinel, the one that was right last time first:
//!     ask it ──named──▶ connect ──▶ ROLE ──master──▶ there
//!        └─no answer──────┴─failed───┴─replica────▶ the next Sentinel; after the last one the reasons of all of them
//! ```
//!
//! The redis crate has a client for this, which connects without a time limit. A Sentinel that stands still or has missed a failover
//! costs its time once, because the one that was right moves to the front.
//!
//! Both links have one locator, and it sees to it that they go to the same master: when one of them is sent somewhere else than the
//! last time, the other one is told to move. The news of a Sentinel, [`Locator::hear`], do the same. What it only answers when it is
//! asked moves nobody unless most of them say so: one that has just come back may still believe what was so before.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Connection, ConnectionInfo};

use super::address::{Address, Place};
use super::dial::Dialer;
use super::group::{self, Group, Spot};
use super::link::Failure;
use super::orders::Orders;
use super::publisher::Publisher;
use super::status::Status;
use super::{role, sentinel};

/// Time for each step of a new connection: to each address of the host, and for all answers until it is in use. A Redis in the same
/// building answers within a millisecond, one on another continent within half a second; who needs longer is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The same for a Sentinel, which is near and has nothing else to do; there are others to ask.
pub(super) const SENTINEL_TIMEOUT: Duration = Duration::from_secs(1);

/// Finds Redis for all threads of a broker.
pub(super) struct Locator {
    address: Address,
    known: Mutex<Known>,
    orders: Arc<Orders>,
    /// Wakes a publisher that sleeps, so that it sees its orders.
    publisher: Publisher,
    status: Arc<Status>,
}

/// What the Sentinels have said.
struct Known {
    /// Numbers of the Sentinels, in the order in which to ask them.
    order: Vec<usize>,
    /// Where the links are, or have been told to go.
    master: Option<Spot>,
    /// What each of them says, as far as they are listened to.
    said: Vec<Option<Spot>>,
}

/// A connection, and what there is to know about it.
pub(super) struct Found {
    pub(super) connection: Connection,
    /// The count of moves up to which this is the right place.
    pub(super) moves: u64,
    /// Where it leads to.
    pub(super) whereto: String,
}

impl Locator {
    pub(super) fn new(address: Address, orders: Arc<Orders>, publisher: Publisher, status: Arc<Status>) -> Locator {
        let count = address.sentinels().len();
        let known = Known { order: (0..count).collect(), master: None, said: vec![None; count] };
        Locator { address, known: Mutex::new(known), orders, publisher, status }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// A connection to where Redis is now.
    pub(super) fn connect(&self, dialer: &Dialer) -> Result<Found, Failure> {
        let moves = self.orders.moves();
        match self.address.place() {
            Place::Server(info) => {
                let connection = dialer.dial(info.clone(), CONNECT_TIMEOUT)?;
                Ok(Found { connection, moves, whereto: self.address.to_string() })
            }
            Place::Group(group) => self.connect_to_master(group, dialer, moves),
        }
    }

    /// Tells both links to leave where they are.
    pub(super) fn move_on(&self, why: String) -> u64 {
        self.status.moves.fetch_add(1, Relaxed);
        let moves = self.orders.move_on(why);
        self.publisher.wake();
        moves
    }

    /// The Sentinel of this number says where the master is now: as news, or because it was asked.
    pub(super) fn hear(&self, number: usize, master: &Spot, is_news: bool) {
        let mut known = self.known();
        known.said[number] = Some(master.clone());
        let is_elsewhere = known.master.as_ref().is_some_and(|old| old != master);
        if is_elsewhere && (is_news || known.most_say() == Some(master)) {
            known.prefer(number);
            known.master = Some(master.clone());
            drop(known);
            self.move_on(format!("the master is at {master} now, as the Sentinels say"));
        }
    }

    /// The Sentinel of this number is not listened to any longer.
    pub(super) fn forget(&self, number: usize) {
        self.known().said[number] = None;
    }

    fn connect_to_master(&self, group: &Group, dialer: &Dialer, moves: u64) -> Result<Found, Failure> {
        let order = self.known().order.clone();
        // In the order of the address, so that the same reasons make the same line.
        let mut reasons = vec![String::new(); order.len()];
        let mut failed = Vec::new();
        for number in order {
            match self.ask_and_connect(group, &group.sentinels()[number], dialer, &mut failed) {
                Ok((connection, master)) => {
                    let whereto = format!("{master}, the master of {}", self.address);
                    return Ok(Found { connection, moves: self.note(number, master, moves), whereto });
                }
                Err(failure) => reasons[number] = format!("{}: {failure}", group::spot(&group.sentinels()[number])),
            }
        }
        Err(Failure::new(format!("no Sentinel leads to a master ({})", reasons.join("; "))))
    }

    /// Asks one Sentinel, and connects to the master that it names unless that has `failed` already.
    fn ask_and_connect(
        &self,
        group: &Group,
        info: &ConnectionInfo,
        dialer: &Dialer,
        failed: &mut Vec<Spot>,
    ) -> Result<(Connection, Spot), Failure> {
        let master = sentinel::ask(&mut dialer.dial(info.clone(), SENTINEL_TIMEOUT)?, group.master_name())?;
        if failed.contains(&master) {
            return Err(Failure::new(format!("it names {master} as well")));
        }
        let connect = || -> Result<Connection, Failure> {
            let mut connection = dialer.dial(group.master_at(&master), CONNECT_TIMEOUT)?;
            role::check_master(&mut connection)?;
            Ok(connection)
        };
        let connected = connect().map_err(|failure| Failure::new(format!("it names {master}, but {failure}")));
        if connected.is_err() {
            failed.push(master.clone());
        }
        Ok((connected?, master))
    }

    /// Remembers the Sentinel that was right, and the master. The count of moves up to which that holds.
    fn note(&self, number: usize, master: Spot, moves: u64) -> u64 {
        let mut known = self.known();
        let is_move = match &known.master {
            Some(old) => *old != master,
            None => false,
        };
        // The first Sentinel that was asked may be the one that is wrong. Only then: later on, it may be the first that is right.
        let is_doubtful = known.master.is_none() && known.most_say().is_some_and(|most| *most != master);
        let teller = if is_doubtful { known.teller() } else { None };
        known.prefer(teller.unwrap_or(number));
        let why = format!("the master is at {master} now");
        known.master = Some(master);
        drop(known);
        if !is_move && !is_doubtful {
            return moves;
        }
        let new = self.move_on(why);
        // If somebody else ordered a move meanwhile, this link has to obey that one as well.
        if is_move && new == moves + 1 { new } else { moves }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn prefer(&mut self, number: usize) {
        self.order.retain(|&other| other != number);
        self.order.insert(0, number);
    }

    /// The master that more than half of all Sentinels name, as far as they are listened to.
    fn most_say(&self) -> Option<&Spot> {
        let votes = |spot: &Spot| self.said.iter().flatten().filter(|other| *other == spot).count();
        self.said.iter().flatten().find(|spot| votes(spot) > self.said.len() / 2)
    }

    /// One of the Sentinels that say the same as most.
    fn teller(&self) -> Option<usize> {
        let most = self.most_say()?;
        self.said.iter().position(|said| said.as_ref() == Some(most))
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whereto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locator() -> Locator {
        let (orders, status) = (Arc::default(), Arc::<Status>::default());
        let address = Address::parse("redis+sentinel://one,two,three/?master=main").unwrap();
        Locator::new(address, orders, Publisher::new(1, Arc::clone(&status)), status)
    }

    fn spot(port: u16) -> Spot {
        Spot { host: "redis".into(), port }
    }

    /// The order in which the Sentinels would be asked now, and how often the links have been moved.
    fn state(locator: &Locator) -> (Vec<usize>, u64) {
        (locator.known().order.clone(), locator.orders.moves())
    }

    #[test]
    fn news_move_the_links_at_once_and_only_once() {
        let locator = locator();
        assert_eq!(locator.note(0, spot(1), 0), 0, "the first master is no move");
        locator.hear(2, &spot(2), true);
        assert_eq!(state(&locator), (vec![2, 0, 1], 1));
        locator.hear(0, &spot(2), true);
        locator.hear(1, &spot(2), true);
        assert_eq!(locator.note(2, spot(2), 1), 1);
        assert_eq!(state(&locator), (vec![2, 0, 1], 1));
    }

    #[test]
    fn a_link_that_finds_another_master_takes_the_other_one_along() {
        let locator = locator();
        locator.note(0, spot(1), 0);
        assert_eq!(locator.note(1, spot(2), 0), 1, "and stays itself");
        assert_eq!(locator.note(1, spot(2), 1), 1);
        assert_eq!(state(&locator), (vec![1, 0, 2], 1));
    }

    #[test]
    fn an_answer_moves_nobody_unless_most_say_so() {
        let locator = locator();
        locator.note(0, spot(2), 0);
        locator.hear(1, &spot(1), false);
        assert_eq!(state(&locator), (vec![0, 1, 2], 0), "it has come back, and believes what was so before");
        locator.forget(1);
        locator.hear(2, &spot(1), false);
        assert_eq!(state(&locator).1, 0, "who is not listened to any longer has no vote");
        locator.hear(1, &spot(1), false);
        assert_eq!(state(&locator), (vec![1, 0, 2], 1));
    }

    #[test]
    fn a_first_master_that_most_deny_is_left_again() {
        let locator = locator();
        [1, 2].into_iter().for_each(|number| locator.hear(number, &spot(2), false));
        assert_eq!(locator.note(0, spot(1), 0), 0);
        assert_eq!(state(&locator), (vec![1, 0, 2], 1), "the link that found it leaves, too, and asks another one");
    }

    #[test]
    fn a_link_that_missed_a_move_does_not_stay() {
        let locator = locator();
        locator.note(0, spot(1), 0);
        locator.move_on("somebody else says so".into());
        assert_eq!(locator.note(1, spot(2), 0), 0);
        assert!(locator.orders.follow(0).is_err());
    }
}
