"""The cost model's speed: pricing, repricing, the mapper beside ZigZag, and growth.

ZigZag's rows need `pip install -e ".[test]" zigzag-dse==3.9.1 six`; without it they are left out,
and that is said. Times are wall time; compiled code is compiled before it is timed.
"""

from __future__ import annotations

import importlib.util
import resource
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from side_by_side import Row, arguments, report

from fxsim.config import resources
from fxsim.cost.model import evaluate_cost, reevaluate_cost
from fxsim.engine.bit_pair_histogram import bit_pair_histogram, elements_by_bits, gemm_shape
from fxsim.engine.contractions import Matrix
from fxsim.hardware import accelerator
from fxsim.identifiers import Pass
from fxsim.mapping.nest import Nest
from fxsim.mapping.problem import Problem, WordBits
from fxsim.mapping.search import _Search, best_mapping
from fxsim.numerics.block_map import BlockMap
from fxsim.policies.dynasty import Dynasty
from fxsim.runs import synthetic_trace
from fxsim.trace.reader import Trace
from fxsim.training import workload as workloads

ROOT = Path(__file__).parent.parent
TEN = (
    "dynasty",
    "int8_systolic",
    "bitfusion",
    "eyeriss",
    "stripes",
    "scalesim_ws",
    "tpu_v1_like",
    "edge_tpu_like",
    "ascend_like",
    "fp32_array",
)
ZIGZAG = {"tpu_like": "energy", "edge_tpu_like": "EDP", "meta_prototype": "latency"}
ZIGZAG_LAYERS = (1, 4, 7)  # of the twelve of ResNet-18 that differ
GPT2 = {"small": (12, 768), "medium": (24, 1024), "large": (36, 1280), "XL": (48, 1600)}
TOKENS = 256


def seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    """Best wall time of some rounds, after one that is not timed."""
    work()
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def one_step(name: str, batch: int) -> Trace:
    """A workload's training step on random inputs, with 4x4 blocks of 0 to 8 bits."""
    workload, model = workloads.load(resources.find("workloads", name))
    settings = replace(workload.training.settings(), batch=batch)
    return synthetic_trace.one_step(model, Dynasty(warmup=0, initial_lambda=0.3), settings)


def shuffled(m: BlockMap, rng: np.random.Generator) -> BlockMap:
    """Another map with as many blocks of each length."""
    bits = rng.permutation(m.bits.reshape(-1)).reshape(m.bits.shape)
    return BlockMap(
        bits, m.shifts, m.rows, m.columns, m.block_rows, m.block_columns, m.metadata_bits
    )


def resnet50() -> list[Row]:
    """Pricing a training step of ResNet-50, and again with other maps on the same mappings."""
    machine = accelerator.load(resources.find("accelerators", "dynasty"))
    trace = one_step("resnet50", 1)
    spent = seconds(
        lambda: evaluate_cost(replace(trace), machine)
    )  # a fresh object: nothing is cached
    priced = evaluate_cost(trace, machine)
    maps = priced.arrays.block_maps(int(priced.arrays.sampled[0]))
    rng = np.random.default_rng(0)
    times = []
    for key in list(maps)[::8]:
        other = shuffled(maps[key], rng)
        start = time.perf_counter()
        reevaluate_cost(priced, {key: other})
        times.append(time.perf_counter() - start)
    every = {key: shuffled(m, rng) for key, m in maps.items()}
    start = time.perf_counter()
    reevaluate_cost(priced, every)
    whole = time.perf_counter() - start
    median = float(np.median(times))
    print(
        f"ResNet-50, batch 1: {spent:.2f} s a step; repriced with one map changed"
        f" {median * 1e3:.0f} ms, with all {whole:.2f} s",
        file=sys.stderr,
    )
    return [
        ("ResNet-50 step, 3 passes, 4x4 maps, mapper included: 2 s over ours", 2 / spent, 1),
        ("repricing with one operand's map changed: 50 ms over ours", 0.05 / median, 1),
        ("repricing with every map changed: 250 ms over ours", 0.25 / whole, 1),
    ]


