//! A disk tier file: a header, then slots of one record each.
//!
//! ```text
//! file:   magic, geometry and fingerprint, checksum | slot 0 | slot 1 | …
//! slot:   header (136 bytes, see `record.rs`) | page or state
//! ```
//!
//! Slots have a fixed size, so records are overwritten in place and the file needs no compaction. Nothing is fsynced: a
//! killed process leaves complete writes behind, and checksums detect records torn by a power failure. Only the user may read
//! it: who has the model can guess prompts and compare.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use sm_cache::{ByteSize, PageKey};

use super::record::{HEADER_BYTES, Header, RecordKind, RecordName, Seal};
use crate::{KvDiskError, files};

/// File magic; the number is the format version.
const MAGIC: [u8; 16] = *b"SmallMind KV 01\n";
/// Magic, bytes of a record, fingerprint, checksum.
const FILE_HEADER_BYTES: usize = 16 + 8 + 16 + 16;

/// A file locked by this process.
#[derive(Debug)]
pub(super) struct RecordFile {
    file: File,
    seal: Seal,
    record_bytes: usize,
    n_slots: u32,
}

/// Parameters of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileParams<'a> {
    pub(super) kind: RecordKind,
    pub(super) dir: &'a Path,
    pub(super) max_bytes: u64,
    pub(super) fingerprint: u128,
    pub(super) record_bytes: usize,
}

/// The contents of a file on opening.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Per slot: the record's key and write number.
    pub(super) stored: Vec<Option<(PageKey, u64)>>,
    /// Records that were torn or damaged.
    pub(super) n_damaged: u64,
    /// The highest write number.
    pub(super) last_number: u64,
}

/// The result of reading a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The requested record.
    Intact,
    /// A different intact record with the same key.
    Other,
    /// Torn or damaged.
    Damaged,
}

impl RecordFile {
    /// Opens or creates a file. Clears it if its fingerprint or record size differs, and truncates it to the limit.
    ///
    /// # Errors
    /// If the directory is in use, the limit is smaller than one record, or the file cannot be used.
    pub(super) fn open(params: &FileParams<'_>) -> Result<(Self, Contents), KvDiskError> {
        let FileParams { kind, dir, max_bytes, fingerprint, record_bytes } = *params;
        let slot_bytes = (HEADER_BYTES + record_bytes) as u64;
        let needed = FILE_HEADER_BYTES as u64 + slot_bytes;
        if max_bytes < needed {
            return Err(KvDiskError::TooSmall { needed: ByteSize(needed), limit: ByteSize(max_bytes) });
        }
        let n_slots = (max_bytes - FILE_HEADER_BYTES as u64) / slot_bytes;
        let n_slots = u32::try_from(n_slots).unwrap_or(u32::MAX);
        std::fs::create_dir_all(dir).map_err(KvDiskError::io("create the directory", dir))?;
        let path = dir.join(file_name(kind));
        let mut options = files::private();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(KvDiskError::io("open", &path))?;
        lock(&file, dir, &path)?;
        // Pages tell their prompts to who has the model. Earlier versions made the file readable for all.
        files::make_private(&file).map_err(KvDiskError::io("take the permissions of others from", &path))?;
        let mut file = Self { file, seal: Seal { fingerprint }, record_bytes, n_slots };
        let contents = file.read_contents().map_err(KvDiskError::io("prepare", &path))?;
        Ok((file, contents))
    }

    /// Removes a file left in the directory by an earlier model, if any.
    pub(super) fn remove(kind: RecordKind, dir: &Path) {
        // Best effort: a leftover file is harmless.
        let _ = std::fs::remove_file(dir.join(file_name(kind)));
    }

    /// Capacity in records.
    pub(super) fn n_slots(&self) -> u32 {
        self.n_slots
    }

    fn slot_bytes(&self) -> u64 {
        (HEADER_BYTES + self.record_bytes) as u64
    }

    fn seek(&mut self, slot: u32) -> io::Result<()> {
        let offset = FILE_HEADER_BYTES as u64 + u64::from(slot) * self.slot_bytes();
        self.file.seek(SeekFrom::Start(offset)).map(|_| ())
    }

