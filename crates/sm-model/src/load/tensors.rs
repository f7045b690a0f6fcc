//! A model's tensors, in one or several files.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{FileBytes, Held};
use super::gguf::Gguf;
use super::quantized::{self, LoadNote, OpenFile, Quantization, QuantizedMatrix, ReadError};
use super::split::Split;
use super::stored::{FileTensors, UnreadTensor};
use super::{TensorInfo, safetensors};
use crate::LoadError;
use crate::metadata::Metadata;

/// Where the values of a tensor come from.
#[derive(Debug)]
enum Place {
    /// From a file, as they are.
    File(Arc<FileBytes>),
    /// From several tensors of a quantized checkpoint, converted as they are read.
    Quantized(Box<QuantizedMatrix>),
}

/// A model's tensors and their files.
#[derive(Debug, Default)]
pub(crate) struct Tensors {
    infos: Vec<TensorInfo>,
    /// `[n_tensors]`
    places: Vec<Place>,
    by_name: HashMap<String, usize>,
    /// The tensors that cannot be read, by name.
    unread: BTreeMap<String, UnreadTensor>,
    files: Vec<Arc<FileBytes>>,
    notes: Vec<LoadNote>,
}

impl Tensors {
    /// Adds the tensors of one file. Those that are stored as a type that is none of ours are converted now.
    pub(crate) fn add_file(&mut self, file: FileTensors, bytes: FileBytes) -> Result<(), LoadError> {
        self.add_shared(file, Arc::new(bytes))
    }

    fn add_shared(&mut self, mut file: FileTensors, bytes: Arc<FileBytes>) -> Result<(), LoadError> {
        let (converted, converted_bytes) = file.convert(&bytes)?;
        let unread = std::mem::take(&mut file.unread).into_iter();
        self.unread.extend(unread.map(|tensor| (tensor.name.clone(), tensor)));
        self.add_in(file.plain, bytes)?;
        if converted.is_empty() { Ok(()) } else { self.add(converted, converted_bytes.into()) }
    }

    /// Adds tensors and the bytes that they are in.
    pub(crate) fn add(&mut self, infos: Vec<TensorInfo>, bytes: FileBytes) -> Result<(), LoadError> {
        self.add_in(infos, Arc::new(bytes))
    }

    fn add_in(&mut self, infos: Vec<TensorInfo>, bytes: Arc<FileBytes>) -> Result<(), LoadError> {
        for info in infos {
            self.push(info, Place::File(Arc::clone(&bytes)))?;
        }
        self.files.push(bytes);
        Ok(())
    }

    fn push(&mut self, info: TensorInfo, place: Place) -> Result<(), LoadError> {
        if self.by_name.insert(info.name.clone(), self.infos.len()).is_some() {
            return Err(LoadError::Duplicate { format: "model", what: "tensor", name: info.name });
        }
        self.infos.push(info);
        self.places.push(place);
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

    /// Opens the safetensors files of a directory: `model.safetensors`, or the shards that its index names. Without
    /// `quantization`, the parts of quantized matrices are tensors like any others.
    pub(crate) fn open_safetensors(
        dir: &Path,
        quantization: Option<&Quantization>,
    ) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        for path in safetensors::files(dir)? {
            let bytes = FileBytes::open(&path)?;
            let tensors = safetensors::read_header(&bytes).map_err(|error| error.in_file(&path))?;
            files.push(OpenFile { path, tensors, bytes: Arc::new(bytes) });
        }
        Self::of_safetensors(files, quantization).map_err(|error| error.in_file(dir))
    }

    /// Reads a safetensors file in memory.
    pub(crate) fn parse_safetensors(bytes: Vec<u8>, quantization: &Quantization) -> Result<Self, LoadError> {
        let bytes = FileBytes::from(bytes);
        let tensors = safetensors::read_header(&bytes)?;
        let file = OpenFile { path: PathBuf::new(), tensors, bytes: Arc::new(bytes) };
        Self::of_safetensors(vec![file], Some(quantization))
    }

    fn of_safetensors(
        mut files: Vec<OpenFile>,
        quantization: Option<&Quantization>,
    ) -> Result<Self, LoadError> {
        let found = match quantization {
            Some(quantization) => quantized::take_matrices(&mut files, quantization)?,
            None => quantized::Found::default(),
        };
        let mut tensors = Self { notes: found.notes, ..Self::default() };
        for file in files {
            let OpenFile { path, tensors: infos, bytes } = file;
            let added = tensors.add_shared(infos, bytes);
            added.map_err(|error| if path == PathBuf::new() { error } else { error.in_file(&path) })?;
        }
        for matrix in found.matrices {
            tensors.push(matrix.info(), Place::Quantized(Box::new(matrix)))?;
        }
        Ok(tensors)
    }