def run_of(steps: int, template: Trace) -> Trace:
    """A recorded run made of one step: every row again for each step, other maps at 16 of them."""
    rng = np.random.default_rng(steps)
    sampled = sorted({i * (steps - 1) // 15 for i in range(16)})

    def repeated(table: pd.DataFrame, at: Any) -> pd.DataFrame:
        parts = pd.concat([table] * len(at), ignore_index=True)
        return parts.assign(step=np.repeat(np.asarray(at, np.int32), len(table)))

    maps = repeated(template.maps, sampled)
    packed = []
    for row in maps.itertuples():
        bits = np.frombuffer(zlib.decompress(row.bits), np.uint8)
        packed.append(zlib.compress(rng.permutation(bits).tobytes(), 1))
    every = range(steps)
    return replace(
        template,
        maps=maps.assign(bits=packed),
        products=repeated(template.products, every),
        operands=repeated(template.operands, every),
        vectors=repeated(template.vectors, every),
    )


def whole_runs() -> list[Row]:
    """1,000 steps of ResNet-20 on ten accelerators, and how the time grows with the steps."""
    template = one_step("resnet20", 128)
    machines = [accelerator.load(resources.find("accelerators", name)) for name in TEN]
    for machine in machines:  # compiled
        evaluate_cost(template, machine)
    spent = {}
    for steps in (250, 500, 1000):
        trace = run_of(steps, template)
        start = time.perf_counter()
        for machine in machines:
            evaluate_cost(trace, machine)
        spent[steps] = time.perf_counter() - start
        print(
            f"ResNet-20, {steps} steps on {len(TEN)} accelerators: {spent[steps]:.1f} s",
            file=sys.stderr,
        )
    return [("1,000 steps x ResNet-20 x 10 accelerators: 60 s over ours", 60 / spent[1000], 1)]


def gpt2(layers: int, width: int) -> tuple[Trace, int]:
    """The matrix products of a GPT-2 training step with random 4x4 maps; and its blocks."""
    rng = np.random.default_rng(layers)
    tables: dict[str, list[dict[str, Any]]] = {"products": [], "operands": [], "maps": []}
    shapes = {
        "qkv": (width, 3 * width),
        "proj": (width, width),
        "up": (width, 4 * width),
        "down": (4 * width, width),
    }
    described, blocks = [], 0
    for depth in range(layers):
        for name, (inputs, outputs) in shapes.items():
            layer = f"h{depth}.{name}"
            maps = {}
            for role, (rows, columns) in {
                "activation": (TOKENS, inputs),
                "weight": (outputs, inputs),
                "error": (TOKENS, outputs),
            }.items():
                grid = (-(-rows // 4), -(-columns // 4))
                bits = np.array([0, 2, 4, 8], np.uint8)[rng.integers(0, 4, grid, np.uint8)]
                maps[role] = BlockMap(bits, np.zeros_like(bits), rows, columns, 4, 4, 2)
                counts = elements_by_bits(maps[role])
                blocks += bits.size
                tables["operands"].append(
                    {
                        "step": 0,
                        "layer": layer,
                        "role": role,
                        "rows": rows,
                        "columns": columns,
                        "blocks": bits.size,
                        "word_bits": sum(b * n for b, n in counts.items()),
                        "metadata_bits": 2 * bits.size,
                        "bits": list(counts),
                        "elements_by_bits": list(counts.values()),
                        "saturated": 0,
                        "zeros": 0,
                        "analysed": 4,
                        "source_bits": 16,
                    }
                )
                tables["maps"].append(
                    {
                        "step": 0,
                        "layer": layer,
                        "role": role,
                        "rows": rows,
                        "columns": columns,
                        "block_rows": 4,
                        "block_columns": 4,
                        "metadata_bits": 2,
                        "bits": zlib.compress(bits.tobytes(), 1),
                        "shifts": zlib.compress(np.zeros_like(bits).tobytes(), 1),
                        "signed": None,
                    }
                )
            described.append(
                {"layer": layer, "kind": "linear", "weight_of": layer, "macs": 0, "batch": TOKENS}
            )
            for pass_, left, right in (
                (Pass.FORWARD, "activation", "weight"),
                (Pass.GRAD_INPUT, "error", "weight"),
                (Pass.GRAD_WEIGHT, "activation", "error"),
            ):
                a, b, joint = bit_pair_histogram(pass_, maps[left], maps[right], Matrix())
                m, n, k, repeats = gemm_shape(pass_, maps[left], maps[right], Matrix())
                tables["products"].append(
                    {
                        "step": 0,
                        "layer": layer,
                        "pass": pass_,
                        "m": m,
                        "n": n,
                        "k": k,
                        "repeats": repeats,
                        "left": left,
                        "right": right,
                        "left_bits": a,
                        "right_bits": b,
                        "joint_macs": joint.reshape(-1),
                        "accumulator_bits": 32,
                        "sums_altered": 0,
                        "first_altered": -1,
                    }
                )
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    names = (
        "elements",
        "adds",
        "multiplies",
        "read_bits",
        "write_bits",
        "stash_write_bits",
        "stash_read_bits",
        "resident_bits",
        "saturated",
    )
    work = dict.fromkeys(names, 0)
    vectors = pd.DataFrame([{"step": 0, "layer": "h0.qkv", "pass": "update", **work}])
    return Trace(layers=pd.DataFrame(described), vectors=vectors, **frames), blocks


def growth() -> list[Row]:
    """GPT-2's training steps, small to XL: time and memory by block."""
    machine = accelerator.load(resources.find("accelerators", "dynasty"))
    each = {}
    for name, (layers, width) in GPT2.items():
        trace, blocks = gpt2(layers, width)
        start = time.perf_counter()
        evaluate_cost(trace, machine)
        spent = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        each[name] = spent / blocks
        print(
            f"GPT-2 {name}, {TOKENS} tokens: {blocks / 1e6:.1f} M blocks, {spent:.2f} s,"
            f" {1e9 * spent / blocks:.0f} ns a block, peak memory {peak:.0f} MiB",
            file=sys.stderr,
        )
    return [
        ("GPT-2: time a block, small over XL (1: linear growth)", each["small"] / each["XL"], 0.8)
    ]


def mapper() -> list[Row]:
    """Mappings a second on this processor, over ResNet-50's shapes."""
    machine = accelerator.load(resources.find("accelerators", "dynasty"))
    sizes = ((8, 64, 64, 56, 3), (8, 128, 128, 28, 3), (8, 512, 2048, 7, 1))
    problems = []
    for batch, filters, channels, pixels, kernel in sizes:
        nest = Nest(
            (batch, filters, channels, pixels, pixels, kernel, kernel, 1),
            padding=(kernel // 2,) * 2,
            image=(pixels, pixels),
            flattened=frozenset(),
        )
        problems.append(Problem(machine, nest, WordBits(5.5, 4.5, 32, None, 8.0)))
    evaluated, spent = 0, 0.0
    for _ in range(20):
        for problem in problems:
            searching = _Search(problem, 100_000)
            start = time.perf_counter()
            searching.run()
            spent += time.perf_counter() - start
            evaluated += searching.evaluated
    return [("mappings a second over 1e6", evaluated / spent / 1e6, 1)]


def zigzag_layers() -> list[Row]:
    """Wall time of a layer's mapping beside ZigZag's, in one run; ours must be no worse."""
    if importlib.util.find_spec("zigzag") is None:
        print("ZigZag is not installed: its rows are left out", file=sys.stderr)
        return []
    sys.path[:0] = [str(ROOT / "tests")]
    from mapping import test_zigzag as known  # the same problems as the tests

    rows: list[Row] = []
    for hardware, criterion in ZIGZAG.items():
        machine = accelerator.load(known.HERE / f"{hardware}.yaml")
        objective = known.OBJECTIVE[criterion]
        ratios = []
        for number in ZIGZAG_LAYERS:
            layer = known.FOUND[hardware]["layers"][number]
            start = time.perf_counter()
            order = _zigzag(hardware, criterion, layer)
            theirs_s = time.perf_counter() - start
            problem = known.problem_of(machine, layer)
            ours_s = seconds(lambda p=problem, o=objective: best_mapping(p, o))
            ours = best_mapping(problem, objective)
            _, _, cycles, energy = problem.movement(
                known.its_mapping(problem, {**layer, "order": order})
            )
            cost = {"cycles": cycles, "energy": energy, "edp": cycles * energy}[objective]
            own = {
                "cycles": ours.cycles,
                "energy": ours.energy_pj,
                "edp": ours.cycles * ours.energy_pj,
            }[objective]
            print(
                f"{hardware} {layer['layer']}: ZigZag {theirs_s:.2f} s, ours"
                f" {ours_s * 1e3:.1f} ms for {ours.evaluated} mappings; {objective} of ours over"
                f" its {own / cost:.3f}",
                file=sys.stderr,
            )
            assert own <= cost * (1 + 1e-9)
            ratios.append(theirs_s / ours_s)
        rows.append((f"ZigZag's time a layer over ours, {hardware}", min(ratios), 500))
    return rows


def _zigzag(hardware: str, criterion: str, layer: dict[str, Any]) -> list[list[Any]]:
    """ZigZag's best order of temporal loops (loop, factor), inner first."""
    import logging

    import yaml
    import zigzag
    from zigzag.api import get_hardware_performance_zigzag

    logging.disable(logging.WARNING)
    inputs = Path(zigzag.__file__).parent / "inputs"
    d, stride = layer["dims"], layer["stride"]
    padding = layer["padding"] if isinstance(layer["padding"], int) else layer["padding"][0]
    order = ["B", "K", "G", "OX", "OY", "C", "FX", "FY"]
    workload = {
        "id": 0,
        "name": "layer",
        "operator_type": "Conv",
        "operand_source": {"W": 0, "I": 0},
        "operand_precision": {"W": 8, "I": 8, "O": 16, "O_final": 8},
        "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        "loop_dims": order,
        "loop_sizes": [d[name] for name in order],
        "dimension_relations": [f"ix={stride}*ox+1*fx", f"iy={stride}*oy+1*fy"],
        "pr_loop_dims": ["IX", "IY"],
        "pr_loop_sizes": [d["OX"] * stride, d["OY"] * stride],
        "padding": [[padding, padding], [padding, padding]],
    }
    mapping = "meta_prototype_like" if hardware == "meta_prototype" else hardware
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "workload.yaml"
        file.write_text(yaml.safe_dump([workload], sort_keys=False))
        _, _, found = get_hardware_performance_zigzag(
            str(file),
            f"{inputs}/hardware/{hardware}.yaml",
            f"{inputs}/mapping/{mapping}.yaml",
            opt=criterion,
            lpf_limit=6,
            dump_folder=place,
            pickle_filename=f"{place}/c.pickle",
            loma_show_progress_bar=False,
        )
    best = found[0][1][0][0]
    operand = next(iter(best.layer.layer_operands))
    levels = best.temporal_mapping.mapping_dic_stationary[operand]
    return [[str(loop), int(turns)] for level in levels for loop, turns in level]


def main() -> None:
    given = arguments(__doc__ or "")
    rows = [*mapper(), *resnet50(), *whole_runs(), *growth(), *zigzag_layers()]
    report(rows, given.json)


if __name__ == "__main__":
    main()
