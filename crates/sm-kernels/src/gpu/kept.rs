//! What is kept of an adapter from run to run: what the driver compiled, that the kernels passed their test, those that did not, and
//! the sizes that suit it. Whatever cannot be read or written is made again.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use siphasher::sip::SipHasher13;

use super::sizes::Sizes;

/// Bytes before the driver's own: a checksum, since drivers trust what they are given.
const SUM_BYTES: usize = 8;

/// The files of an adapter with its driver.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// None if nothing is kept. Endings are added.
    path: Option<PathBuf>,
    /// In this run.
    tested: OnceLock<usize>,
    /// Once they are known.
    sizes: Mutex<Option<Sizes>>,
    /// Once it is known whether there is one.
    matrices_error: Mutex<Option<Option<String>>>,
}

impl Kept {
    /// Files in `dir`, which may not be there yet, of an adapter with this name and driver.
    pub(crate) fn new(dir: Option<&Path>, adapter: &dyn Display) -> Self {
        let name = |dir: &Path| dir.join(file_name(&format!("{adapter} {}", env!("CARGO_PKG_VERSION"))));
        Self { path: dir.map(name), ..Self::default() }
    }

    /// The pipelines that the driver compiled in an earlier run.
    pub(crate) fn pipelines(&self) -> Option<Vec<u8>> {
        let mut bytes = fs::read(self.file("pipelines")?).ok()?;
        let data = bytes.split_off(bytes.len().min(SUM_BYTES));
        (bytes == checksum(&data)).then_some(data)
    }

    /// Keeps pipelines, unless there are as many bytes already.
    pub(crate) fn keep_pipelines(&self, data: &[u8]) {
        let Some(path) = self.file("pipelines") else { return };
        let n_bytes = (SUM_BYTES + data.len()) as u64;
        if fs::metadata(&path).is_ok_and(|file| file.len() == n_bytes) {
            return;
        }
        write(&path, &[&checksum(data), data].concat());
    }

    /// How many values a test of this adapter found to be right.
    pub(crate) fn tested(&self) -> Option<usize> {
        let of_earlier = || fs::read_to_string(self.file("tested")?).ok()?.trim().parse().ok();
        self.tested.get().copied().or_else(of_earlier)
    }

    /// Keeps that a test found so many values to be right.
    pub(crate) fn keep_tested(&self, n_values: usize) {
        let _ = self.tested.set(n_values);
        if let Some(path) = self.file("tested") {
            write(&path, format!("{n_values}\n").as_bytes());
        }
    }

    /// The sizes that were measured in this run or an earlier one, else those of a device that was not.
    pub(crate) fn sizes(&self) -> Sizes {
        let of_earlier = || Sizes::of_text(&fs::read_to_string(self.file("sizes")?).ok()?);
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        *sizes.get_or_insert_with(|| of_earlier().unwrap_or_default())
    }

    /// Keeps sizes that were measured.
    pub(crate) fn keep_sizes(&self, sizes: Sizes) {
        *self.sizes.lock().unwrap_or_else(PoisonError::into_inner) = Some(sizes);
        if let Some(path) = self.file("sizes") {
            write(&path, sizes.to_text().as_bytes());
        }
    }

    /// Why cooperative matrices are not used, if a test found in this run or an earlier one that they are wrong.
    pub(crate) fn matrices_error(&self) -> Option<String> {
        let of_earlier = || fs::read_to_string(self.file("matrices")?).ok();
        let mut known = self.matrices_error.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_with(of_earlier).clone()
    }

    /// Keeps that cooperative matrices are wrong.
    pub(crate) fn keep_matrices_error(&self, reason: String) {
        if let Some(path) = self.file("matrices") {
            write(&path, reason.as_bytes());
        }
        *self.matrices_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(Some(reason));
    }

    fn file(&self, ending: &str) -> Option<PathBuf> {
        let mut path = self.path.clone()?.into_os_string();
        path.push(".");
        path.push(ending);
        Some(path.into())
    }
}

/// Writes a file at once, so that nobody reads half of it.
fn write(path: &Path, bytes: &[u8]) {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&part, bytes))
        .and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
}

/// The letters and digits of a text.
fn file_name(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

fn checksum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    SipHasher13::new().hash(bytes).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(driver: &str) -> String {
        format!("Card (TM) 7/8 (discrete, vulkan, {driver})")
    }

    #[test]
    fn files_are_those_of_an_adapter_and_its_driver_and_broken_ones_are_made_again() {
        let dir = std::env::temp_dir().join(format!("sm-kernels-kept-{}", std::process::id()));
        let kept = Kept::new(Some(&dir), &adapter("1.2"));
        assert_eq!((kept.pipelines(), kept.tested()), (None, None));
        kept.keep_pipelines(b"compiled");
        kept.keep_tested(17);
        assert_eq!(kept.sizes(), Sizes::default());
        let sizes = Sizes { quantized: 24, other: 4 };
        kept.keep_sizes(sizes);
        assert_eq!(kept.sizes(), sizes);
        let again = Kept::new(Some(&dir), &adapter("1.2"));
        assert_eq!((again.pipelines(), again.tested()), (Some(b"compiled".to_vec()), Some(17)));
        assert_eq!(again.sizes(), sizes);
        let other = Kept::new(Some(&dir), &adapter("1.3"));
        assert_eq!((other.pipelines(), other.tested(), other.sizes()), (None, None, Sizes::default()));
        let file = kept.file("pipelines").unwrap();
        assert!(file.file_name().unwrap().to_str().unwrap().starts_with("card-tm-7-8-discrete-vulkan-1-2-"));
        for broken in [&b""[..], b"short", b"compiled, but by someone else"] {
            fs::write(&file, broken).unwrap();
            assert_eq!(again.pipelines(), None);
        }
        fs::write(kept.file("tested").unwrap(), "all right").unwrap();
        assert_eq!(again.tested(), None);
        fs::write(kept.file("sizes").unwrap(), "many few").unwrap();
        assert_eq!(Kept::new(Some(&dir), &adapter("1.2")).sizes(), Sizes::default());
        fs::remove_dir_all(&dir).unwrap();
        let nowhere = Kept::default();
        nowhere.keep_pipelines(b"compiled");
        nowhere.keep_tested(5);
        assert_eq!((nowhere.pipelines(), nowhere.tested()), (None, Some(5)));
    }
}
