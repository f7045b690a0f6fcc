//! What the driver compiled, from run to run.
#![allow(unsafe_code, reason = "drivers trust the data of pipeline caches")]

/// A cache for pipelines, which begins with the `data` that one gave in an earlier run; `None` where the driver has no such caches.
pub(crate) fn open(device: &wgpu::Device, data: Option<&[u8]>) -> Option<wgpu::PipelineCache> {
    if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
        return None;
    }
    let descriptor = wgpu::PipelineCacheDescriptor { label: Some("smallmind"), data, fallback: true };
    // SAFETY: the data is what `PipelineCache::get_data` gave. It comes from a file whose checksum holds and which only those can
    // write who can replace the program as well; wgpu checks that it is of this adapter and driver.
    Some(unsafe { device.create_pipeline_cache(&descriptor) })
}
