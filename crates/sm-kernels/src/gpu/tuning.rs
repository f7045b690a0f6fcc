//! Measures which sizes suit a device, once for each adapter and driver.

use sm_tensor::DType;

use super::adapters::AdapterKind;
use super::device::Gpu;
use super::form::Form;
use super::ops::linear::Contest;
use super::sizes::Sizes;
use super::speed::rate;
use crate::plan::PrepareError;

/// Rows of a tile of the kernel for many rows: with more of them, it always wins.
const MAX_FEW: u32 = 32;
/// Rows that the kernel for few rows takes at a time.
const ROWS: u32 = 4;

/// Measures a device. Takes a second at most.
///
/// # Errors
/// If it refuses a kernel or memory, or is lost.
pub(crate) fn measure(gpu: &Gpu) -> Result<Sizes, PrepareError> {
    // A processor does not need many workgroups to be busy.
    let side = if gpu.adapter.kind == AdapterKind::Software { 512 } else { 4096 };
    let of = |dtype| few_rows(&Contest::new(gpu, Form::of(dtype), side, MAX_FEW as usize)?, gpu);
    Ok(Sizes { quantized: of(DType::Q4_0)?, other: of(DType::F16)? })
}

/// Rows up to which the kernel for few rows wins: by halves, since its time grows with them and that of a tile does not.
fn few_rows(contest: &Contest, gpu: &Gpu) -> Result<u32, PrepareError> {
    let many = rate(gpu, |recorder, n_times| {
        (0..n_times).for_each(|_| contest.record_many(recorder, MAX_FEW));
    })?;
    let (mut won, mut lost) = (0, MAX_FEW / ROWS + 1);
    while won + 1 < lost {
        let tried = won.midpoint(lost);
        let few = rate(gpu, |recorder, n_times| {
            (0..n_times).for_each(|_| contest.record_few(recorder, tried * ROWS));
        })?;
        if few > many { won = tried } else { lost = tried }
    }
    Ok(won * ROWS)
}
