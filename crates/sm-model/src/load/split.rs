//! GGUF models that are split into several files, as `llama-gguf-split` writes them.
//!
//! ```text
//! NAME-00001-of-00003.gguf   all metadata, tensors     split.count = 3, split.no = 0
//! NAME-00002-of-00003.gguf   tensors                   split.count = 3, split.no = 1
//! NAME-00003-of-00003.gguf   tensors                   split.count = 3, split.no = 2
//! ```

use std::path::{Path, PathBuf};

use super::file::FileBytes;
use super::gguf::Gguf;
use super::stored::FileTensors;
use crate::LoadError;
use crate::metadata::Metadata;

const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const N_TENSORS: &str = "split.tensors.count";
/// Names of parts have five digits.
const MAX_PARTS: usize = 99_999;

/// The files of a model that is split.
#[derive(Debug)]
pub(super) struct Split {
    paths: Vec<PathBuf>,
}

impl Split {
    /// The files that belong to the one at `path`, any of them; `None` if its metadata say that it is whole.
    ///
    /// # Errors
    /// If the file's name is not that of a part, so that the others cannot be found.
    pub(super) fn of(path: &Path, metadata: &Metadata) -> Result<Option<Self>, LoadError> {
        let count = metadata.get::<usize>(COUNT)?.unwrap_or(0);
        if count < 2 {
            return Ok(None);
        }
        if count > MAX_PARTS {
            let reason = format!("it must be at most {MAX_PARTS}");
            return Err(LoadError::Unsupported { key: COUNT.into(), value: count.to_string(), reason });
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = metadata.get::<usize>(NUMBER)?.unwrap_or(0) + 1;
        let prefix = name.strip_suffix(&suffix(number, count)).ok_or_else(|| LoadError::Unsupported {
            key: COUNT.into(),
            value: count.to_string(),
            reason: format!("the file must be called NAME{}, as it was written", suffix(number, count)),
        })?;
        let paths =
            (1..=count).map(|number| path.with_file_name(format!("{prefix}{}", suffix(number, count))));
        Ok(Some(Self { paths: paths.collect() }))
    }

    /// The first file of a set that one of `paths` belongs to, if all of them do.
    pub(super) fn first_of(paths: &[PathBuf]) -> Option<PathBuf> {
        let count = paths.len();
        let first =
            paths.iter().find(|path| path.to_str().is_some_and(|path| path.ends_with(&suffix(1, count))))?;
        let prefix = first.to_str()?.strip_suffix(&suffix(1, count))?;
        let is_there = |number| {
            paths.iter().any(|path| *path == Path::new(&format!("{prefix}{}", suffix(number, count))))
        };
        (2..=count).all(is_there).then(|| first.clone())
    }

    /// Opens all files, hands on the tensors of each, and returns the metadata, which are those of the first. They no longer
    /// say that the model is split.
    ///
    /// # Errors
    /// If a file is missing or damaged, or belongs to another model.
    pub(super) fn open(
        self,
        mut add: impl FnMut(FileTensors, FileBytes) -> Result<(), LoadError>,
    ) -> Result<Metadata, LoadError> {
        let mut whole = None;
        let count = self.paths.len();
        let mut n_tensors = 0;
        for (index, path) in self.paths.iter().enumerate() {
            if !path.exists() {
                return Err(LoadError::MissingSplit { path: path.clone(), count });
            }
            let (metadata, tensors, bytes) = Gguf::open(path)?.into_parts();
            for (key, expected) in [(COUNT, count), (NUMBER, index)] {
                let found = metadata.get::<usize>(key)?.unwrap_or(0);
                if found != expected {
                    let reason = format!("by its name it must be {expected}; is it a part of another model?");
                    let value = found.to_string();
                    return Err(LoadError::Unsupported { key: key.into(), value, reason }.in_file(path));
                }
            }
            n_tensors += tensors.names().count();
            add(tensors, bytes).map_err(|error| error.in_file(path))?;
            whole.get_or_insert(metadata);
        }
        let mut whole = whole.unwrap_or_default();
        match whole.get::<usize>(N_TENSORS)? {
            Some(expected) if expected != n_tensors => {
                let reason =
                    format!("its {count} parts have {n_tensors} tensors together; one may be incomplete");
                let value = expected.to_string();
                Err(LoadError::Unsupported { key: N_TENSORS.into(), value, reason })
            }
            _ => {
                for key in [COUNT, NUMBER, N_TENSORS] {
                    whole.remove(key);
                }
                Ok(whole)
            }
        }
    }
}

/// How the name of a part ends.
fn suffix(number: usize, count: usize) -> String {
    format!("-{number:05}-of-{count:05}.gguf")
}

/// The file to open among the `.gguf` files of a directory: the only one, or the first of one split model.
pub(crate) fn model_among(files: &[PathBuf]) -> Option<PathBuf> {
    match files {
        [file] => Some(file.clone()),
        files => Split::first_of(files),
    }
}
