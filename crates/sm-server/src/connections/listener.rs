//! Where connections come from.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::net::{TcpListener, TcpStream};

use super::{Peer, Stream};

/// What listens.
#[derive(Debug)]
pub(crate) enum Listener {
    /// At several addresses.
    Tcp(Vec<TcpListener>),
    #[cfg(unix)]
    Unix(UnixSocket),
}

/// A unix socket, whose file is removed in the end.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at an address.
    pub(crate) async fn tcp(address: &str) -> io::Result<Self> {
        TcpListener::bind(address).await.map(|listener| Self::Tcp(vec![listener]))
    }

    /// Listens at another address too, unless it is a unix socket.
    pub(crate) async fn also_tcp(&mut self, address: &str) -> io::Result<()> {
        let another = TcpListener::bind(address).await?;
        match self {
            Self::Tcp(listeners) => listeners.push(another),
            #[cfg(unix)]
            Self::Unix(_) => {}
        }
        Ok(())
    }

    /// Listens at a path. A socket that an earlier process has left there, at which nobody listens, is replaced.
    #[cfg(unix)]
    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::FileTypeExt;
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
        if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        Ok(Self::Unix(UnixSocket { listener, path: path.to_owned() }))
    }

    /// The first address, of a listener that has one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.addresses().first().copied()
    }

    /// All addresses.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Tcp(listeners) => {
                listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
            }
            #[cfg(unix)]
            Self::Unix(_) => Vec::new(),
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Self::Tcp(listeners) => {
                let (stream, address) = poll_fn(|context| accept_any(listeners, context)).await?;
                // A token is sent when it is there.
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Peer(Some(address.ip()))))
            }
            #[cfg(unix)]
            Self::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                Ok((Box::new(stream), Peer(None)))
            }
        }
    }
}

/// A connection to whichever listener has one.
fn accept_any(
    listeners: &[TcpListener],
    context: &mut Context<'_>,
) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
    let mut accepted = listeners.iter().map(|listener| listener.poll_accept(context));
    accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
}

#[cfg(unix)]
impl Drop for UnixSocket {
    fn drop(&mut self) {
        // It may have been removed by hand.
        let _ = std::fs::remove_file(&self.path);
    }
}
