//! IQ4_NL: `scale * VALUES[index]`, indices of 4 bits; the code is the value + 128.

use sm_tensor::DType;

use super::q4_0::{self, Block};
use super::{Codes, QuantFormat, planes};
use crate::cpu::isa::Isa;

pub(super) struct Iq4Nl;

const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

const CODES: [u8; 16] = {
    let mut codes = [0; 16];
    let mut index = 0;
    while index < 16 {
        codes[index] = (VALUES[index] as i32 + 128) as u8;
        index += 1;
    }
    codes
};

impl QuantFormat for Iq4Nl {
    const DTYPE: DType = DType::Iq4Nl;
    type Block = Block;
    const UNITS: usize = 2;
    type Kind = Codes<1, false, 8>;
    const OFFSET: i32 = 128;

    #[inline(always)]
    fn pack(file_block: &[u8], lane: usize, unit: usize, block: &mut Block) {
        q4_0::pack(file_block, lane, unit, block);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, unit: usize, quad: usize) -> I::Bytes {
        isa.lookup(&CODES, planes::nibbles(isa, &block.codes[unit], quad))
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, unit: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.scales[unit])
    }
}
