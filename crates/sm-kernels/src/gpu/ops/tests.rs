//! Every kernel translates to what Vulkan, Metal and DX12 take: no device is needed for that.

use std::collections::BTreeMap;

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use sm_tensor::DType;

use super::{attention, embed, encode, gated, gather_rows, linear, moe_ffn, norm, rope_store, sigmoid_gate};
use crate::gpu::binder::Arithmetic;
use crate::gpu::form::Form;
use crate::gpu::kernel::Exchange;
use crate::gpu::kv_pool::KvShape;
use crate::gpu::matrices::Matrices;
use crate::gpu::{select, speed};
use crate::plan::{KvDType, NormKind, Op, PageGroup, Store};
use crate::testing;

/// What products with a form can multiply in.
pub(super) fn arithmetics(form: Form) -> impl Iterator<Item = Arithmetic> {
    [Arithmetic::Float].into_iter().chain(form.is_quantized().then_some(Arithmetic::Int8))
}

fn translate(name: &str, source: &str) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{name}: {}\n{source}", error.emit_to_string(source)));
    let capabilities = Capabilities::IMMEDIATES
        | Capabilities::SHADER_FLOAT16_IN_FLOAT32
        | Capabilities::SHADER_FLOAT16
        | Capabilities::SUBGROUP
        | Capabilities::COOPERATIVE_MATRIX;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    let info = validator.validate(&module).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let point = Some(&spv::PipelineOptions {
        shader_stage: naga::ShaderStage::Compute,
        entry_point: "main".to_owned(),
    });
    let words = spv::write_vec(&module, &info, &spv::Options::default(), point);
    assert!(!words.unwrap_or_else(|error| panic!("{name}, SPIR-V: {error}")).is_empty());
    // What macOS 12 has.
    let options =
        msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..msl::Options::default() };
    let (text, _) = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
        .unwrap_or_else(|error| panic!("{name}, MSL: {error}"));
    assert!(text.contains("kernel void"));
    // DX12 has no cooperative matrices.
    if source.contains("coopMultiplyAdd") {
        return;
    }
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        fake_missing_bindings: true,
        immediates_target: Some(hlsl::BindTarget::default()),
        ..hlsl::Options::default()
    };
    let mut text = String::new();
    let pipeline = hlsl::PipelineOptions::default();
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&module, &info, None)
        .unwrap_or_else(|error| panic!("{name}, HLSL: {error}"));
    assert!(text.contains("numthreads"));
}

#[test]
fn every_kernel_translates_for_every_interface() {
    let mut specs = vec![gather_rows::spec(), encode::spec()];
    specs.extend(select::specs());
    specs.extend(speed::specs());
    specs.extend(
        [(16, 64), (8, 8)].map(|(side, max_subgroup)| speed::matrices_spec(Matrices { side, max_subgroup })),
    );
    for dtype in DType::all() {
        let form = Form::of(dtype);
        specs.extend(embed::samples(form));
        specs.extend(linear::samples(form));
    }
    let plan = testing::experts(DType::Q4K);
    let experts =
        plan.ops.iter().find_map(|op| if let Op::MoeFfn(op) = op { Some(op.experts) } else { None });
    for dtype in [DType::F32, DType::Q4K] {
        specs.extend(moe_ffn::samples(Form::of(dtype), &experts.unwrap()));
    }
    for store in [Store::Write, Store::Add] {
        specs.push(sigmoid_gate::spec(store));
        specs.push(norm::spec(NormKind::Rms, false, store, true));
        specs.push(norm::spec(NormKind::Layer, true, store, false));
    }
    for dtype in [KvDType::F16, KvDType::F32, KvDType::Q8_0] {
        for dim in [7, 64] {
            let shape = KvShape { group: PageGroup::uniform(1, 2, dim), dtype };
            specs.extend(rope_store::samples(shape));
            specs.extend(attention::specs(shape, 4, dim == 7, dim == 64));
        }
    }
    for epilogue in 1..5 {
        specs.push(gated::spec(epilogue, epilogue % 2 == 0));
    }
    // Types of one form share their kernels.
    let mut kernels = BTreeMap::new();
    for exchange in [Exchange::Memory, Exchange::Subgroups] {
        kernels.extend(specs.iter().map(|spec| (spec.source.whole(exchange), spec.name)));
    }
    kernels.iter().for_each(|(text, name)| translate(name, text));
}
