//! Where connections come in: one listener per loop on the same port, among which the kernel spreads them; or several descriptors of one
//! listening socket, where it is not for a node to open more of them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::hub::Moment;
use crate::limits::{ACCEPT_PAUSE_MS, BACKLOG};

/// What accepting came to.
pub enum Accepted {
    /// A connection, and the address that it comes from, unless it came over a unix socket.
    Connection(TcpStream, Option<IpAddr>),
    /// There is none waiting.
    Nothing,
    /// There may be one, but it cannot be had now, mostly for want of a descriptor. Ask again later.
    Failed(io::Error),
}

/// A socket that listens and does not block, before a loop has it.
#[derive(Debug)]
pub enum ListeningSocket {
    /// Of a port.
    Tcp(std::net::TcpListener),
    /// Of a file.
    Unix(std::os::unix::net::UnixListener),
}

impl ListeningSocket {
    /// Another descriptor of the same socket.
    fn try_clone(&self) -> io::Result<ListeningSocket> {
        match self {
            ListeningSocket::Tcp(socket) => socket.try_clone().map(ListeningSocket::Tcp),
            ListeningSocket::Unix(socket) => socket.try_clone().map(ListeningSocket::Unix),
        }
    }

    fn socket(&self) -> SockRef<'_> {
        match self {
            ListeningSocket::Tcp(socket) => SockRef::from(socket),
            ListeningSocket::Unix(socket) => SockRef::from(socket),
        }
    }

    /// Whether it listens, which one that comes from elsewhere may not.
    pub fn is_listening(&self) -> io::Result<bool> {
        self.socket().is_listener()
    }

    /// Makes it one that does not block.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        self.socket().set_nonblocking(true)
    }

    /// Where clients connect to: an address with a port, or `unix:` and a path.
    pub fn address(&self) -> io::Result<String> {
        match self {
            ListeningSocket::Tcp(socket) => Ok(socket.local_addr()?.to_string()),
            ListeningSocket::Unix(socket) => {
                let address = socket.local_addr()?;
                Ok(format!("unix:{}", address.as_pathname().map_or_else(|| "(no path)".into(), std::path::Path::to_string_lossy)))
            }
        }
    }
}

impl From<std::net::TcpListener> for ListeningSocket {
    fn from(socket: std::net::TcpListener) -> ListeningSocket {
        ListeningSocket::Tcp(socket)
    }
}

/// `count` descriptors of one socket, for as many loops.
///
/// A socket that a service manager opened must stay the only one on its port: another of this process would need the same owner, and
/// connections that wait in its queue would be cut off when the process ends, whereas those in the manager's wait for the next. The price:
/// each connection wakes every loop that waits, and all but one find nothing. That is paid once per connection, and nothing per message; a loop
/// that is busy does not compete, so the idle ones take what comes.
pub fn duplicate(socket: ListeningSocket, count: usize) -> io::Result<Vec<ListeningSocket>> {
    let others: io::Result<Vec<_>> = (1..count).map(|_| socket.try_clone()).collect();
    let mut all = others?;
    all.push(socket);
    Ok(all)
}

impl From<std::os::unix::net::UnixListener> for ListeningSocket {
    fn from(socket: std::os::unix::net::UnixListener) -> ListeningSocket {
        ListeningSocket::Unix(socket)
    }
}

