//! TLS: certificates from files, which may change while the server runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ServerError;

/// What HTTP is spoken, the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate, and what encrypts.
#[derive(Clone)]
pub(crate) struct TlsSource {
    /// A PEM file of the certificate and those that vouch for it.
    pub(crate) certificate: PathBuf,
    /// A PEM file of its private key.
    pub(crate) key: PathBuf,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl std::fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsSource {{ certificate: {:?}, key: {:?} }}", self.certificate, self.key)
    }
}

/// The certificate in use. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: TlsSource,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<rustls::ServerConfig>,
    /// When the files were last changed.
    version: [Option<SystemTime>; 2],
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`ServerError::Tls`].
    pub(crate) fn new(source: TlsSource) -> Result<Self, ServerError> {
        let current = RwLock::new(Current { version: version(&source), config: read(&source)? });
        Ok(Self(Arc::new(Inner { source, current })))
    }

    /// Reads the files again, for connections from now on. If they are wrong, the certificate stays as it is.
    ///
    /// # Errors
    /// [`ServerError::Tls`].
    pub(crate) fn reload(&self) -> Result<(), ServerError> {
        let Inner { source, current } = &*self.0;
        // Before the contents, so that a change in between is noticed later.
        let version = version(source);
        let read = read(source);
        let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
        current.version = version;
        current.config = read?;
        Ok(())
    }

    /// Whether the files have changed since they were last read, or read in vain.
    pub(crate) fn have_files_changed(&self) -> bool {
        let Inner { source, current } = &*self.0;
        version(source) != current.read().unwrap_or_else(PoisonError::into_inner).version
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// If the client does not speak TLS, or none that the server speaks.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let config = Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner).config);
        TlsAcceptor::from(config).accept(stream).await
    }
}

fn version(source: &TlsSource) -> [Option<SystemTime>; 2] {
    [&source.certificate, &source.key]
        .map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
}

fn read(source: &TlsSource) -> Result<Arc<rustls::ServerConfig>, ServerError> {
    let failed = |path: &Path, message: String| ServerError::Tls { path: path.to_owned(), message };
    let TlsSource { certificate, key, provider } = source;
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| failed(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(failed(certificate, "it has no certificate in PEM form".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, error.to_string()))?;
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private);
    let mut config = config.map_err(|error| failed(key, error.to_string()))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
