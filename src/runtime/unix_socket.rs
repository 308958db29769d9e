//! Clients by way of a unix socket: a proxy on the same machine then needs no port for each of its connections to the node.
//!
//! SO_REUSEPORT is for ports alone. So there is one listening socket, of which each loop has a descriptor; see [`duplicate`](super::listener::duplicate).

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::limits::BACKLOG;

/// The file by which clients find a unix socket. It is removed with the value, unless another has taken its place.
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = |found: &fs::Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(|found| is_own(&found))
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("{} cannot be removed: {error}", self.path.display());
        }
    }
}

/// Listens on `path`, with the permissions `mode`. The file of a node that has ended without removing it is replaced.
pub fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path, &address)? => {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    // Nobody can connect before `listen`, so nobody meets other permissions than these.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    let found = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), device: found.dev(), inode: found.ino() };
    Ok((UnixListener::from(OwnedFd::from(socket)), file))
}

/// Whether `path` is a socket on which nobody listens. A regular file, whatever it is doing there, is never touched.
fn is_abandoned(path: &Path, address: &SockAddr) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    // Without waiting: one whose queue is full is in use.
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    Ok(probe.connect(address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_socket_has_the_permissions_it_was_given_and_goes_with_its_node() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texto.sock");
        let (listener, file) = bind(&path, 0o640).unwrap();
        assert_eq!(mode(&path), 0o640);
        UnixStream::connect(&path).unwrap();
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn what_a_node_left_behind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texto.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a listener of the standard library leaves its file behind");
        let (_listener, _file) = bind(&path, 0o600).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_in_use_or_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let [used, file] = ["used", "file"].map(|name| folder.path().join(name));
        let _other = UnixListener::bind(&used).unwrap();
        fs::write(&file, "precious").unwrap();
        for path in [&used, &file] {
            assert_eq!(bind(path, 0o600).err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse), "{}", path.display());
        }
        UnixStream::connect(&used).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn the_file_of_a_successor_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texto.sock");
        let old = bind(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let _new = bind(&path, 0o600).unwrap();
        drop(old);
        UnixStream::connect(&path).unwrap();
    }
}
