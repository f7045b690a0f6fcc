//! A hub behind TLS, whose certificate the machine trusts or not.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::run::{Scratch, sm_with_env};
use crate::stand_in::StandIn;

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(file)
}

/// Passes requests on to a hub without TLS. Returns its port.
fn terminate_tls(endpoint: &str) -> u16 {
    let certificate = CertificateDer::from_pem_file(data("localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(data("localhost.key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let address = endpoint.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("localhost:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // Clients that do not trust the certificate go away.
            let _ = pass_on(StreamOwned::new(connection, stream), &address);
        }
    });
    port
}

fn pass_on(stream: StreamOwned<ServerConnection, TcpStream>, address: &str) -> std::io::Result<()> {
    let mut client = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let mut hub = TcpStream::connect(address)?;
    hub.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    hub.read_to_end(&mut answer)?;
    let mut stream = client.into_inner();
    stream.write_all(&answer)?;
    stream.conn.send_close_notify();
    stream.flush()
}

#[test]
fn a_hub_is_trusted_for_its_certificate_and_its_name() {
    let (stand_in, scratch) = (StandIn::start(), Scratch::new("hub-tls"));
    stand_in.large("a/b", "m-Q4_0.gguf", "weights").gate("a/b", "hf_secret");
    let port = terminate_tls(&stand_in.endpoint);
    let pull = |host: &str, authorities: &Path| {
        let authorities = authorities.to_str().unwrap().to_owned();
        let environment = [
            ("HF_ENDPOINT", format!("https://{host}:{port}")),
            ("HF_HUB_CACHE", scratch.path("cache")),
            ("HF_TOKEN", "hf_secret".to_owned()),
            ("SSL_CERT_FILE", authorities),
            ("SSL_CERT_DIR", String::new()),
        ];
        sm_with_env(&environment, &["pull", "a/b"])
    };
    let unknown = pull("localhost", &data("localhost.pem")).error(1);
    assert!(unknown.contains("no secure connection") && unknown.contains("UnknownIssuer"), "{unknown}");
    let other_name = pull("127.0.0.1", &data("ca.pem")).error(1);
    assert!(other_name.contains("not valid for"), "{other_name}");
    let nothing = pull("localhost", Path::new("/no/such/file")).error(1);
    assert!(nothing.contains("install ca-certificates, or set SSL_CERT_FILE"), "{nothing}");
    assert!(stand_in.seen().is_empty(), "nothing was said to a host that is not trusted");
    let path = pull("localhost", &data("ca.pem")).success();
    assert_eq!(std::fs::read(path.trim()).unwrap(), b"weights");
    let seen = stand_in.seen();
    assert!(seen.iter().all(|seen| seen.by_hub == seen.authorization.is_some()), "{seen:?}");
}