    /// What was changed or left out when the tensors were opened.
    pub(crate) fn notes(&self) -> &[LoadNote] {
        &self.notes
    }

    /// The metadata (size, times) of each file; `None` if the tensors are not in files.
    ///
    /// # Errors
    /// If the system call fails.
    pub(crate) fn file_metadata(&self) -> std::io::Result<Option<Vec<fs::Metadata>>> {
        let metadata: Option<Vec<_>> =
            self.files.iter().map(|file| file.metadata()).collect::<std::io::Result<_>>()?;
        Ok(metadata.filter(|files| !files.is_empty()))
    }

    /// Checks that no file has been written to since it was opened.
    ///
    /// # Errors
    /// [`LoadError::Changed`]
    pub(crate) fn check_unchanged(&self) -> Result<(), LoadError> {
        self.files.iter().try_for_each(|file| file.check_unchanged())
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

    /// A tensor by name.
    pub(crate) fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.position(name).map(|index| &self.infos[index])
    }

    /// The tensor at `index` of [`Tensors::infos`], if it is a matrix of a quantized checkpoint.
    pub(crate) fn quantized(&self, index: usize) -> Option<&QuantizedMatrix> {
        match &self.places[index] {
            Place::File(_) => None,
            Place::Quantized(matrix) => Some(matrix),
        }
    }

    /// The bytes of the tensor at `index`, in its data type.
    ///
    /// # Errors
    /// If it is quantized and has values that its data type cannot represent, or if its file cannot be read.
    pub(crate) fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>, ReadError> {
        match &self.places[index] {
            Place::File(file) => Ok(file.bytes(self.infos[index].bytes.clone())?),
            Place::Quantized(matrix) => {
                let mut bytes = Vec::new();
                matrix.read_rows(0..matrix.n_rows(), &mut bytes)?;
                Ok(bytes.into())
            }
        }
    }

    /// The same, but bytes of a file stay in memory until [`Tensors::release`].
    ///
    /// # Errors
    /// As [`Tensors::bytes`].
    pub(crate) fn hold(&self, index: usize) -> Result<Held<'_>, ReadError> {
        match &self.places[index] {
            Place::File(file) => Ok(file.hold(self.infos[index].bytes.clone())?),
            Place::Quantized(_) => Ok(Held::Shared(self.bytes(index)?.into())),
        }
    }

    /// Number of bytes of the tensor at `index` as its files store it: of all the tensors that a quantized matrix is made of.
    pub(crate) fn n_stored_bytes(&self, index: usize) -> usize {
        match &self.places[index] {
            Place::File(_) => self.infos[index].bytes.len(),
            Place::Quantized(matrix) => matrix.n_stored_bytes(),
        }
    }

    /// The bytes of the tensor at `index` as its files store it: of all the tensors that a quantized matrix is made of, one after
    /// the other.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn stored_bytes(&self, index: usize) -> Result<Cow<'_, [u8]>, LoadError> {
        match &self.places[index] {
            Place::File(file) => file.bytes(self.infos[index].bytes.clone()),
            Place::Quantized(matrix) => matrix.stored_bytes().map(Cow::from),
        }
    }

    /// Rows of the tensor at `index`, counted over all leading dimensions, through `buffer` if they are in a file.
    ///
    /// # Errors
    /// As [`Tensors::bytes`].
    pub(crate) fn read_rows<'a>(
        &'a self,
        index: usize,
        rows: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], ReadError> {
        match &self.places[index] {
            Place::File(file) => {
                let info = &self.infos[index];
                let row_bytes = info.bytes.len() / info.n_rows().max(1);
                let start = info.bytes.start;
                let part = start + rows.start * row_bytes..start + rows.end * row_bytes;
                Ok(file.read(part, buffer)?)
            }
            Place::Quantized(matrix) => {
                matrix.read_rows(rows, buffer)?;
                Ok(buffer)
            }
        }
    }

    /// Drops the tensor at `index` from memory, if it can be read from the file again.
    pub(crate) fn release(&self, index: usize) {
        match &self.places[index] {
            Place::File(file) => file.release(self.infos[index].bytes.clone()),
            Place::Quantized(matrix) => matrix.release(),
        }
    }

    /// Whether the tensor at `index` is the bias of a quantized matrix and all zeros. AutoGPTQ adds such biases to models that have
    /// none.
    pub(crate) fn is_empty_bias(&self, index: usize) -> bool {
        let info = &self.infos[index];
        let matrix =
            info.name.strip_suffix(".bias").and_then(|module| self.position(&format!("{module}.weight")));
        matrix.is_some_and(|matrix| self.quantized(matrix).is_some())
            && self.stored_bytes(index).is_ok_and(|bytes| bytes.iter().all(|&byte| byte == 0))
    }
}