enum Inner {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Inner {
    fn accept(&self) -> io::Result<(TcpStream, Option<IpAddr>)> {
        match self {
            Inner::Tcp(listener) => listener.accept().map(|(stream, peer)| (stream, Some(peer.ip()))),
            // What is called a TcpStream here is a descriptor that is read, written and shut down, and these three are the same for every
            // stream socket. So a slot of the hub has one type of socket, of four bytes, and nothing is asked per read.
            Inner::Unix(listener) => listener.accept().map(|(stream, _)| (TcpStream::from(OwnedFd::from(stream)), None)),
        }
    }
}

/// The listener of one loop.
pub struct Listener {
    inner: Inner,
    /// Whether connections may be waiting: the kernel tells it once only.
    is_ready: bool,
    /// Not before this is the kernel asked again.
    paused_until: Option<Moment>,
}

impl Listener {
    /// Takes over a listening socket.
    pub fn new(socket: impl Into<ListeningSocket>) -> Listener {
        let inner = match socket.into() {
            ListeningSocket::Tcp(socket) => Inner::Tcp(TcpListener::from_std(socket)),
            ListeningSocket::Unix(socket) => Inner::Unix(UnixListener::from_std(socket)),
        };
        Listener { inner, is_ready: false, paused_until: None }
    }

    /// Begins to report to `registry`, as `token`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.inner {
            Inner::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Inner::Unix(listener) => registry.register(listener, token, Interest::READABLE),
        }
    }

    /// The kernel has told that connections wait.
    pub fn wake(&mut self) {
        self.is_ready = true;
    }

    /// Whether to accept now.
    pub fn is_ready(&self, now: Moment) -> bool {
        self.is_ready && self.paused_until.is_none_or(|until| until <= now)
    }

    /// When to ask again, if accepting is paused.
    pub fn pause_end(&self) -> Option<Moment> {
        self.paused_until.filter(|_| self.is_ready)
    }

    /// Takes one waiting connection.
    pub fn accept(&mut self, now: Moment) -> Accepted {
        self.paused_until = None;
        loop {
            match self.inner.accept() {
                Ok((stream, peer)) => return Accepted::Connection(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_ready = false;
                    return Accepted::Nothing;
                }
                // The connection was gone before it was accepted: on to the next.
                Err(error) if is_gone(&error) => {}
                // Mostly there is no descriptor. No new event comes for connections that wait already, and asking again at once would only
                // burn the core.
                Err(error) => {
                    self.paused_until = Some(now.plus(Duration::from_millis(ACCEPT_PAUSE_MS)));
                    return Accepted::Failed(error);
                }
            }
        }
    }
}

/// Whether the error is of the connection and not of the listener (accept(2), "Error handling").
fn is_gone(error: &io::Error) -> bool {
    let is_signal = error.kind() == io::ErrorKind::Interrupted;
    let is_network = matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
        )
    );
    is_signal || is_network
}

/// Opens `count` listening sockets on one address, all on the same port, which is any free one if `address` names none.
///
/// With SO_REUSEPORT the kernel would also let a second node share the port and take half of the connections unnoticed. So the first
/// socket listens without it, which of all sockets on a port only one can, and is not opened to the others before it does.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let first = open(address)?;
    first.bind(&SockAddr::from(address))?;
    first.listen(BACKLOG)?;
    first.set_reuse_port(true)?;
    let address = first.local_addr()?;
    let others = (1..count).map(|_| share(&address));
    std::iter::once(Ok(first)).chain(others).map(|socket| socket.map(Into::into)).collect()
}

/// One more listening socket on an address that sockets of this process have.
fn share(address: &SockAddr) -> io::Result<Socket> {
    let socket = open(address.as_socket().ok_or(io::ErrorKind::InvalidInput)?)?;
    socket.set_reuse_port(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // The unspecified address stands for both families.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Accepted sockets inherit it, so no connection pays a system call for it. Messages are small and already gathered per tick.
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_one_socket_are_one_place_to_connect_to() {
        let socket = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let all = duplicate(socket.into(), 3).unwrap();
        let addresses: Vec<_> = all.iter().map(|socket| socket.address().unwrap()).collect();
        assert!(addresses.len() == 3 && addresses.iter().all(|address| *address == addresses[0]), "{addresses:?}");
        assert!(all.iter().all(|socket| socket.is_listening().unwrap()));
    }

    #[test]
    fn all_loops_share_a_port_and_nobody_else_does() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert!(addresses.iter().all(|&address| address == addresses[0] && address.port() != 0));
        assert_eq!(bind(addresses[0], 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
