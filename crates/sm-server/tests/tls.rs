//! HTTPS: with the certificate's authority, over both versions of HTTP, and with a certificate that is replaced.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sm_runtime::{ModelRef, ModelSpec, Models};
use sm_server::{Server, ServerConfig, ServerError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    sm_hub::crypto_provider().unwrap()
}

/// A file of the authority that the machine running the tests would trust.
fn known(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sm-cli/tests/data/tls").join(file)
}

fn other(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(file)
}

async fn server(certificate: &Path, key: &Path) -> Result<Server, ServerError> {
    let models = Models::new(1 << 30);
    models.add("demo", ModelSpec::new(ModelRef::Demo)).unwrap();
    let config = ServerConfig::new("demo").grace(Duration::from_secs(5)).tls(certificate, key, provider());
    Server::bind("127.0.0.1:0", models, config).await
}

async fn connect(
    address: SocketAddr,
    authority: &Path,
    protocols: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await
}

/// The answer of `/health` over HTTP/1.1.
async fn health(mut stream: TlsStream<TcpStream>) -> String {
    let request = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn both_versions_of_http_are_served_to_those_who_trust_the_certificate() {
    let server = server(&known("localhost.pem"), &known("localhost.key.pem")).await.unwrap();
    let address = server.address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(server.run(async move { _ = stopped.await }));
    for protocols in [&[][..], &[&b"http/1.1"[..]]] {
        let stream = connect(address, &known("ca.pem"), protocols).await.unwrap();
        let answer = health(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("healthy"), "{answer}");
    }
    let stream = connect(address, &known("ca.pem"), &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://localhost/health").body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (200.try_into().unwrap(), hyper::Version::HTTP_2));
    assert!(
        String::from_utf8_lossy(&answer.into_body().collect().await.unwrap().to_bytes()).contains("healthy")
    );
    drop(sender);
    connection.await.unwrap().unwrap();
    let unknown = connect(address, &other("other.pem"), &[]).await.unwrap_err();
    assert!(unknown.to_string().contains("UnknownIssuer"), "{unknown}");
    // What is no TLS is hung up on, and costs nobody else anything.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_is_replaced_without_a_restart_and_a_broken_one_is_not() {
    let folder = std::env::temp_dir().join(format!("sm-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|file| folder.join(file));
    std::fs::copy(known("localhost.pem"), &certificate).unwrap();
    std::fs::copy(known("localhost.key.pem"), &key).unwrap();
    let server = server(&certificate, &key).await.unwrap();
    let (address, reload) = (server.address(), server.reload());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(server.run(async move { _ = stopped.await }));
    health(connect(address, &known("ca.pem"), &[]).await.unwrap()).await;
    std::fs::write(&certificate, "no certificate").unwrap();
    reload.now();
    tokio::time::sleep(Duration::from_millis(200)).await;
    health(connect(address, &known("ca.pem"), &[]).await.unwrap()).await;
    std::fs::copy(other("other.pem"), &certificate).unwrap();
    std::fs::copy(other("other.key.pem"), &key).unwrap();
    reload.now();
    while connect(address, &other("other.pem"), &[]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    connect(address, &known("ca.pem"), &[]).await.unwrap_err();
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    for (certificate, key, named) in [
        (PathBuf::from("none.pem"), known("localhost.key.pem"), "none.pem"),
        (known("localhost.key.pem"), known("localhost.key.pem"), "no certificate"),
        (known("localhost.pem"), other("other.key.pem"), "other.key.pem"),
    ] {
        let error = server(&certificate, &key).await.unwrap_err().to_string();
        assert!(error.contains("for TLS") && error.contains(named), "{error}");
    }
}
