#!/usr/bin/env python3
"""Writes quant_fixtures.bin: blocks of every tensor type and what the GGUF project's own Python package
(gguf, MIT licence) says they are worth; and, where that package has a quantiser, rows and their blocks.
usage: make_quant_fixtures.py OUT    (needs the packages gguf and numpy)

Record: u32 kind (0: bytes -> values, 1: values -> bytes), u32 type id, u32 values, u32 bytes, the bytes,
the values as f32. All little-endian, after the magic "NQF1"."""
import struct
import sys

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES

TYPES = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4 NVFP4".split()
QUANTISERS = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 MXFP4".split()
HALF_SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
               "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}
# zero, -0, smallest and largest subnormal, smallest normal, one, largest, infinities, a quiet NaN
HALVES = [0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3c00, 0xfbff, 0x7c00, 0xfc00, 0x7e00]
rng = np.random.default_rng(20250817)
out = bytearray(b"NQF1")


def record(kind, t, data, values):
    values = np.ascontiguousarray(values, np.float32)
    out.extend(struct.pack("<IIII", kind, t.value, values.size, len(data)) + data + values.tobytes())


def blocks(name, size):
    """Byte patterns, sane random blocks, and each scale of the block set to each special half."""
    yield from (np.full(size, b, np.uint8) for b in (0x00, 0xff, 0x55, 0xaa, 0x80, 0x7f))
    for _ in range(3 if size > 64 else 24):
        yield rng.integers(0, 256, size, np.uint8)
    for i, half in enumerate(HALVES if name in HALF_SCALES else []):
        b = rng.integers(0, 256, size, np.uint8)
        for j, at in enumerate(HALF_SCALES[name]):
            h = HALVES[(i + 3 * j) % len(HALVES)]
            b[at], b[at + 1] = h & 255, h >> 8
        yield b
    if name == "MXFP4":
        for e in (0, 1, 2, 127, 254, 255):
            yield np.concatenate([[e], rng.integers(0, 256, size - 1)]).astype(np.uint8)
    if name == "NVFP4":
        for e in range(0, 256, 4):
            yield np.concatenate([np.arange(e, e + 4), rng.integers(0, 256, size - 4)]).astype(np.uint8)


def scalars(name):
    if name == "F32":
        return np.array([0, 1, 0x80000000, 0x7f800000, 0xff800000, 0x00000001, 0x7fc00000, 0x3f800001], np.uint32).view(np.uint8)
    return np.arange(0, 65536, 31, np.uint16).view(np.uint8)      # every 31st half, all exponents


with np.errstate(all="ignore"):
    for name in TYPES:
        t = T[name]
        length, size = GGML_QUANT_SIZES[t]
        data = scalars(name) if length == 1 else np.concatenate(list(blocks(name, size)))
        record(0, t, data.tobytes(), quants.dequantize(data.reshape(1, -1), t).ravel())
    for name in QUANTISERS:
        t = T[name]
        rows = [rng.standard_normal(32) * 10.0 ** e for e in (-6, -3, -1, 0, 0, 0, 1, 3)]
        rows += [np.zeros(32), np.ones(32), -np.ones(32), np.linspace(-1, 1, 32), np.linspace(0, 5, 32)]
        rows += [np.r_[-4.0, 4.0, np.zeros(30)], np.r_[4.0, -4.0, np.zeros(30)], np.r_[np.zeros(31), 1e-7]]
        x = np.concatenate(rows).astype(np.float32)
        if GGML_QUANT_SIZES[t][0] == 1:                           # ties, limits, subnormals
            x = np.r_[x, [65504, 65519.99, 65520, 1e38, 2**-24, 2**-25, 2**-25 * 1.001, -2**-14, 1 + 2**-11, 1 + 3 * 2**-11,
                          np.inf, -np.inf, 1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, 1e-40]].astype(np.float32)
        record(1, t, quants.quantize(x.reshape(1, -1), t).tobytes(), x)
open(sys.argv[1], "wb").write(out)
print(len(out), "bytes")
