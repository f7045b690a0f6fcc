//! Fingerprints of what a page depends on besides its tokens: the weights and the program.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::Read as _;
use std::sync::OnceLock;

use siphasher::sip128::{Hasher128 as _, SipHasher13};
use sm_kernels::plan::Plan;
use sm_model::Model;

use crate::KvDiskError;

/// The fingerprint of a loaded model: its operations and all tensor bytes, but not the context length, which does not
/// affect the values at any position.
pub(crate) fn weights_fingerprint(model: &Model) -> String {
    let mut hasher = SipHasher13::new();
    let plan = Plan { context_len: 0, ..model.plan.clone() };
    hasher.write(format!("{plan:?}").as_bytes());
    for tensor in model.weights.tensors() {
        hasher.write(format!("{tensor:?}").as_bytes());
        model.weights.stored_bytes(&tensor.name).into_iter().for_each(|bytes| hasher.write(bytes));
    }
    format!("{:032x}", hasher.finish128().as_u128())
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
    let path = std::env::current_exe()
        .map_err(KvDiskError::io("find the executable of", "this program".as_ref()))?;
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
