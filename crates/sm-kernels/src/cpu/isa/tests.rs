//! Every instruction set of this machine against the scalar one, bit for bit.

use super::scalar::Scalar;
use super::{Isa, IsaKind, IsaVisitor, LANES};

/// Random values, with ties, subnormals, infinities and NaN among them.
fn floats(seed: u32) -> [f32; LANES] {
    let special =
        [0.0, -0.0, 0.5, 1.5, -2.5, 1e-40, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 3e9, -1e-3];
    std::array::from_fn(|i| {
        let hash = (seed.wrapping_mul(31).wrapping_add(i as u32)).wrapping_mul(0x9e37_79b9);
        if hash.is_multiple_of(5) {
            special[(hash >> 8) as usize % special.len()]
        } else {
            (hash as i32) as f32 / 3e7
        }
    })
}

fn bytes(seed: u32) -> [u8; 64] {
    std::array::from_fn(|i| {
        ((seed.wrapping_mul(97).wrapping_add(i as u32)).wrapping_mul(0x9e37_79b9) >> 24) as u8
    })
}

fn out<I: Isa>(isa: I, v: I::F32) -> Vec<u32> {
    let mut xs = [0.0; LANES];
    isa.store(&mut xs, v);
    // Sign and payload of a NaN may differ.
    xs.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

fn out_bytes<I: Isa>(isa: I, v: I::Bytes) -> Vec<u32> {
    let mut xs = [0; 64];
    isa.store_bytes(&mut xs, v);
    xs.map(u32::from).to_vec()
}

fn out_f16<I: Isa>(isa: I, v: I::F32) -> Vec<u32> {
    let mut xs = [0; LANES];
    isa.store_f16(&mut xs, v);
    xs.map(u32::from).to_vec()
}

fn out_i8<I: Isa>(isa: I, v: I::I32) -> Vec<u32> {
    let mut xs = [0; LANES];
    isa.store_i8(&mut xs, v);
    xs.map(|x| x as u32).to_vec()
}

/// The name and result of every operation.
struct EveryOperation {
    seed: u32,
}

impl IsaVisitor for EveryOperation {
    type Output = Vec<(&'static str, Vec<u32>)>;

    fn visit<I: Isa>(self, isa: I) -> Self::Output {
        let [a, b, c] = [0, 1, 2].map(|i| isa.load(&floats(3 * self.seed + i)));
        let w = bytes(self.seed);
        let x = bytes(self.seed + 1000);
        let words = w.as_chunks::<LANES>().0[0];
        let quad = [x[0], x[1], x[2], x[3]].map(|b| b as i8);
        let f16s = floats(self.seed).map(|v| half::f16::from_f32(v).to_bits());
        let ints = isa.load_i8(&words.map(|b| b as i8));
        let wb = isa.load_bytes(&w);
        let xb = isa.load_bytes(&x);
        let moderate = x.map(|b| if b == 0x80 { 0x81 } else { b });
        let acc = isa.splat_i32(-8 * self.seed as i32);
        let low = isa.shift_bytes(wb, 0, 0x7f);
        let mut results = vec![
            ("mul_add", out(isa, isa.mul_add(a, b, c))),
            ("neg_mul_add", out(isa, isa.neg_mul_add(a, b, c))),
            ("add", out(isa, isa.add(a, b))),
            ("sub", out(isa, isa.sub(a, b))),
            ("mul", out(isa, isa.mul(a, b))),
            ("div", out(isa, isa.div(a, b))),
            ("max", out(isa, isa.max(a, b))),
            ("min", out(isa, isa.min(a, b))),
            ("abs", out(isa, isa.abs(a))),
            ("round", out(isa, isa.round(a))),
            ("select_lt", out(isa, isa.select_lt(a, b, c, isa.splat(1.0)))),
            ("to_i32", out(isa, isa.to_f32(isa.to_i32(a)))),
            ("pow2", out(isa, isa.pow2(isa.load_i8(&words.map(|b| (b as i8).max(-126)))))),
            ("load_f16", out(isa, isa.load_f16(&f16s))),
            ("even_bf16", out(isa, isa.even_bf16(wb))),
            ("odd_bf16", out(isa, isa.odd_bf16(wb))),
            ("load_u8", out(isa, isa.to_f32(isa.load_u8(&words)))),
            ("shl_i32", out(isa, isa.to_f32(isa.shl_i32(ints, 3)))),
            ("shr_i32", out(isa, isa.to_f32(isa.shr_i32(isa.load_u8(&words), 4)))),
            ("and_i32", out(isa, isa.to_f32(isa.and_i32(ints, 15)))),
            ("reduce_sum_i32", vec![isa.reduce_sum_i32(ints) as u32]),
            ("dot", out(isa, full_dot(isa, acc, wb, isa.load_bytes(&moderate)))),
            ("dot of a quad", out(isa, full_dot(isa, acc, wb, isa.splat_quad(quad.map(|x| x.max(-127)))))),
            ("dot_7bit", out(isa, isa.to_f32(isa.dot_7bit(acc, low, xb)))),
            ("dot_i16", out_bytes(isa, isa.dot_i16(isa.load_bytes(&bytes(self.seed + 2000)), low, xb))),
            ("add_i16_halves", out(isa, isa.to_f32(isa.add_i16_halves(acc, wb)))),
            ("or_bytes", out_bytes(isa, isa.or_bytes(wb, xb))),
            ("lookup", out_bytes(isa, isa.lookup(&words, isa.shift_bytes(wb, 0, 15)))),
        ];
        for left in -7..=7 {
            results.push(("shift_bytes", out_bytes(isa, isa.shift_bytes(wb, left, 0x5f))));
        }
        let near_one = isa.load(&w.map(|b| 0.5 + f32::from(b) / 170.0).as_chunks().0[0]);
        for n in
            [-200.0, -151.0, -150.0, -149.0, -126.0, -100.0, -1.0, 0.0, 1.0, 64.0, 127.0, 128.0, 129.0, 200.0]
        {
            results.push(("scale_by_pow2", out(isa, isa.scale_by_pow2(near_one, isa.splat(n)))));
        }
        let finite =
            isa.load(&floats(self.seed).map(|v| if v.is_finite() && v.abs() < 1e9 { v } else { 0.25 }));
        results.push(("reduce_sum", vec![isa.reduce_sum(finite).to_bits()]));
        results.push(("reduce_max", vec![isa.reduce_max(finite).to_bits()]));
        results.push(("store_f16", out_f16(isa, finite)));
        results.push(("store_i8", out_i8(isa, ints)));
        results
    }
}

#[test]
fn every_set_matches_the_scalar_one_bit_for_bit() {
    let scalar = Scalar::detect().unwrap();
    for kind in IsaKind::available() {
        for seed in 0..200 {
            let want = EveryOperation { seed }.visit(scalar);
            let got = kind.dispatch(EveryOperation { seed });
            for (want, got) in want.iter().zip(&got) {
                assert_eq!(want, got, "{kind}, seed {seed}");
            }
        }
    }
}

/// `dot` with [`Isa::DOT_OFFSET`] added back; all these integers are exact in `f32`.
fn full_dot<I: Isa>(isa: I, acc: I::I32, w: I::Bytes, x: I::Bytes) -> I::F32 {
    let one = isa.load_bytes(&[(I::DOT_OFFSET + 1) as u8; 64]);
    let sum = isa.to_f32(isa.dot(isa.splat_i32(0), one, x));
    isa.mul_add(sum, isa.splat(I::DOT_OFFSET as f32), isa.to_f32(isa.dot(acc, w, x)))
}

#[test]
fn dot_is_exact_at_the_extremes() {
    struct Extremes;
    impl IsaVisitor for Extremes {
        type Output = [Vec<u32>; 4];
        fn visit<I: Isa>(self, isa: I) -> Self::Output {
            let w = isa.load_bytes(&[255; 64]);
            let zero = isa.splat_i32(0);
            let full = full_dot(isa, zero, w, isa.splat_quad([-127; 4]));
            let least = full_dot(isa, zero, isa.load_bytes(&[0; 64]), isa.splat_quad([-127; 4]));
            let narrow = isa.dot_7bit(zero, isa.shift_bytes(w, 0, 0x7f), isa.splat_quad([-128; 4]));
            let most = isa.shift_bytes(w, 0, 0x7f);
            let short = isa.dot_i16(isa.load_bytes(&[0; 64]), most, isa.splat_quad([-128; 4]));
            let short = isa.add_i16_halves(zero, short);
            [full, least, isa.to_f32(narrow), isa.to_f32(short)].map(|v| out(isa, v))
        }
    }
    for kind in IsaKind::available() {
        let [full, least, narrow, short] = kind.dispatch(Extremes);
        assert_eq!(full, vec![(-4.0f32 * 255.0 * 127.0).to_bits(); LANES], "{kind}");
        assert_eq!(least, vec![0.0f32.to_bits(); LANES], "{kind}");
        assert_eq!(narrow, vec![(-4.0f32 * 127.0 * 128.0).to_bits(); LANES], "{kind}");
        assert_eq!(short, narrow, "{kind}");
    }
}

#[test]
fn names_round_trip() {
    for kind in IsaKind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    let message = "sse9".parse::<IsaKind>().unwrap_err().to_string();
    assert!(message.contains("sse9") && message.contains("avx512-vnni"), "{message}");
    assert!(IsaKind::Scalar.is_available());
}
