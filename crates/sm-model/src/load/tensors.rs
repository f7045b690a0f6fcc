//! A model's tensors, in one or several files.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::Range;
use std::path::Path;

use super::file::FileBytes;
use super::gguf::Gguf;
use super::split::Split;
use super::stored::{FileTensors, UnreadTensor};
use super::{TensorInfo, safetensors};
use crate::LoadError;
use crate::metadata::Metadata;

/// A model's tensors and their files.
#[derive(Debug, Default)]
pub(crate) struct Tensors {
    infos: Vec<TensorInfo>,
    /// `[n_tensors]`, index of each tensor's file in `files`.
    file_of: Vec<usize>,
    by_name: HashMap<String, usize>,
    /// The tensors that cannot be read, by name.
    unread: BTreeMap<String, UnreadTensor>,
    files: Vec<FileBytes>,
}

impl Tensors {
    /// Adds the tensors of one file. Those that are stored as a type that is none of ours are converted now.
    pub(crate) fn add_file(&mut self, mut file: FileTensors, bytes: FileBytes) -> Result<(), LoadError> {
        let (converted, converted_bytes) = file.convert(&bytes);
        let unread = std::mem::take(&mut file.unread).into_iter();
        self.unread.extend(unread.map(|tensor| (tensor.name.clone(), tensor)));
        self.add(file.plain, bytes)?;
        if converted.is_empty() { Ok(()) } else { self.add(converted, converted_bytes.into()) }
    }

    /// Adds tensors and the bytes that they are in.
    pub(crate) fn add(&mut self, infos: Vec<TensorInfo>, bytes: FileBytes) -> Result<(), LoadError> {
        for info in infos {
            let index = self.infos.len();
            if self.by_name.insert(info.name.clone(), index).is_some() {
                return Err(LoadError::Duplicate { format: "model", what: "tensor", name: info.name });
            }
            self.infos.push(info);
            self.file_of.push(self.files.len());
        }
        self.files.push(bytes);
        Ok(())
    }

    /// Opens a GGUF file, or all files that a model is split into.
    pub(crate) fn open_gguf(path: &Path) -> Result<(Metadata, Self), LoadError> {
        let mut tensors = Self::default();
        let (metadata, infos, bytes) = Gguf::open(path)?.into_parts();
        let Some(split) = Split::of(path, &metadata)? else {
            tensors.add_file(infos, bytes)?;
            return Ok((metadata, tensors));
        };
        let metadata = split.open(|infos, bytes| tensors.add_file(infos, bytes))?;
        Ok((metadata, tensors))
    }

    /// Opens the safetensors files of a directory: `model.safetensors`, or the shards that its index names.
    pub(crate) fn open_safetensors(dir: &Path) -> Result<Self, LoadError> {
        let mut tensors = Self::default();
        for path in safetensors::files(dir)? {
            let bytes = FileBytes::open(&path)?;
            let infos = safetensors::read_header(&bytes).map_err(|error| error.in_file(&path))?;
            tensors.add_file(infos, bytes).map_err(|error| error.in_file(&path))?;
        }
        Ok(tensors)
    }

    /// The metadata (size, times) of each file; `None` if the tensors are not in files.
    ///
    /// # Errors
    /// If the system call fails.
    pub(crate) fn file_metadata(&self) -> std::io::Result<Option<Vec<fs::Metadata>>> {
        let metadata: Option<Vec<_>> =
            self.files.iter().map(FileBytes::metadata).collect::<std::io::Result<_>>()?;
        Ok(metadata.filter(|files| !files.is_empty()))
    }

    pub(crate) fn infos(&self) -> &[TensorInfo] {
        &self.infos
    }

    /// The index of a tensor in [`Tensors::infos`].
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The type of a tensor that is there but cannot be read.
    pub(crate) fn unread(&self, name: &str) -> Option<&str> {
        self.unread.get(name).map(|tensor| tensor.dtype.as_str())
    }

    /// The tensors that cannot be read.
    pub(crate) fn all_unread(&self) -> impl Iterator<Item = &UnreadTensor> {
        self.unread.values()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The description and the bytes of the tensor at `index` of [`Tensors::infos`].
    pub(crate) fn at(&self, index: usize) -> (&TensorInfo, &[u8]) {
        let info = &self.infos[index];
        (info, &self.files[self.file_of[index]][info.bytes.clone()])
    }

    /// A range of the bytes of the tensor at `index`, through `buffer` if that is faster than mapped memory.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn read<'a>(
        &'a self,
        index: usize,
        part: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> std::io::Result<&'a [u8]> {
        let bytes = &self.infos[index].bytes;
        self.files[self.file_of[index]].read(bytes.start + part.start..bytes.start + part.end, buffer)
    }

    /// Drops the tensor at `index` from memory, if it can be read from the file again.
    pub(crate) fn release(&self, index: usize) {
        self.files[self.file_of[index]].release(self.infos[index].bytes.clone());
    }

    pub(crate) fn get(&self, name: &str) -> Option<(&TensorInfo, &[u8])> {
        self.position(name).map(|index| self.at(index))
    }
}
