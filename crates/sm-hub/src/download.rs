//! One file: fetched from where an earlier run ended, hashed on the way, and put in its place when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ureq::Body;
use ureq::http::Response;

use crate::cache::lock::Lock;
use crate::cache::{Cache, Folder, size};
use crate::cancel::Cancel;
use crate::digest::Hasher;
use crate::error::HubError;
use crate::http::{Failed, Http, Retries, Subject, answer, interrupted};
use crate::repository::Contents;

/// Received, hashed and written at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// A file to fetch.
pub(crate) struct Job<'a> {
    pub(crate) url: String,
    pub(crate) subject: Subject<'a>,
    pub(crate) path: &'a str,
    pub(crate) contents: &'a Contents,
    pub(crate) folder: Folder,
    pub(crate) pointer: PathBuf,
}

/// What fetching needs.
#[derive(Clone, Copy)]
pub(crate) struct Means<'a> {
    pub(crate) http: &'a Http,
    pub(crate) cache: &'a Cache,
    pub(crate) cancel: &'a Cancel,
}

impl Job<'_> {
    /// Whether the file is in its place. A file of another size is none.
    pub(crate) fn is_done(&self) -> bool {
        size(&self.pointer) == Some(self.contents.size)
    }

    /// The bytes still to be received.
    pub(crate) fn missing_bytes(&self) -> u64 {
        let is_here = self.is_done() || size(&self.blob()) == Some(self.contents.size);
        let received = || size(&self.incomplete()).unwrap_or(0);
        if is_here { 0 } else { self.contents.size.saturating_sub(received()) }
    }

    fn blob(&self) -> PathBuf {
        self.folder.blob(&self.contents.checksum)
    }

    fn incomplete(&self) -> PathBuf {
        self.folder.blobs().join(format!("{}.incomplete", self.contents.checksum.hex()))
    }

    /// Fetches the file, or waits until another process has. `progress` is told how many bytes are there.
    pub(crate) fn run(&self, means: Means<'_>, progress: &mut dyn FnMut(u64)) -> Result<(), HubError> {
        if self.is_done() {
            return Ok(());
        }
        means.cache.prepare(&self.folder)?;
        let lock = self.folder.locks.join(format!("{}.lock", self.contents.checksum.hex()));
        let incomplete = self.incomplete();
        let _lock = Lock::acquire(&lock, means.cancel, &mut || progress(size(&incomplete).unwrap_or(0)))?;
        let blob = self.blob();
        // Another process may have fetched it meanwhile.
        if self.is_done() {
            return Ok(());
        }
        if size(&blob) != Some(self.contents.size) {
            self.receive(means, progress)?;
            fs::rename(&incomplete, &blob)
                .or_else(|error| {
                    // Where locks do not work, another process may have done so.
                    if size(&blob) == Some(self.contents.size) { Ok(()) } else { Err(error) }
                })
                .map_err(HubError::io("write", &blob))?;
        }
        means.cache.point(&self.pointer, &blob)
    }

    /// Completes the incomplete file.
    fn receive(&self, means: Means<'_>, progress: &mut dyn FnMut(u64)) -> Result<(), HubError> {
        let path = self.incomplete();
        let mut partial = Partial::open(&path, self.contents, means.cancel)?;
        // If what an earlier run left is wrong, only the whole shows it; then everything is fetched again, once.
        let mut may_be_stale = partial.len > 0;
        loop {
            means.http.retrying(&self.url, |retries| {
                if partial.len < self.contents.size {
                    self.attempt(&mut partial, means, retries, progress)?;
                }
                Ok(())
            })?;
            let found = partial.hasher.clone().finish();
            if found == self.contents.checksum.hex() {
                return partial.end();
            }
            if !may_be_stale {
                drop(partial);
                fs::remove_file(&path).map_err(HubError::io("remove", &path))?;
                let expected = self.contents.checksum.hex().to_owned();
                return Err(HubError::Checksum { file: self.path.to_owned(), expected, found });
            }
            may_be_stale = false;
            partial.restart(self.contents)?;
        }
    }

    /// One connection: fetches as much as comes.
    fn attempt(
        &self,
        partial: &mut Partial,
        means: Means<'_>,
        retries: &mut Retries,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Failed> {
        let response = means.http.get(&self.url, partial.len, &self.subject)?;
        // Whoever ignores the range sends everything.
        if !continues(&response, &self.url, partial.len)? {
            partial.restart(self.contents)?;
        }
        let mut body = response.into_body().into_reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        while partial.len < self.contents.size {
            means.cancel.check()?;
            let n_read = body.read(&mut chunk).map_err(|error| interrupted(&self.url, error))?;
            if n_read == 0 {
                let cut = io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the connection ended after {} of {} bytes", partial.len, self.contents.size),
                );
                return Err(interrupted(&self.url, cut));
            }
            let left = self.contents.size - partial.len;
            // What comes beyond the end is not the file's; the checksum decides.
            let n_kept = usize::try_from(left).map_or(n_read, |left| left.min(n_read));
            partial.append(&chunk[..n_kept])?;
            retries.progressed();
            progress(partial.len);
        }
        Ok(())
    }
}

/// Whether a response goes on at `from`, rather than beginning at the beginning.
fn continues(response: &Response<Body>, url: &str, from: u64) -> Result<bool, HubError> {
    if response.status().as_u16() != 206 {
        return Ok(from == 0);
    }
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok()).unwrap_or("");
    let start =
        range.strip_prefix("bytes ").and_then(|range| range.split('-').next()?.trim().parse::<u64>().ok());
    match start {
        Some(start) if start == from => Ok(true),
        _ => Err(answer(url, &format!("the range {range:?} where bytes from {from} on were asked for"))),
    }
}

/// A file that grows, and the hash of what is in it.
struct Partial {
    file: File,
    path: PathBuf,
    len: u64,
    hasher: Hasher,
}

impl Partial {
    /// Opens what an earlier run left, and hashes it. Bytes are always written at their place, never appended: where locks do
    /// not work, two processes then write the same file, and not twice the file.
    fn open(path: &Path, contents: &Contents, cancel: &Cancel) -> Result<Self, HubError> {
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file = opened.map_err(HubError::io("write", path))?;
        let mut partial =
            Self { file, path: path.to_owned(), len: 0, hasher: contents.checksum.hasher(contents.size) };
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            cancel.check()?;
            let n_read = partial.file.read(&mut chunk).map_err(HubError::io("read", path))?;
            if n_read == 0 {
                return Ok(partial);
            }
            partial.len += n_read as u64;
            if partial.len > contents.size {
                partial.restart(contents)?;
                return Ok(partial);
            }
            partial.hasher.update(&chunk[..n_read]);
        }
    }

    fn restart(&mut self, contents: &Contents) -> Result<(), HubError> {
        self.len = 0;
        self.hasher = contents.checksum.hasher(contents.size);
        self.file.seek(SeekFrom::Start(0)).map_err(HubError::io("write", &self.path))?;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(HubError::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Makes sure that what is renamed next has reached the disk.
    fn end(self) -> Result<(), HubError> {
        let ended = self.file.set_len(self.len).and_then(|()| self.file.sync_all());
        ended.map_err(HubError::io("write", &self.path))
    }
}
