"""Writes the fixtures of crates/sm-tensor/tests/formats.rs: bit patterns and errors of every block format.

Bit patterns come from the Python package `gguf`. It has no quantizer for the K formats, IQ4_NL and IQ4_XS;
for these ggml's own quantizers (without importance matrix) give the error to compare with. They are
called in the ggml library that the wheel of `pywhispercpp` carries. So are those of Q1_0, which `gguf` knows by name only.

All numbers are little-endian:

    values.f32            the values to quantize, the distributions back to back
    distributions.txt     lines `name first count`: where each distribution lies in values.f32
    FORMAT.quantized.bin  the bytes of values.f32 in FORMAT, where gguf can quantize to it, and in Q1_0
    FORMAT.blocks.bin     blocks of random bytes in FORMAT, with scales of all kinds
    FORMAT.expanded.f32   what gguf, or for Q1_0 ggml, dequantizes these blocks to
    rmse.txt              lines `FORMAT distribution error`: ggml's root mean square error
    importance.f32        the importance of each column of a row of 256 values
    important_rmse.txt    as rmse.txt, but with that importance matrix, and errors weighted by it
"""

import ctypes
import sys
import sysconfig
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf import quants

OUT = Path("crates/sm-tensor/tests/data")
RNG = np.random.default_rng(20240607)

WITH_QUANTIZER = [
    Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1,
    Type.MXFP4, Type.TQ2_0, Type.TQ1_0,
]
WITHOUT_QUANTIZER = [Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_NL, Type.IQ4_XS]
# Formats whose quantizers take an importance matrix.
IMPORTANT = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_NL, Type.IQ4_XS]

# Byte offsets of the f16 scales within a block.
F16_FIELDS = {
    Type.Q8_0: [0],
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q2_K: [80, 82],
    Type.Q3_K: [108],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
    Type.IQ4_NL: [0],
    Type.IQ4_XS: [0],
    Type.IQ3_S: [0],
    Type.IQ3_XXS: [0],
    Type.IQ2_S: [0],
    Type.IQ2_XS: [0],
    Type.IQ2_XXS: [0],
    Type.IQ1_M: [],
    Type.IQ1_S: [0],
    Type.MXFP4: [],
    Type.TQ2_0: [64],
    Type.TQ1_0: [52],
    Type.Q1_0: [0],
}


def distributions():
    """The values to quantize; each length is a multiple of 256."""
    gaussian = RNG.normal(size=4096)
    spiky = RNG.normal(size=1024) * np.where(RNG.random(1024) < 0.01, 30, 1)
    sparse = np.where(RNG.random(512) < 0.1, RNG.normal(size=512), 0.0)
    constants = np.repeat([1.0, -1.0, 0.37, -0.37, 1e-3, -1e-3, 65504.0, -65504.0], 32)
    ties = np.tile(np.arange(-127, 129) / 8, 1)
    tiny = RNG.choice([-1, 1], 2048) * 10.0 ** RNG.uniform(-6, -2, 2048)
    # One larger value a block keeps the reciprocal of the scale finite; gguf's codes are undefined without.
    denormal = RNG.choice([-1, 1], 256) * np.where(np.arange(256) % 32 == 7, 5e-37, RNG.uniform(0, 1.1e-38, 256))
    negative_zeros = np.where(np.arange(256) % 32 < 8, -0.0, np.abs(RNG.normal(size=256)))
    return {
        "gaussian": gaussian,
        "weights": 0.02 * RNG.normal(size=2048),
        "uniform": RNG.uniform(-1, 1, size=1024),
        "positive": RNG.uniform(0.5, 1, size=512),
        "shifted": 5 + RNG.normal(size=512),
        "laplace": RNG.laplace(size=1024),
        "spiky": spiky,
        "sparse": sparse,
        "ties": ties,
        "constants": constants,
        "zeros": np.zeros(256),
        "negative_zeros": negative_zeros,
        "minus_zeros": np.full(256, -0.0),
        "tiny": tiny,
        "denormal": denormal,
    }


def random_blocks(kind, count):
    """Blocks of random bytes whose scales are finite f16 of any size, the last one infinite.

    But for the scale, the third has the least bytes and the fourth the largest.
    """
    block = np.dtype((np.uint8, GGML_QUANT_SIZES[kind][1]))
    blocks = RNG.integers(0, 256, size=(count,) + block.shape, dtype=np.uint8)
    blocks[2], blocks[3] = 0x00, 0xFF
    for offset in F16_FIELDS[kind]:
        bits = random_f16(count)
        blocks[:, offset : offset + 2] = bits.astype("<u2").view(np.uint8).reshape(count, 2)
    if kind == Type.IQ1_M:
        # Four bits of the scale in the upper half of every second byte, the low ones first.
        bits = random_f16(count)
        for i in range(4):
            high = (bits >> (4 * i) & 15) << 4
            blocks[:, 49 + 2 * i] = blocks[:, 49 + 2 * i] & 15 | high.astype(np.uint8)
    if kind == Type.MXFP4:
        blocks[4:7, 0] = [1, 2, 254]
    return blocks.reshape(-1)


