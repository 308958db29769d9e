//! What the peers share: how they are started and how they listen, so that they differ in nothing but their foundation.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// The accept queue of every peer; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// Listens on the `HOST:PORT` of the first argument (port 0: any free one) and prints one line that names the address.
///
/// Accepted sockets inherit `TCP_NODELAY` from the listener on Linux: no system call per connection.
pub fn listen(argument: Option<&str>) -> io::Result<TcpListener> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "the first argument is HOST:PORT");
    let address: SocketAddr = argument.and_then(|text| text.parse().ok()).ok_or_else(invalid)?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}