    fn read_contents(&mut self) -> io::Result<Contents> {
        let expected = file_header(self.record_bytes, self.seal.fingerprint);
        let len = self.file.metadata()?.len();
        let mut header = Vec::with_capacity(FILE_HEADER_BYTES);
        (&self.file).take(FILE_HEADER_BYTES as u64).read_to_end(&mut header)?;
        if header != expected {
            // A valid header of another model is not damage.
            let n_damaged = u64::from(len > 0 && !is_whole(&header));
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&expected)?;
            return Ok(Contents { n_damaged, ..Contents::default() });
        }
        let max_len = FILE_HEADER_BYTES as u64 + u64::from(self.n_slots) * self.slot_bytes();
        if len > max_len {
            self.file.set_len(max_len)?;
        }
        let slots_len = len.min(max_len) - FILE_HEADER_BYTES as u64;
        let mut contents = Contents::default();
        for slot in 0..slots_len.div_ceil(self.slot_bytes()) as u32 {
            let is_cut = slots_len < (u64::from(slot) + 1) * self.slot_bytes();
            let header = self.read_header(slot).ok();
            let stored =
                header.filter(|_| !is_cut).and_then(|bytes| Header::from_bytes(&bytes, self.seal, slot));
            if stored.is_none() && header != Some([0; HEADER_BYTES]) {
                contents.n_damaged += 1;
                self.clear(slot)?;
            }
            contents.last_number = contents.last_number.max(stored.map_or(0, |header| header.number));
            contents.stored.push(stored.map(|header| (header.name.key, header.number)));
        }
        Ok(contents)
    }

    fn read_header(&mut self, slot: u32) -> io::Result<[u8; HEADER_BYTES]> {
        let mut bytes = [0; HEADER_BYTES];
        self.seek(slot)?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Empties a slot.
    fn clear(&mut self, slot: u32) -> io::Result<()> {
        self.seek(slot)?;
        self.file.write_all(&[0; HEADER_BYTES])
    }

    /// Writes a record into a slot. The slot is empty during the write.
    ///
    /// # Errors
    /// On an I/O error; the slot is then empty or fails its checksum.
    pub(super) fn write(
        &mut self,
        slot: u32,
        name: &RecordName,
        number: u64,
        record: &[u8],
    ) -> io::Result<()> {
        self.clear(slot)?;
        self.file.write_all(record)?;
        let header = Header { name: *name, number, sum: self.seal.sum(slot, record) };
        self.seek(slot)?;
        self.file.write_all(&header.to_bytes(self.seal, slot))
    }

    /// Reads a slot's record into `record`, which is valid only if the outcome is [`Outcome::Intact`].
    pub(super) fn read(&mut self, slot: u32, name: &RecordName, record: &mut [u8]) -> Outcome {
        let bytes = self.read_header(slot).ok();
        let Some(header) = bytes.and_then(|bytes| Header::from_bytes(&bytes, self.seal, slot)) else {
            return Outcome::Damaged;
        };
        if header.name != *name {
            return Outcome::Other;
        }
        match self.file.read_exact(record) {
            Ok(()) if self.seal.sum(slot, record) == header.sum => Outcome::Intact,
            _ => Outcome::Damaged,
        }
    }
}

fn file_name(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Page => "smallmind-kv.pages",
        RecordKind::State => "smallmind-kv.states",
    }
}

fn lock(file: &File, dir: &Path, path: &Path) -> Result<(), KvDiskError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(KvDiskError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(KvDiskError::io("lock", path)(source)),
    }
}

fn file_header(record_bytes: usize, fingerprint: u128) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend((record_bytes as u64).to_le_bytes());
    header.extend(fingerprint.to_le_bytes());
    header.extend(header_sum(&header));
    header
}

fn header_sum(sealed: &[u8]) -> [u8; 16] {
    Seal { fingerprint: 0 }.sum(0, sealed).to_le_bytes()
}

/// Whether a file's header is intact, for any model.
fn is_whole(header: &[u8]) -> bool {
    header.split_last_chunk().is_some_and(|(sealed, sum)| header_sum(sealed) == *sum)
}

#[cfg(test)]
mod tests;
