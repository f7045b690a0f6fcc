//! What a device does with errors.

use sm_tensor::DType;

use super::*;
use crate::gpu::GpuBackend;
use crate::gpu::kernel::{Binding, Source};
use crate::gpu::self_test::trace;
use crate::gpu::sizes::Sizes;
use crate::gpu::tuning;
use crate::plan::KvDType;
use crate::testing::{self, RandomWeights};

#[path = "../../../../sm-model/src/testing.rs"]
#[expect(dead_code, reason = "these tests need no data")]
mod skips;

/// A device of its own, if there is an adapter.
fn gpu() -> Option<Arc<Gpu>> {
    match Gpu::open(0, None, Restriction::NONE) {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var_os("GPU_TESTS").is_some_and(|value| value == "require") => {
            panic!("{error}")
        }
        Err(error) => skips::skip(&error),
    }
}

#[test]
fn an_error_that_nobody_expects_breaks_the_device() {
    let Some(gpu) = gpu() else { return };
    gpu.check().unwrap();
    // Memory that the host maps for both directions at once is against the rules.
    let _ = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 16,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE,
        mapped_at_creation: false,
    });
    let error = gpu.check().unwrap_err();
    assert!(error.is_final() && error.to_string().contains("Validation Error"), "{error}");
    assert!(gpu.buffer("weights", 16).unwrap_err().to_string().contains("Validation Error"));
}

#[test]
fn a_kernel_that_the_driver_refuses_leaves_the_device_as_it_was() {
    let Some(gpu) = gpu() else { return };
    let bindings: &[Binding] = &[];
    for (text, part) in [("fn main(", "parsing error"), ("const X: u32 = 1u;", "main")] {
        let source = Source::default().text(text);
        let error = gpu.kernel(&KernelSpec { name: "broken", source, bindings }).unwrap_err().to_string();
        assert!(error.contains("refuses the kernel broken") && error.contains(part), "{error}");
    }
    gpu.check().unwrap();
}

#[test]
fn there_is_room_for_little_and_none_for_more_than_any_device_has() {
    let Some(gpu) = gpu() else { return };
    assert!(gpu.has_room(0) && gpu.has_room(5 << 20));
    assert!(!gpu.has_room(u64::MAX));
    gpu.check().unwrap();
}

#[test]
fn memory_beyond_the_limits_is_refused_with_the_numbers() {
    let Some(gpu) = gpu() else { return };
    let error = gpu.buffer("the weights", 1 << 40).unwrap_err().to_string();
    assert!(error.contains("the weights needs 1099511627776 bytes in one piece"), "{error}");
    let error = gpu.read_buffer("results", 1 << 40).unwrap_err();
    assert!(matches!(error, PrepareError::OutOfMemory { needed_bytes: 1_099_511_627_776, .. }), "{error}");
    gpu.check().unwrap();
}

#[test]
fn sizes_that_suit_a_device_change_no_result() {
    let Some(gpu) = gpu() else { return };
    let measured = tuning::measure(&gpu).unwrap();
    for rows in [measured.quantized, measured.other] {
        assert!(rows % 4 == 0 && rows <= 32, "{measured:?}");
    }
    let backend = GpuBackend { gpu };
    let plan = testing::mixed_decoder(DType::Q4_0);
    let source = RandomWeights::new(&plan);
    let results =
        [measured, Sizes { quantized: 0, other: 32 }, Sizes { quantized: 32, other: 0 }].map(|sizes| {
            backend.gpu.kept.keep_sizes(sizes);
            trace(&backend, &plan, &source, KvDType::F16, 9, None).unwrap()
        });
    assert!(results.iter().all(|other| *other == results[0]));
}

#[test]
fn a_device_that_is_broken_is_not_shared_any_more() {
    let Some(gpu) = gpu() else { return };
    drop(gpu);
    let first = Gpu::shared(0, None).unwrap();
    assert!(Arc::ptr_eq(&first, &Gpu::shared(0, None).unwrap()));
    first.health.report("a test".to_owned());
    let second = Gpu::shared(0, None).unwrap();
    assert!(!Arc::ptr_eq(&first, &second) && second.check().is_ok());
}
