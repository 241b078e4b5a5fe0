"""GGUF version 3, written from scratch: metadata of every kind used here, tensors in F32, F16, BF16 or Q8_0."""
import os
import struct

import numpy as np

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
TYPES = {"F32": 0, "F16": 1, "Q8_0": 8, "BF16": 30}
FILE_TYPE = {"F32": 0, "F16": 1, "Q8_0": 7, "BF16": 32}
ALIGN = 32
PACK = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", U64: "<Q", I64: "<q", F64: "<d"}


def string(x):
    b = x.encode("utf-8")
    return struct.pack("<Q", len(b)) + b


def value(t, v):
    if t == STR:
        return string(v)
    if t == BOOL:
        return struct.pack("<B", bool(v))
    return struct.pack(PACK[t], v)


def encode(x, kind):
    """-> bytes of a tensor. Rows of Q8_0 are blocks of 32: a half-precision scale, then 32 signed bytes."""
    x = np.ascontiguousarray(x, dtype="<f4")
    if kind == "F32":
        return x.tobytes()
    if kind == "F16":
        return x.astype("<f2").tobytes()
    if kind == "BF16":
        u = x.view("<u4")
        return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype("<u2").tobytes()
    b = x.reshape(-1, 32)
    d = np.abs(b).max(1, keepdims=True) / 127.0
    q = np.rint(np.divide(b, d, out=np.zeros_like(b), where=d > 0)).astype("i1")
    out = np.empty((len(b), 34), "u1")
    out[:, :2] = d.astype("<f2").view("u1")
    out[:, 2:] = q.view("u1")
    return out.tobytes()


def decode(raw, kind, shape):
    """The float32 values that a reader of the file gets back."""
    if kind == "F32":
        x = np.frombuffer(raw, "<f4")
    elif kind == "F16":
        x = np.frombuffer(raw, "<f2").astype("f4")
    elif kind == "BF16":
        x = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    else:
        b = np.frombuffer(raw, "u1").reshape(-1, 34)
        x = b[:, 2:].copy().view("i1").astype("f4") * b[:, :2].copy().view("<f2").astype("f4")
    return x.reshape(shape)


class Writer:
    def __init__(self, arch):
        self.kv, self.tensors, self.arch = [], [], arch
        self.add("general.architecture", STR, arch)

    def add(self, key, t, v):
        self.kv.append(string(key) + struct.pack("<I", t) + value(t, v))

    def add_array(self, key, t, vs):
        self.kv.append(string(key) + struct.pack("<IIQ", ARR, t, len(vs)) + b"".join(value(t, v) for v in vs))

    def arch_key(self, key, t, v):
        """A key below the architecture's own prefix."""
        self.add(f"{self.arch}.{key}", t, v)

    def tensor(self, name, x, kind="F32"):
        """One-dimensional tensors are always F32; rows that Q8_0 cannot hold whole are F16."""
        x = np.asarray(x)
        if x.ndim < 2:
            kind = "F32"
        elif kind == "Q8_0" and x.shape[-1] % 32:
            kind = "F16"
        raw = encode(x, kind)
        self.tensors.append((name, x.shape, kind, raw))
        return decode(raw, kind, x.shape)

    def write(self, path):
        info, off = b"", 0
        for name, shape, kind, raw in self.tensors:
            dims = shape[::-1]            # the fastest-moving dimension first
            info += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, TYPES[kind], off)
            off += (len(raw) + ALIGN - 1) // ALIGN * ALIGN
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.kv)) + b"".join(self.kv) + info
        with open(path + ".new", "wb") as f:
            f.write(head + b"\0" * (-len(head) % ALIGN))
            for _, _, _, raw in self.tensors:
                f.write(raw + b"\0" * (-len(raw) % ALIGN))
        os.replace(path + ".new", path)
