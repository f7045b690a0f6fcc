//! Every golden model computes the logits of transformers.

use std::path::Path;

use sm_tensor::DType;

use crate::golden::{Case, check, check_all};
use crate::{executed, interpreter};

#[test]
fn golden_models_compute_the_reference_logits_in_plain_arithmetic() {
    check_all(&|model, tokens| interpreter::run(model, tokens, &mut |_, _| ()), None, 1e-5);
}

#[test]
fn golden_models_compute_the_reference_logits_on_the_cpu() {
    check_all(&executed::logits, Some(DType::F32), 1e-5);
}

/// Products with BF16 weights round activations to BF16, a relative error of up to 2^-9 in each. Measured: up to 1.5e-2, and 3.2e-2
/// for one with experts. Mistakes in an architecture show in the F32 test above.
#[test]
fn golden_models_in_their_own_types_compute_nearly_the_reference_logits_on_the_cpu() {
    check_all(&executed::logits, None, 25.0 / 512.0);
}

/// The reference computes in single precision with the dequantized weights of the file.
#[test]
fn the_shipped_models_compute_the_reference_logits() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["demo", "draft"] {
        let path = root.join("../sm-demo-model").join(name).with_extension("gguf");
        let expected = root.join("tests/data/demo").join(name);
        let case = Case { path: &path, quant: Some(DType::F32), expected: &expected };
        let failures = check(&case, &executed::logits, 1e-3);
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}
