//! A hub on this machine, and the other host to which it sends those who want large files. It can do all that goes wrong.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The commit of `main`.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of a repository.
#[derive(Clone, Debug)]
struct File {
    bytes: Vec<u8>,
    is_large: bool,
}

/// A repository.
#[derive(Clone, Debug, Default)]
struct Repo {
    commit: String,
    files: BTreeMap<String, File>,
    /// Only this token may read the files.
    gate: Option<String>,
}

/// What goes wrong with the next answers that send contents, each once.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The connection ends after this many bytes of the body.
    Cut(usize),
    /// This status, with these headers.
    Status(u16, &'static str),
    /// The range is ignored.
    Whole,
    /// The range is another one than what was asked for.
    OtherRange,
    /// One byte of the body is wrong.
    Corrupt,
    /// The connection stays open and silent after this many bytes.
    Silence(usize),
}

/// A request that was received.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Whether the hub got it, not the other host.
    pub(crate) by_hub: bool,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    repos: BTreeMap<String, Repo>,
    /// Old names and new ones.
    renamed: BTreeMap<String, String>,
    faults: Vec<Fault>,
    listing_faults: Vec<Fault>,
    seen: Vec<Seen>,
    hides_blobs: bool,
    n_bytes_per_pause: Option<usize>,
    other: String,
}

/// The hub. Its threads end with the process.
#[derive(Clone, Debug)]
pub(crate) struct StandIn {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let endpoint = listen(&state, true);
        let other = listen(&state, false);
        state.lock().unwrap().other = other;
        Self { endpoint, state }
    }

    /// Adds a file that git holds itself.
    pub(crate) fn small(&self, repo: &str, path: &str, bytes: impl AsRef<[u8]>) -> &Self {
        self.add(repo, path, bytes.as_ref(), false)
    }

    /// Adds a file that large file storage holds.
    pub(crate) fn large(&self, repo: &str, path: &str, bytes: impl AsRef<[u8]>) -> &Self {
        self.add(repo, path, bytes.as_ref(), true)
    }

    fn add(&self, repo: &str, path: &str, bytes: &[u8], is_large: bool) -> &Self {
        let file = File { bytes: bytes.to_vec(), is_large };
        let mut state = self.state.lock().unwrap();
        let repo = state.repos.entry(repo.to_owned()).or_default();
        if repo.commit.is_empty() {
            COMMIT.clone_into(&mut repo.commit);
        }
        repo.files.insert(path.to_owned(), file);
        drop(state);
        self
    }

    /// Starts a new commit that keeps the files.
    pub(crate) fn commit(&self, repo: &str, commit: &str) {
        self.edit(|state| commit.clone_into(&mut state.repos.get_mut(repo).unwrap().commit));
    }

    pub(crate) fn gate(&self, repo: &str, token: &str) {
        self.edit(|state| state.repos.get_mut(repo).unwrap().gate = Some(token.to_owned()));
    }

    pub(crate) fn rename(&self, old: &str, new: &str) {
        self.edit(|state| state.renamed.insert(old.to_owned(), new.to_owned()));
    }

    /// Leaves checksums out of the list of files, as mirrors do.
    pub(crate) fn hide_blobs(&self) {
        self.edit(|state| state.hides_blobs = true);
    }

    /// Sends contents slowly: a millisecond after each `n_bytes`.
    pub(crate) fn slow(&self, n_bytes: usize) {
        self.edit(|state| state.n_bytes_per_pause = Some(n_bytes));
    }

    pub(crate) fn fail(&self, faults: &[Fault]) {
        self.edit(|state| state.faults.extend_from_slice(faults));
    }

    pub(crate) fn fail_listing(&self, faults: &[Fault]) {
        self.edit(|state| state.listing_faults.extend_from_slice(faults));
    }

    /// The requests since the last call.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    fn edit<T>(&self, change: impl FnOnce(&mut State) -> T) {
        change(&mut self.state.lock().unwrap());
    }
}