def random_f16(count):
    """The bits of finite f16 of any size, the last one infinite."""
    bits = RNG.integers(0, 0x7C00, size=count, dtype=np.uint16) | (
        RNG.integers(0, 2, size=count, dtype=np.uint16) << 15
    )
    bits[0], bits[1], bits[-1] = 0x0000, 0x8001, 0x7C00
    return bits


def load_ggml():
    """ggml's core library out of the installed wheel of pywhispercpp."""
    libraries = Path(sysconfig.get_path("platlib")) / "pywhispercpp.libs"
    (path,) = libraries.glob("libggml-base-*.so*")
    ggml = ctypes.CDLL(str(path))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    ggml.dequantize_row_q1_0.restype = None
    ggml.dequantize_row_q1_0.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    return ggml


def ggml_quantize(ggml, kind, values):
    """The bytes of `values` from ggml's quantizer."""
    block_len, block_bytes = GGML_QUANT_SIZES[kind]
    packed = np.zeros(values.size // block_len * block_bytes, dtype=np.uint8)
    written = ggml.ggml_quantize_chunk(kind.value, values.ctypes.data, packed.ctypes.data, 0, 1, values.size, None)
    assert written == packed.size, f"{kind.name}: {written} bytes instead of {packed.size}"
    return packed


def ggml_dequantize_q1_0(ggml, blocks):
    """What ggml's own function decodes blocks of Q1_0 to."""
    values = np.zeros(blocks.size // 18 * 128, dtype=np.float32)
    ggml.dequantize_row_q1_0(blocks.ctypes.data, values.ctypes.data, values.size)
    return values


def ggml_error(ggml, kind, values):
    """Root mean square error of `values` after a round trip through ggml's quantizer."""
    packed = ggml_quantize(ggml, kind, values)
    difference = quants.dequantize(packed, kind).astype(np.float64) - values.astype(np.float64)
    return float(np.sqrt(np.mean(difference**2)))


def important_error(ggml, kind, values, importance):
    """As `ggml_error`, with each row quantized for this importance and errors weighted by it."""
    block_len, block_bytes = GGML_QUANT_SIZES[kind]
    packed = np.zeros(values.size // block_len * block_bytes, dtype=np.uint8)
    n_rows = values.size // importance.size
    ggml.ggml_quantize_chunk(
        kind.value, values.ctypes.data, packed.ctypes.data, 0, n_rows, importance.size, importance.ctypes.data
    )
    difference = quants.dequantize(packed, kind).astype(np.float64) - values.astype(np.float64)
    weighted = difference.reshape(n_rows, -1) ** 2 * importance.astype(np.float64)
    return float(np.sqrt(np.mean(weighted) / np.mean(importance.astype(np.float64))))


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    parts = {name: values.astype("<f4") for name, values in distributions().items()}
    values = np.concatenate(list(parts.values()))
    values.tofile(out / "values.f32")
    with open(out / "distributions.txt", "w") as lines:
        first = 0
        for name, part in parts.items():
            lines.write(f"{name} {first} {part.size}\n")
            first += part.size

    for kind in WITH_QUANTIZER:
        packed = quants.quantize(values.reshape(-1, 256), kind)
        packed.tofile(out / f"{kind.name.lower()}.quantized.bin")
    ggml = load_ggml()
    ggml_quantize(ggml, Type.Q1_0, values).tofile(out / "q1_0.quantized.bin")
    for kind in F16_FIELDS:
        blocks = random_blocks(kind, 8 if GGML_QUANT_SIZES[kind][0] == 256 else 32)
        blocks.tofile(out / f"{kind.name.lower()}.blocks.bin")
        with np.errstate(invalid="ignore", over="ignore"):
            expanded = ggml_dequantize_q1_0(ggml, blocks) if kind == Type.Q1_0 else quants.dequantize(blocks, kind)
        expanded.astype("<f4").tofile(out / f"{kind.name.lower()}.expanded.f32")
    for kind in [Type.F16, Type.BF16]:
        halves = np.arange(0, 0x10000, 61, dtype="<u2").view(np.uint8)
        halves.tofile(out / f"{kind.name.lower()}.blocks.bin")
        quants.dequantize(halves, kind).astype("<f4").tofile(out / f"{kind.name.lower()}.expanded.f32")

    with open(out / "rmse.txt", "w") as lines:
        for kind in WITHOUT_QUANTIZER:
            for name, part in parts.items():
                lines.write(f"{kind.name.lower()} {name} {ggml_error(ggml, kind, part)!r}\n")
    importance = (10.0 ** np.random.default_rng(20241129).uniform(-2, 2, 256)).astype("<f4")
    importance.tofile(out / "importance.f32")
    with open(out / "important_rmse.txt", "w") as lines:
        for kind in IMPORTANT:
            for name, part in parts.items():
                lines.write(f"{kind.name.lower()} {name} {important_error(ggml, kind, part, importance)!r}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / OUT)
