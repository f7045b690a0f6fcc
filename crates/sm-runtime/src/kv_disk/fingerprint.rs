//! Fingerprints of what a page depends on besides its tokens: the weights and the program.
//!
//! Both are those in memory, and not what their files hold by now: a model may be replaced while it is loaded, and a program
//! while it runs.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use siphasher::sip128::{Hasher128 as _, SipHasher13};
use sm_kernels::plan::{ExecError, Plan, Weights};

use crate::KvDiskError;
use crate::chunks;

/// The fingerprint of a loaded model: its operations and all bytes that they compute with, but not the context length, which
/// does not affect the values at any position.
///
/// # Errors
/// If the bytes lie in a file that has been changed.
pub(crate) fn weights_fingerprint(
    plan: &Plan,
    weights: &dyn Weights,
    n_threads: usize,
) -> Result<String, ExecError> {
    let mut hasher = SipHasher13::new();
    let plan = Plan { context_len: 0, ..plan.clone() };
    hasher.write(format!("{plan:?}").as_bytes());
    for bytes in weights.bytes() {
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        let of_chunks = chunks::hashes(bytes, n_threads, |chunk| {
            let mut hasher = SipHasher13::new();
            hasher.write(chunk);
            hasher.finish128().as_u128()
        });
        of_chunks.iter().for_each(|hash| hasher.write(&hash.to_le_bytes()));
    }
    weights.check_intact()?;
    Ok(format!("{:032x}", hasher.finish128().as_u128()))
}

/// The fingerprint of the running executable: another build may compute different bits.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn program_fingerprint() -> Result<&'static str, KvDiskError> {
    static FINGERPRINT: OnceLock<String> = OnceLock::new();
    if let Some(known) = FINGERPRINT.get() {
        return Ok(known);
    }
    let path = executable()?;
    let read = |path| -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let mut hasher = SipHasher13::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(format!("{:032x}", hasher.finish128().as_u128())),
                n_bytes => hasher.write(&buffer[..n_bytes]),
            }
        }
    };
    let fingerprint = read(&path).map_err(KvDiskError::io("read the program's executable", &path))?;
    Ok(FINGERPRINT.get_or_init(|| fingerprint))
}

/// The file that this process runs.
fn executable() -> Result<PathBuf, KvDiskError> {
    // On Linux, this is the file that was started, even if another one has its name by now, or none.
    let own = Path::new("/proc/self/exe");
    if cfg!(target_os = "linux") && own.exists() {
        return Ok(own.to_owned());
    }
    std::env::current_exe().map_err(KvDiskError::io("find the executable of", "this program".as_ref()))
}
