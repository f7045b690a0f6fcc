//! The tensors that the matrices of a quantized checkpoint are made of.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::LoadError;
use crate::load::TensorInfo;
use crate::load::file::{FileBytes, Held};
use crate::load::stored::{FileTensors, StoredAs, unread_error};

/// A safetensors file and the tensors in it.
pub(crate) struct OpenFile {
    /// Empty for a file in memory.
    pub(crate) path: PathBuf,
    pub(crate) tensors: FileTensors,
    pub(crate) bytes: Arc<FileBytes>,
}

/// A tensor of codes, scales, zero points or the like.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: String,
    /// Slowest dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) stored: StoredAs,
    file: Arc<FileBytes>,
    range: Range<usize>,
}

impl Part {
    fn new(info: &TensorInfo, stored: StoredAs, file: &Arc<FileBytes>) -> Self {
        let TensorInfo { name, shape, bytes, .. } = info;
        let (name, shape, range) = (name.clone(), shape.clone(), bytes.clone());
        Self { name, shape, stored, file: Arc::clone(file), range }
    }

    /// Number of bytes.
    pub(super) fn n_bytes(&self) -> usize {
        self.range.len()
    }

    /// All bytes.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn bytes(&self) -> Result<Cow<'_, [u8]>, LoadError> {
        self.file.bytes(self.range.clone())
    }

    /// All bytes, which stay in memory until they are released.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn hold(&self) -> Result<Held<'_>, LoadError> {
        self.file.hold(self.range.clone())
    }

    /// A range of the bytes, copied to `buffer` if they are in a file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn read<'a>(
        &'a self,
        part: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], LoadError> {
        self.file.read(self.range.start + part.start..self.range.start + part.end, buffer)
    }

    /// Drops the bytes from memory, if they are held there.
    pub(super) fn release(&self) {
        self.file.release(self.range.clone());
    }

    /// Values as `i64`, of a tensor of integers.
    pub(super) fn integers(&self) -> Result<Vec<i64>, LoadError> {
        let bytes = self.bytes()?;
        match self.stored {
            StoredAs::I64 => Ok(bytes.as_chunks().0.iter().map(|&value| i64::from_le_bytes(value)).collect()),
            StoredAs::I32 => {
                let values = bytes.as_chunks().0.iter();
                Ok(values.map(|&value| i64::from(i32::from_le_bytes(value))).collect())
            }
            _ => Err(self.wrong_type("I32 or I64")),
        }
    }

    /// The two extents of a matrix.
    ///
    /// # Errors
    /// If there are more or less, or one of them is zero.
    pub(super) fn extents(&self) -> Result<[usize; 2], LoadError> {
        match self.shape[..] {
            [rows, cols] if rows > 0 && cols > 0 => Ok([rows, cols]),
            _ => Err(self.error(format!("it has shape {:?}, expected a matrix", self.shape))),
        }
    }

    /// Checks the shape.
    pub(super) fn expect_shape(&self, expected: &[usize]) -> Result<(), LoadError> {
        if self.shape == expected {
            return Ok(());
        }
        Err(self.error(format!(
            "it has shape {:?} but the other tensors of its matrix imply {expected:?}",
            self.shape
        )))
    }

    /// Checks how the values are stored; `names` lists `allowed`, for the message.
    pub(super) fn expect_type(&self, allowed: &[StoredAs], names: &'static str) -> Result<(), LoadError> {
        if allowed.contains(&self.stored) { Ok(()) } else { Err(self.wrong_type(names)) }
    }

    fn wrong_type(&self, expected: &'static str) -> LoadError {
        self.error(format!("it is stored as {}, expected {expected}", self.stored.name()))
    }

    /// An error about this tensor.
    pub(super) fn error(&self, reason: String) -> LoadError {
        LoadError::Quantized { tensor: self.name.clone(), reason }
    }
}

/// All tensors of a model by name, and which of them have been taken as parts of quantized matrices.
pub(super) struct Parts {
    by_name: HashMap<String, Part>,
    /// Names and types of the tensors that cannot be read.
    unread: HashMap<String, String>,
    taken: BTreeSet<String>,
}

impl Parts {
    pub(super) fn of(files: &[OpenFile]) -> Self {
        let mut by_name = HashMap::new();
        for OpenFile { tensors, bytes, .. } in files {
            let plain = tensors.plain.iter().map(|info| (info, StoredAs::Own(info.dtype)));
            let foreign = tensors.foreign.iter().map(|(info, stored)| (info, *stored));
            let parts = plain.chain(foreign).map(|(info, stored)| Part::new(info, stored, bytes));
            by_name.extend(parts.map(|part| (part.name.clone(), part)));
        }
        let unread = files.iter().flat_map(|file| &file.tensors.unread);
        let unread = unread.map(|tensor| (tensor.name.clone(), tensor.dtype.clone())).collect();
        Self { by_name, unread, taken: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// All tensors, in the order of their names.
    pub(super) fn sorted(&self) -> Vec<&Part> {
        let mut all: Vec<&Part> = self.by_name.values().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Takes a tensor of a module, if there is one.
    pub(super) fn take(&mut self, module: &str, suffix: &str) -> Option<Part> {
        let name = format!("{module}.{suffix}");
        let part = self.by_name.get(&name)?.clone();
        self.taken.insert(name);
        Some(part)
    }

    /// Takes a tensor of a module that must be there, because its tensor `present` is.
    pub(super) fn require(&mut self, module: &str, suffix: &str, present: &str) -> Result<Part, LoadError> {
        self.take(module, suffix).ok_or_else(|| match self.unread.get(&format!("{module}.{suffix}")) {
            Some(found) => unread_error(&format!("{module}.{suffix}"), found),
            None => LoadError::Quantized {
                tensor: format!("{module}.{present}"),
                reason: format!("there is no tensor {suffix:?} beside it; the files may be incomplete"),
            },
        })
    }

    /// Takes all tensors whose names end with one of these; returns how many there were.
    pub(super) fn take_all(&mut self, suffixes: &[&str]) -> usize {
        let names = self.by_name.keys().filter(|name| suffixes.iter().any(|suffix| name.ends_with(suffix)));
        let names: Vec<String> = names.cloned().collect();
        let n_taken = names.len();
        self.taken.extend(names);
        n_taken
    }

    /// Removes the tensors that were taken from their files.
    pub(super) fn remove_taken(&self, files: &mut [OpenFile]) {
        for OpenFile { tensors, .. } in files {
            tensors.plain.retain(|info| !self.taken.contains(&info.name));
            tensors.foreign.retain(|(info, _)| !self.taken.contains(&info.name));
        }
    }
}
