//! Measures which sizes suit a device, once for each adapter and driver.

use sm_tensor::DType;

use super::adapters::AdapterKind;
use super::device::Gpu;
use super::form::Form;
use super::ops::linear::Contest;
use super::sizes::Sizes;
use super::speed::rate;
use crate::plan::PrepareError;

/// Measures a device. Takes a second at most.
///
/// # Errors
/// If it refuses a kernel or memory, or is lost.
pub(crate) fn measure(gpu: &Gpu) -> Result<Sizes, PrepareError> {
    // A processor does not need many workgroups to be busy.
    let side = if gpu.adapter.kind == AdapterKind::Software { 512 } else { 4096 };
    let of = |dtype| few_rows(&Contest::new(gpu, Form::of(dtype), side)?, gpu);
    Ok(Sizes { quantized: of(DType::Q4_0)?, other: of(DType::F16)? })
}

/// Rows up to which the kernel for few rows wins: by halves, since its time grows with them and that of the other does not, up to as
/// many as a workgroup takes. With more of them, the other always wins.
fn few_rows(contest: &Contest, gpu: &Gpu) -> Result<u32, PrepareError> {
    let (few_rows, many_rows) = contest.rows();
    let many = rate(gpu, |recorder, n_times| (0..n_times).for_each(|_| contest.record_many(recorder)))?;
    let (mut won, mut lost) = (0, many_rows / few_rows + 1);
    while won + 1 < lost {
        let tried = won.midpoint(lost);
        let few = rate(gpu, |recorder, n_times| {
            (0..n_times).for_each(|_| contest.record_few(recorder, tried * few_rows));
        })?;
        if few > many { won = tried } else { lost = tried }
    }
    Ok(won * few_rows)
}
