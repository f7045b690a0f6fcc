//! Random weights: pools of quantized noise, from which rows are assembled.

use std::collections::HashMap;
use std::f32::consts::TAU;
use std::io::Write;

use sm_model::{GgufWriter, TensorSpec};
use sm_tensor::{DType, quantize};

use super::SynthError;

/// Values in a pool.
const POOL_LEN: usize = 1 << 20;
/// Values per piece of a float row; a piece of a quantized row is a block.
const FLOAT_PIECE: usize = 32;

/// The source of all random weights of a file.
pub(super) struct Noise {
    random: SplitMix64,
    /// Noise, by the bits of its standard deviation and its data type.
    pools: HashMap<(DType, u32), Vec<u8>>,
}

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: SplitMix64(seed), pools: HashMap::new() }
    }

    /// Writes the rows of a matrix: pieces of its pool in random order.
    pub(super) fn fill<W: Write>(
        &mut self,
        writer: &mut GgufWriter<W>,
        spec: &TensorSpec,
        deviation: f32,
    ) -> Result<(), SynthError> {
        let dtype = spec.dtype;
        let key = (dtype, deviation.to_bits());
        if !self.pools.contains_key(&key) {
            self.pools.insert(key, pool(dtype, deviation, &mut self.random)?);
        }
        let pool = &self.pools[&key];
        let piece_bytes = dtype.block_bytes() * (FLOAT_PIECE / dtype.block_len()).max(1);
        let n_pieces = (pool.len() / piece_bytes) as u64;
        let n_values: usize = spec.shape.iter().product();
        let mut left = n_values / dtype.block_len() * dtype.block_bytes();
        let mut chunk = Vec::with_capacity(1 << 16);
        while left > 0 {
            chunk.clear();
            while chunk.len() + piece_bytes <= chunk.capacity() && chunk.len() < left {
                let first = (self.random.next() % n_pieces) as usize * piece_bytes;
                chunk.extend_from_slice(&pool[first..first + piece_bytes.min(left - chunk.len())]);
            }
            writer.write(&chunk)?;
            left -= chunk.len();
        }
        Ok(())
    }
}

fn pool(dtype: DType, deviation: f32, random: &mut SplitMix64) -> Result<Vec<u8>, SynthError> {
    let values: Vec<f32> = (0..POOL_LEN / 2).flat_map(|_| random.gaussian_pair(deviation)).collect();
    let mut bytes = vec![0; POOL_LEN / dtype.block_len() * dtype.block_bytes()];
    quantize(dtype, &values, &mut bytes)?;
    Ok(bytes)
}

/// `SplitMix64`, by Steele, Lea and Flood: <https://doi.org/10.1145/2660193.2660195>.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// Two independent gaussian numbers, by the Box–Muller transform.
    fn gaussian_pair(&mut self, deviation: f32) -> [f32; 2] {
        let bits = self.next();
        // Both from 24 bits; the first is never 0.
        let uniform = |bits: u64| ((bits & 0xFF_FFFF) as f32 + 0.5) / 16_777_216.0;
        let radius = deviation * (-2.0 * uniform(bits).ln()).sqrt();
        let (sin, cos) = (TAU * uniform(bits >> 24)).sin_cos();
        [radius * cos, radius * sin]
    }
}
