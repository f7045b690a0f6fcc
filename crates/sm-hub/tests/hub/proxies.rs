//! Connections go through the proxy that is set, except to hosts that are exempt.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sm_hub::Hub;

use crate::scratch::{Scratch, bytes, pull};
use crate::stand_in::StandIn;

/// A proxy that opens tunnels, and the heads of what it was asked for.
struct Proxy {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                thread::spawn(move || _ = tunnel(&stream, &seen));
            }
        });
        Self { address, heads }
    }
}

fn tunnel(client: &TcpStream, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    seen.lock().unwrap().push(head);
    let mut client = client;
    let server = &TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    thread::scope(|scope| {
        // What the client sends ends with its connection.
        let mut request = client;
        scope.spawn(move || _ = std::io::copy(&mut request, &mut { server }));
        let mut answer = Vec::new();
        let _ = { server }.read_to_end(&mut answer);
        let _ = client.write_all(&answer);
        let _ = client.shutdown(std::net::Shutdown::Both);
    });
    Ok(())
}

#[test]
fn a_proxy_is_used_unless_the_host_is_exempt() {
    for (exempt, is_used) in [("", true), ("example.com", true), ("127.0.0.1", false), ("*", false)] {
        let (scratch, stand_in, proxy) = (Scratch::new("proxy"), StandIn::start(), Proxy::start());
        stand_in.large("a/b", "m-Q4_0.gguf", bytes(50_000));
        let mut settings = scratch.settings(&stand_in);
        settings.proxies.http = Some(format!("http://me:secret@{}", proxy.address));
        exempt.clone_into(&mut settings.proxies.exempt);
        pull(&Hub::new(settings), "a/b").unwrap();
        let heads = proxy.heads.lock().unwrap().clone();
        assert_eq!(heads.len(), if is_used { 3 } else { 0 }, "{exempt:?}: {heads:?}");
        // Base64 of me:secret.
        assert!(
            heads.iter().all(|head| head.to_ascii_lowercase().contains("proxy-authorization: basic ")),
            "{heads:?}"
        );
        assert!(heads.iter().all(|head| head.contains("bWU6c2VjcmV0")), "{heads:?}");
    }
}
