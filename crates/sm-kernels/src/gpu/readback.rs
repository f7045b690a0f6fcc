//! How results come back: copied to a buffer that the host can map, in the step's own submission.

use std::sync::mpsc::{Receiver, channel};

use super::device::{Gpu, TIMEOUT};
use crate::plan::{ExecError, PrepareError};

/// A buffer that the device writes and the host reads.
#[derive(Debug)]
pub(crate) struct Readback {
    buffer: wgpu::Buffer,
    n_bytes: u64,
}

impl Readback {
    /// A buffer of `n_bytes`.
    ///
    /// # Errors
    /// If the device refuses the memory.
    pub(crate) fn new(gpu: &Gpu, n_bytes: u64) -> Result<Self, PrepareError> {
        Ok(Self { buffer: gpu.read_buffer("results", n_bytes)?, n_bytes })
    }

    /// The buffer, to be copied into.
    pub(crate) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Its size.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Waits for a submission and shows the first `n_bytes` that it wrote.
    ///
    /// # Errors
    /// If the device is lost.
    pub(crate) fn read(
        &self,
        gpu: &Gpu,
        submission: &wgpu::SubmissionIndex,
        n_bytes: u64,
        show: impl FnOnce(&[u8]),
    ) -> Result<(), ExecError> {
        if n_bytes == 0 {
            return gpu.wait(Some(submission.clone()));
        }
        let range = self.buffer.slice(..n_bytes);
        let mapped = map(range);
        gpu.wait(Some(submission.clone()))?;
        let lost = |reason: String| ExecError::DeviceLost { reason };
        // Another thread that waits for the device may be about to deliver them.
        match mapped.recv_timeout(TIMEOUT) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(lost(format!("results cannot be read: {error}"))),
            Err(_) => return Err(lost("results were not delivered".to_owned())),
        }
        let view =
            range.get_mapped_range().map_err(|error| lost(format!("results cannot be read: {error}")))?;
        show(&view);
        drop(view);
        self.buffer.unmap();
        Ok(())
    }
}

fn map(range: wgpu::BufferSlice<'_>) -> Receiver<Result<(), wgpu::BufferAsyncError>> {
    let (sender, receiver) = channel();
    // Nobody may be waiting any more.
    range.map_async(wgpu::MapMode::Read, move |result| drop(sender.send(result)));
    receiver
}
