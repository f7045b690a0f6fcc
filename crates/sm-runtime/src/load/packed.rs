//! Stores packed weights in a file that the next load maps.
//!
//! ```text
//! magic 16 | key 16 | chunk bytes 8 | total bytes 8 | CRC-32 of each chunk | CRC-32 of all before | zeros | weights, aligned
//! ```
//!
//! The key covers the model's files (device, inode, length and times; hashing their contents would take as long as
//! packing), the plan's matrices, and the program, because another build may pack differently. A file with a different key
//! or a bad checksum is rewritten. Files are written under a temporary name and renamed, so no process maps a partial one.

mod mapped;
mod partial;
#[cfg(unix)]
mod sigbus;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::hash::Hasher as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use siphasher::sip128::{Hasher128 as _, SipHasher13};
use sm_cache::ByteSize;
use sm_kernels::plan::{PackedBytes, StoredBytes};
use sm_model::{Model, ModelSource};
use tracing::{info, warn};

use super::LoadOptions;
use crate::chunks::{self, CHUNK_BYTES};
use crate::kv_disk::program_fingerprint;
use crate::{Error, LoadError, files};
use mapped::MappedFile;
use partial::PartialFile;

/// File magic; the number is the format version.
const MAGIC: [u8; 16] = *b"SmallMind PW 01\n";
/// How the names of the files end.
const SUFFIX: &str = ".packed";
/// Alignment of the weights: a multiple of every system's page size.
const ALIGN: usize = 64 << 10;
/// Size of magic, key, chunk bytes and total bytes.
const FIXED_BYTES: usize = 16 + 16 + 8 + 8;

/// The file of a model's packed weights.
#[derive(Debug)]
pub(super) struct PackedFile {
    path: PathBuf,
    /// Everything that determines the contents, except their form.
    key_text: String,
    n_threads: usize,
}

/// The weights in a mapped file.
struct MappedWeights {
    file: MappedFile,
    start: usize,
}

impl StoredBytes for MappedWeights {
    fn bytes(&self) -> &[u8] {
        &self.file.bytes()[self.start..]
    }

    fn check(&self) -> Result<(), String> {
        self.file.check()
    }
}

impl PackedFile {
    /// A model's file in `dir`, which is created if necessary; `None` for a built-in model. Removes what runs that were killed
    /// have left there.
    ///
    /// # Errors
    /// If the directory cannot be created, or the files of the model or the program cannot be examined.
    pub(super) fn of(dir: &Path, model: &Model, options: &LoadOptions) -> Result<Option<Self>, Error> {
        let no_dir = |source| LoadError::PackedDir { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(no_dir)?;
        partial::remove_left_over(dir, SUFFIX);
        let (ModelSource::Directory(path) | ModelSource::Gguf { path, .. } | ModelSource::Smnd { path, .. }) =
            &model.source;
        let look = |source| LoadError::PackedDir { path: path.clone(), source };
        let Some(files) = model.weights.file_metadata().map_err(look)? else {
            return Ok(None);
        };
        let files = identities(&files).map_err(look)?;
        let place = path.canonicalize().map_err(look)?;
        // One file per model and format: a new version of the model replaces it.
        let name = hash(&format!("{} {:?}", place.display(), options.quant));
        let mut file_name = place.file_stem().map_or_else(|| OsString::from("model"), OsString::from);
        file_name.push(format!("-{:016x}{SUFFIX}", name as u64));
        let key_text = format!("{files}{:?}\n{}\n", model.plan.matrices, program_fingerprint()?);
        let n_threads = options.device.n_threads().unwrap_or_else(chunks::n_processors);
        Ok(Some(Self { path: dir.join(file_name), key_text, n_threads }))
    }

    fn key(&self, form: &str) -> u128 {
        hash(&format!("{form}\n{}", self.key_text))
    }

    /// Maps the file if it holds `n_bytes` of this form, undamaged.
    pub(super) fn read(&self, form: &str, n_bytes: usize) -> Option<PackedBytes> {
        let file = match MappedFile::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %self.path.display(), %error, "cannot map packed weights; packing again");
                return None;
            }
        };
        let header_bytes = header_bytes(n_bytes);
        let all = file.bytes();
        let fixed = fixed_header(self.key(form), n_bytes);
        if all.len() != header_bytes + n_bytes || all[..FIXED_BYTES] != fixed {
            info!(path = %self.path.display(), "packed weights are outdated; packing again");
            return None;
        }
        let (header, bytes) = all.split_at(header_bytes);
        if header != make_header(&fixed, &self.checksums(bytes)) {
            warn!(path = %self.path.display(), "packed weights are damaged; packing again");
            return None;
        }
        Some(PackedBytes::new(MappedWeights { file, start: header_bytes }))
    }

    /// Writes the file. If that fails, the next load packs again.
    pub(super) fn write(&self, form: &str, bytes: &[u8]) {
        let header = make_header(&fixed_header(self.key(form), bytes.len()), &self.checksums(bytes));
        let write = || {
            let mut file = PartialFile::create(&self.path)?;
            file.write_all(&header)?;
            file.write_all(bytes)?;
            file.finish()
        };
        if let Err(error) = write() {
            let needed = ByteSize((header.len() + bytes.len()) as u64);
            let what = if files::is_full(&error) { "the disk is full" } else { "cannot write" };
            let path = self.path.display();
            warn!(%path, %error, "{what}: packed weights of {needed} are not stored, and the next load packs again");
        }
    }

    /// The checksum of each chunk.
    fn checksums(&self, bytes: &[u8]) -> Vec<u32> {
        chunks::hashes(bytes, self.n_threads, crc32fast::hash)
    }
}

/// File metadata that changes with the contents.
fn identities(files: &[Metadata]) -> io::Result<String> {
    let mut text = String::new();
    for metadata in files {
        // Writing to a string does not fail.
        #[cfg(unix)]
        let _ = {
            use std::os::unix::fs::MetadataExt as _;
            writeln!(
                text,
                "{} {} {} {:?} {} {}",
                metadata.dev(),
                metadata.ino(),
                metadata.len(),
                metadata.modified()?,
                metadata.ctime(),
                metadata.ctime_nsec()
            )
        };
        #[cfg(not(unix))]
        let _ = writeln!(text, "{} {:?}", metadata.len(), metadata.modified()?);
    }
    Ok(text)
}

fn hash(text: &str) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish128().as_u128()
}

fn header_bytes(n_bytes: usize) -> usize {
    (FIXED_BYTES + 4 * (n_bytes.div_ceil(CHUNK_BYTES) + 1)).next_multiple_of(ALIGN)
}

fn fixed_header(key: u128, n_bytes: usize) -> [u8; FIXED_BYTES] {
    let mut header = [0; FIXED_BYTES];
    header[..16].copy_from_slice(&MAGIC);
    header[16..32].copy_from_slice(&key.to_le_bytes());
    header[32..40].copy_from_slice(&(CHUNK_BYTES as u64).to_le_bytes());
    header[40..].copy_from_slice(&(n_bytes as u64).to_le_bytes());
    header
}

fn make_header(fixed: &[u8; FIXED_BYTES], checksums: &[u32]) -> Vec<u8> {
    let mut header = fixed.to_vec();
    checksums.iter().for_each(|sum| header.extend(sum.to_le_bytes()));
    header.extend(crc32fast::hash(&header).to_le_bytes());
    header.resize(header.len().next_multiple_of(ALIGN), 0);
    header
}
