"""Which instructions run: listed, forced, refused; and those that this machine may not have."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
from llvmlite import binding, ir
from support import ROOT, jit_only

from fxsim.engine import instruction_set, matmul
from fxsim.engine.instruction_set import InstructionSet
from fxsim.engine.kernels import amx, packed, simd
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.threads import set_threads
from fxsim.errors import FormatError
from fxsim.numerics.formats import Accumulator, FixedPoint, Overflow


def test_the_portable_path_is_always_there_and_the_fastest_is_chosen(monkeypatch):
    monkeypatch.delenv(instruction_set.VARIABLE, raising=False)
    assert instruction_set.available()[-1] is InstructionSet.PORTABLE
    assert instruction_set.chosen() is instruction_set.available()[0]


def test_a_path_can_be_forced_by_name(monkeypatch):
    monkeypatch.setenv(instruction_set.VARIABLE, "portable")
    assert instruction_set.chosen() is InstructionSet.PORTABLE
    monkeypatch.setenv(instruction_set.VARIABLE, "portabel")
    with pytest.raises(FormatError, match=r"FXSIM_PATH: must be one of .*; did you mean 'portable"):
        instruction_set.chosen()


def test_a_path_that_the_processor_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(instruction_set, "available", lambda: (InstructionSet.PORTABLE,))
    with pytest.raises(FormatError, match="'amx' is not on this processor, which has portable"):
        instruction_set.force(InstructionSet.AMX)


def test_all_paths_and_thread_counts_give_the_same_bits_and_counts():
    jit_only()
    rng = np.random.default_rng(4)
    a, b = (
        FixedTensor(rng.integers(-128, 128, s).astype(np.int8), FixedPoint(8, 2))
        for s in ((700, 300), (40, 300))
    )
    found = set()
    for overflow in (Overflow.SAT, Overflow.WRAP):
        for machine in instruction_set.available():
            for threads in (1, 2, 3):
                instruction_set.force(machine)
                set_threads(threads)
                got, lost = matmul.multiply(a, b, Accumulator(18, overflow))
                found.add((overflow, got.codes.tobytes(), lost.altered))
    instruction_set.force(None)
    set_threads(1)
    assert len(found) == 2


def _module(kernel, arguments: int) -> str:
    """The LLVM text of one micro-kernel of int64 arguments."""
    module = ir.Module()
    words = [ir.IntType(64)] * arguments
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), words), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    kernel(builder, *function.args)
    builder.ret_void()
    return str(module)


def _assembly(text: str, processor_name: str) -> str:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple("x86_64-unknown-linux-gnu")
    machine = target.create_target_machine(cpu=processor_name, opt=2)
    module = binding.parse_assembly(text)
    module.verify()
    return machine.emit_assembly(module)


def test_the_amx_tile_compiles_for_a_processor_that_has_it():
    """32 x 32 sums: four products of tiles a step, two loads of each operand."""
    assembly = _assembly(_module(amx.generator(2), 10), "sapphirerapids")
    assert assembly.count("tdpbssd") == 4
    assert assembly.count("tilestored") == 4
    assert assembly.count("tileloadd") == 8


def test_the_packing_that_amx_reads_is_that_of_a_tile():
    """Its only stand-in here: b's tiles are 16 groups of 16 columns, a's rows as they are."""
    jit_only()
    if not simd.HAS_AVX2:
        pytest.skip("packing needs AVX2")
    b = np.arange(32 * 128, dtype=np.int64).reshape(32, 128).astype(np.int8)
    scratch = np.zeros((2, 32, 16, 4), np.int8)
    packed.pack_columns(packed.AMX_S8, b.ctypes.data, 32, 128, scratch.ctypes.data, 32)
    for column, k in np.ndindex(b.shape):
        assert scratch[column // 16, k // 4, column % 16, k % 4] == b[column, k]


def test_the_example_of_accumulators_runs():
    jit_only()
    runpy.run_path(str(ROOT / "examples" / "accumulators.py"))
