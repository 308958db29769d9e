//! A road between the nodes and Redis on which bytes can be delayed, held up and lost.
//!
//! One thread per direction of each connection, which there are few of.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What the road does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    Flows,
    /// Each piece takes as much longer.
    Crawls(Duration),
    /// Nothing arrives, nothing is lost.
    Stands,
    /// The road is no more.
    Closed,
}

/// A listener whose connections all lead to one address. It is closed with the value.
pub(crate) struct Proxy {
    address: SocketAddr,
    road: Arc<Road>,
}

struct Road {
    traffic: Mutex<Traffic>,
    changed: Condvar,
    /// Both ends of every connection that was made.
    ends: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let road = Arc::new(Road { traffic: Mutex::new(Traffic::Flows), changed: Condvar::new(), ends: Mutex::default() });
        let own = Arc::clone(&road);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if own.traffic() == Traffic::Closed {
                    return;
                }
                // If the target is not there, dropping the stream tells the caller.
                if let Ok(onward) = TcpStream::connect(target) {
                    own.connect(stream, onward);
                }
            }
        });
        Proxy { address, road }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on each piece takes as much longer.
    pub(crate) fn delay(&self, time: Duration) {
        self.road.set(Traffic::Crawls(time));
    }

    /// From now on nothing passes.
    pub(crate) fn hold(&self) {
        self.road.set(Traffic::Stands);
    }

    /// What was held up passes, and so does everything else.
    pub(crate) fn release(&self) {
        self.road.set(Traffic::Flows);
    }

    /// Ends every connection, with what is under way on it.
    pub(crate) fn cut(&self) {
        self.road.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.road.set(Traffic::Closed);
        self.road.cut();
        // The listener waits for one more.
        let _refused = TcpStream::connect(self.address);
    }
}

impl Road {
    fn traffic(&self) -> Traffic {
        *self.traffic.lock().unwrap()
    }

    fn set(&self, traffic: Traffic) {
        *self.traffic.lock().unwrap() = traffic;
        self.changed.notify_all();
    }

    fn connect(self: &Arc<Road>, near: TcpStream, far: TcpStream) {
        for stream in [&near, &far] {
            stream.set_nodelay(true).unwrap();
            self.ends.lock().unwrap().push(stream.try_clone().unwrap());
        }
        let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        for (from, to) in [(near, far_too), (far, near_too)] {
            let road = Arc::clone(self);
            thread::spawn(move || road.carry(from, to));
        }
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 64 * 1024];
        while let Ok(len @ 1..) = from.read(&mut bytes) {
            if let Traffic::Crawls(time) = self.traffic() {
                thread::sleep(time);
            }
            let guard = self.changed.wait_while(self.traffic.lock().unwrap(), |traffic| *traffic == Traffic::Stands).unwrap();
            drop(guard);
            if to.write_all(&bytes[..len]).is_err() {
                break;
            }
        }
        // The end of one direction is passed on as such; a socket that is gone already cannot be shut down.
        let _gone = to.shutdown(Shutdown::Write);
    }

    fn cut(&self) {
        for stream in self.ends.lock().unwrap().drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }
}