/// Git's hash of a small file, SHA-256 of a large one: the names of their blobs.
pub(crate) fn git_hash(bytes: &[u8]) -> String {
    let hasher = Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn listen(state: &Arc<Mutex<State>>, is_hub: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let state = Arc::clone(&state);
            // A client that goes away is no failure of the test.
            thread::spawn(move || _ = serve(&stream, &state, is_hub));
        }
    });
    address
}

fn serve(stream: &TcpStream, state: &Mutex<State>, is_hub: bool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut seen = Seen {
        by_hub: is_hub,
        method: method.to_owned(),
        path: path.to_owned(),
        authorization: None,
        range: None,
    };
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "authorization" => seen.authorization = Some(value.to_owned()),
            "range" => seen.range = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut locked = state.lock().unwrap();
    locked.seen.push(seen.clone());
    let answer = if is_hub { locked.answer_as_hub(&seen) } else { locked.answer_as_other(&seen) };
    let pause = locked.n_bytes_per_pause;
    drop(locked);
    answer.send(stream, method == "HEAD", pause)
}

/// An answer, and what goes wrong with it.
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    fault: Option<Fault>,
}

impl Answer {
    fn new(status: u16, headers: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: headers.into(), body: body.into(), fault: None }
    }

    fn refuse(status: u16, code: &str) -> Self {
        Self::new(status, format!("x-error-code: {code}\r\n"), "")
    }

    fn send(self, mut stream: &TcpStream, is_head: bool, pause: Option<usize>) -> std::io::Result<()> {
        let Self { mut status, mut headers, mut body, fault } = self;
        let mut n_sent = body.len();
        match fault {
            Some(Fault::Status(other, others_headers)) => {
                (status, headers, body, n_sent) = (other, others_headers.to_owned(), Vec::new(), 0);
            }
            Some(Fault::Cut(n) | Fault::Silence(n)) => n_sent = n.min(n_sent),
            Some(Fault::Corrupt) => {
                let middle = body.len() / 2;
                body[middle] ^= 1;
            }
            Some(Fault::Whole | Fault::OtherRange) | None => {}
        }
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
        )?;
        if is_head {
            return Ok(());
        }
        for piece in body[..n_sent].chunks(pause.unwrap_or(usize::MAX)) {
            stream.write_all(piece)?;
            if pause.is_some() {
                thread::sleep(Duration::from_millis(1));
            }
        }
        if matches!(fault, Some(Fault::Silence(_))) {
            thread::sleep(Duration::from_secs(60));
        }
        Ok(())
    }
}

impl State {
    fn answer_as_hub(&mut self, seen: &Seen) -> Answer {
        let path = seen.path.split('?').next().unwrap();
        if let Some((old, new)) = self.renamed.iter().find(|(old, _)| path.contains(*old)) {
            let location = seen.path.replacen(old, new, 1);
            return Answer::new(307, format!("location: {location}\r\n"), "");
        }
        if let Some(rest) = path.strip_prefix("/api/models/") {
            let (repo, revision) = rest.split_once("/revision/").unwrap();
            let mut answer = self.list(repo, revision);
            answer.fault = (!self.listing_faults.is_empty()).then(|| self.listing_faults.remove(0));
            return answer;
        }
        let (repo, rest) = path.trim_start_matches('/').split_once("/resolve/").unwrap();
        let (commit, file) = rest.split_once('/').unwrap();
        let Some(repo) = self.repos.get(repo) else { return Answer::refuse(401, "RepoNotFound") };
        let token = seen.authorization.as_ref().and_then(|value| value.strip_prefix("Bearer "));
        match (&repo.gate, token) {
            (Some(_), None) => return Answer::refuse(401, "GatedRepo"),
            (Some(gate), Some(token)) if gate != token => return Answer::refuse(403, "GatedRepo"),
            _ => {}
        }
        let Some(File { bytes, is_large }) = repo.files.get(&decoded(file)).cloned() else {
            return Answer::refuse(404, "EntryNotFound");
        };
        let headers = format!("x-repo-commit: {commit}\r\n");
        if is_large {
            let (hash, size, other) = (sha256(&bytes), bytes.len(), &self.other);
            let headers = format!(
                "{headers}etag: \"redirect\"\r\nx-linked-etag: \"{hash}\"\r\nx-linked-size: {size}\r\nlocation: {other}/{hash}?signature=secret\r\n"
            );
            return Answer::new(302, headers, "");
        }
        let headers = format!("{headers}etag: \"{}\"\r\n", git_hash(&bytes));
        self.contents(&bytes, headers, seen)
    }

