//! What happens when a device cannot do what it is asked.

use std::sync::Arc;

use sm_kernels::plan::{Backend, ExecError, Limits, OutputRow, Span, StepBatch, StepOutput, Weights};
use sm_kernels::testing::{self, RandomWeights};
use sm_kernels::{GpuBackend, Restriction};
use sm_tensor::{DType, PageId, TokenId};

use crate::{gpu, limits, prepare, restricted_gpu};

#[test]
fn a_lost_device_is_one_final_error() {
    let Some(backend) = gpu() else { return };
    let plan = testing::decoder(DType::F32);
    let mut executor = prepare(&backend, &plan, &RandomWeights::new(&plan), limits());
    let batch = StepBatch {
        tokens: &[TokenId(1)],
        spans: &[Span { n_rows: 1, n_pages: 1, ..Span::default() }],
        page_table: &[PageId(0)],
        outputs: &[OutputRow::logits(0)],
        ..StepBatch::default()
    };
    let mut output = StepOutput::new();
    executor.run(&batch, &mut output).unwrap();
    backend.lose_device();
    for _ in 0..2 {
        let error = executor.run(&batch, &mut output).unwrap_err();
        assert!(error.is_final() && matches!(error, ExecError::DeviceLost { .. }), "{error}");
        assert_eq!(output.n_outputs(), 0);
    }
    assert!(executor.read_pages(&[PageId(0)], &mut vec![0; executor.page_bytes()]).unwrap_err().is_final());
    // The engine can be started again.
    let Some(backend) = gpu() else { return };
    prepare(&backend, &plan, &RandomWeights::new(&plan), limits()).run(&batch, &mut output).unwrap();
}

#[test]
fn what_cannot_be_prepared_is_refused() {
    let Some(backend) = gpu() else { return };
    let plan = testing::decoder(DType::F32);
    let weights = RandomWeights::new(&plan);
    let refuse = |limits: Limits, expected: &str| {
        let error = backend.prepare(&plan, &weights, limits, &|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refuse(Limits { max_tokens: 0, ..limits() }, "invalid limit max_tokens = 0");
    refuse(Limits { max_tokens: 65_536, ..limits() }, "invalid limit max_tokens = 65536");
    refuse(Limits { max_outputs: 97, ..limits() }, "invalid limit max_outputs = 97");
    refuse(Limits { n_pages: 1 << 30, ..limits() }, "reduce the context");
    let error = backend.prepare(&testing::experts(DType::F32), &weights, limits(), &|_| ());
    assert!(error.unwrap_err().to_string().contains("no tensor \"router.0\""));
}

#[test]
fn an_adapter_that_is_not_there_is_refused_with_those_that_are() {
    let Some(_) = gpu() else { return };
    let error = GpuBackend::open(99).unwrap_err().to_string();
    assert!(error.contains("there is no GPU 99; this machine has 0: "), "{error}");
}

#[test]
fn a_small_binding_limit_is_refused_or_changes_nothing() {
    let restriction = Restriction { max_binding_bytes: 64, ..Restriction::NONE };
    let Some(backend) = restricted_gpu(restriction) else { return };
    let plan = testing::decoder(DType::F32);
    let error = backend.prepare(&plan, &RandomWeights::new(&plan), limits(), &|_| ()).unwrap_err();
    assert!(error.to_string().contains("a kernel on this device sees at most 64"), "{error}");
}

/// Weights of a backend that is not there.
#[derive(Debug)]
struct Foreign;

impl Weights for Foreign {
    fn n_bytes(&self) -> usize {
        0
    }

    fn bytes(&self) -> Vec<&[u8]> {
        Vec::new()
    }
}

#[test]
fn weights_of_others_are_refused() {
    let Some(backend) = gpu() else { return };
    let plan = testing::decoder(DType::Q4_0);
    let source = RandomWeights::new(&plan);
    let refuse = |weights: &Arc<dyn Weights>, expected: &str| {
        let error = backend.prepare_loaded(&plan, weights, limits()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refuse(&(Arc::new(Foreign) as Arc<dyn Weights>), "another backend packed them");
    let Some(other) = gpu() else { return };
    refuse(&other.load(&plan, &source, &|_| ()).unwrap(), "they are on another device");
    let q8 = testing::decoder(DType::Q8_0);
    refuse(&backend.load(&q8, &RandomWeights::new(&q8), &|_| ()).unwrap(), "the weights do not belong");
    let own = backend.load(&plan, &source, &|_| ()).unwrap();
    let again = backend.load(&plan, &source, &|_| ()).unwrap();
    assert!(own.bytes() == again.bytes() && own.n_bytes() == again.n_bytes());
}