    fn answer_as_other(&mut self, seen: &Seen) -> Answer {
        let hash = seen.path.trim_start_matches('/').split('?').next().unwrap();
        if !seen.path.ends_with("?signature=secret") {
            return Answer::refuse(403, "");
        }
        let files = self.repos.values().flat_map(|repo| repo.files.values());
        let file = files.filter(|file| file.is_large).find(|file| sha256(&file.bytes) == hash).cloned();
        self.contents(&file.unwrap().bytes, String::new(), seen)
    }

    fn contents(&mut self, bytes: &[u8], headers: String, seen: &Seen) -> Answer {
        let is_sent = seen.method == "GET";
        let fault = (is_sent && !self.faults.is_empty()).then(|| self.faults.remove(0));
        let from = seen.range.as_ref().map(|range| {
            range
                .strip_prefix("bytes=")
                .and_then(|range| range.strip_suffix('-'))
                .unwrap()
                .parse::<usize>()
                .unwrap()
        });
        let mut answer = match (from, &fault) {
            (None, _) | (_, Some(Fault::Whole)) => Answer::new(200, headers, bytes),
            (Some(from), Some(Fault::OtherRange)) => {
                let range = format!(
                    "{headers}content-range: bytes {}-{}/{}\r\n",
                    from - 1,
                    bytes.len() - 1,
                    bytes.len()
                );
                Answer::new(206, range, &bytes[from - 1..])
            }
            (Some(from), _) if from >= bytes.len() => Answer::new(416, headers, ""),
            (Some(from), _) => {
                let range =
                    format!("{headers}content-range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                Answer::new(206, range, &bytes[from..])
            }
        };
        answer.fault = fault;
        answer
    }

    fn list(&self, name: &str, revision: &str) -> Answer {
        let Some(repo) = self.repos.get(name) else { return Answer::refuse(401, "RepoNotFound") };
        if revision != "main" && revision != repo.commit && revision != "refs%2Fpr%2F1" {
            return Answer::refuse(404, "RevisionNotFound");
        }
        let siblings: Vec<String> = repo.files.iter().map(|(path, file)| self.sibling(path, file)).collect();
        let body = format!(
            "{{\"id\": \"{name}\", \"sha\": \"{}\", \"siblings\": [{}]}}",
            repo.commit,
            siblings.join(",")
        );
        Answer::new(200, "content-type: application/json\r\n", body)
    }

    fn sibling(&self, path: &str, file: &File) -> String {
        let (git, long, size) = (git_hash(&file.bytes), sha256(&file.bytes), file.bytes.len());
        match (self.hides_blobs, file.is_large) {
            (true, _) => format!("{{\"rfilename\": {path:?}}}"),
            (false, false) => format!("{{\"rfilename\": {path:?}, \"size\": {size}, \"blobId\": \"{git}\"}}"),
            (false, true) => format!(
                "{{\"rfilename\": {path:?}, \"size\": {size}, \"blobId\": \"{git}\", \"lfs\": {{\"sha256\": \"{long}\", \"size\": {size}, \"pointerSize\": 134}}}}"
            ),
        }
    }
}

/// A path without `%XX`.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}
