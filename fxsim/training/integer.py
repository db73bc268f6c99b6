"""The operations in integers: words between products, operands at the policy's formats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxsim.engine import activation_functions, casts, normalisation, pooling, softmax, vector_int16
from fxsim.engine.tensor import FixedTensor
from fxsim.engine.vector_int16 import VECTOR_BITS
from fxsim.engine.window import Windows
from fxsim.errors import FormatError
from fxsim.identifiers import Pass
from fxsim.numerics.formats import FixedPoint, Rounding
from fxsim.training.context import CLIPPING
from fxsim.training.integer_products import Int16Value, IntegerProducts
from fxsim.training.tape import Value

Ints = NDArray[np.int64]


class IntegerOperations(IntegerProducts):
    """`fxsim.training.operations.Operations` on integer tensors, in one step's context."""

    # --- normalisation -----------------------------------------------------------------------

    def batch_norm(self, name: str, x: Int16Value, relu: bool) -> Int16Value:
        context = self.context
        tensor = vector_int16.to_int16(x.tensor, normalisation.MAX_INPUT_FRAC)
        running, summary = context.running[name], normalisation.summarise(tensor)
        frac = tensor.format.frac
        if context.training:
            mean, variance = normalisation.batch_moments(summary)
            context.running[name] = normalisation.advance(running, mean, variance, frac)
        else:
            mean, variance = normalisation.running_moments(running, frac)
        gamma = context.working_copy(f"{name}.gamma", normalisation.GAMMA)
        beta = context.working_copy(f"{name}.beta", normalisation.BETA)
        out, stash = normalisation.batch_norm(tensor, summary, mean, variance, gamma, beta, relu)
        size = tensor.codes.size
        if context.training:  # two sums, one of squares; then centre, scale, shift
            counts = {"adds": 4, "multiplies": 2, "reads": 2}
        else:  # scale and shift, which are known
            counts = {"adds": 1, "multiplies": 1}
        self._work(
            name,
            Pass.FORWARD,
            size,
            **counts,
            stash=VECTOR_BITS,
            resident=context.training,
        )

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            e = vector_int16.to_int16(errors[0])
            back, grad_gamma, grad_beta = normalisation.batch_norm_backward(e, stash, relu)
            context.gradient(f"{name}.gamma", grad_gamma)
            context.gradient(f"{name}.beta", grad_beta)
            # two sums, one of products; then two products, a shift
            self._work(
                name,
                Pass.BACKWARD,
                size,
                adds=4,
                multiplies=3,
                reads=4,
                fetched=VECTOR_BITS,
                resident=True,
            )
            return [back]

        return self._record(out, [x], backward, trained=True)

    def normalise_rows(self, name: str, x: Int16Value, centred: bool) -> Int16Value:
        tensor = vector_int16.to_int16(x.tensor, normalisation.MAX_INPUT_FRAC)
        out, stash, saturated = normalisation.normalise_rows(tensor, centred)
        size = tensor.codes.size
        self._work(
            name,
            Pass.FORWARD,
            size,
            adds=3,
            multiplies=2,
            reads=2,
            stash=VECTOR_BITS,
            saturated=saturated,
        )

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            self._work(
                name, Pass.BACKWARD, size, adds=4, multiplies=3, reads=4, fetched=VECTOR_BITS
            )
            return [normalisation.normalise_rows_backward(vector_int16.to_int16(errors[0]), stash)]

        return self._record(out, [x], backward)

    def scale_shift(self, name: str, x: Int16Value) -> Int16Value:
        context, tensor = self.context, x.tensor
        gamma = context.working_copy(f"{name}.gamma", normalisation.GAMMA)
        beta = context.working_copy(f"{name}.beta", normalisation.BETA)
        out, lines = normalisation.scale_shift(tensor, gamma, beta)
        self._work(name, Pass.FORWARD, out.codes.size, adds=1, multiplies=1)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            back, grad_gamma, grad_beta = normalisation.scale_shift_backward(
                vector_int16.to_int16(errors[0]), tensor, lines
            )
            context.gradient(f"{name}.gamma", grad_gamma)
            context.gradient(f"{name}.beta", grad_beta)
            self._work(name, Pass.BACKWARD, out.codes.size, adds=2, multiplies=2, reads=2)
            return [back]

        return self._record(out, [x], backward, trained=True)

    # --- activation functions ----------------------------------------------------------------

    def relu(self, name: str, x: Int16Value) -> Int16Value:
        return self.clip(name, x, 0)

    def clip(self, name: str, x: Int16Value, most: int) -> Int16Value:
        """Words limited to [0, most]; 0 is no limit."""
        code = self._code_of(most << 24, x.tensor) if most else vector_int16.LARGEST
        tensor = x.tensor
        out = vector_int16.clip(tensor, code)
        self._work(name, Pass.FORWARD, out.codes.size, adds=1, stash=1)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            self._work(name, Pass.BACKWARD, out.codes.size, adds=1, fetched=1)
            inside = code - 1 if most else code
            return [vector_int16.clip_backward(vector_int16.to_int16(errors[0]), tensor, inside)[0]]

        return self._record(out, [x], backward)

    def learned_clip(self, name: str, x: Int16Value) -> Int16Value:
        context, parameter, tensor = self.context, f"{name}.alpha", x.tensor
        alpha = int(context.working_copy(parameter, CLIPPING)[0])
        code = max(self._code_of(alpha, tensor), 1)
        out = vector_int16.clip(tensor, code)
        self._work(name, Pass.FORWARD, out.codes.size, adds=1, stash=2)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            back, above = vector_int16.clip_backward(
                vector_int16.to_int16(errors[0]), tensor, code - 1
            )
            total = FixedTensor.trusted(np.array([above]), FixedPoint(62, back.format.frac))
            context.gradient(parameter, total)
            self._work(name, Pass.BACKWARD, out.codes.size, adds=2, fetched=2)
            return [back]

        return self._record(out, [x], backward, trained=True)

    @staticmethod
    def _code_of(value: int, like: FixedTensor) -> int:
        """A constant with 24 fractional bits as a code of a tensor's format, saturating."""
        constant = FixedTensor.trusted(np.array([value], np.int64), FixedPoint(40, 24))
        return int(casts.cast(constant, FixedPoint(VECTOR_BITS, like.format.frac))[0].codes[0])

    def leaky_relu(self, name: str, x: Int16Value, slope: int) -> Int16Value:
        tensor = x.tensor
        out = vector_int16.leak(tensor, tensor, slope)
        self._work(name, Pass.FORWARD, out.codes.size, multiplies=1, stash=1)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            self._work(name, Pass.BACKWARD, out.codes.size, multiplies=1, fetched=1)
            return [vector_int16.leak(vector_int16.to_int16(errors[0]), tensor, slope)]

        return self._record(out, [x], backward)

    def function(self, name: str, x: Int16Value, kind: str) -> Int16Value:
        tensor = x.tensor
        out = activation_functions.apply(tensor, kind)
        self._work(name, Pass.FORWARD, out.codes.size, adds=2, multiplies=1, stash=VECTOR_BITS)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            self._work(
                name, Pass.BACKWARD, out.codes.size, adds=1, multiplies=2, fetched=VECTOR_BITS
            )
            return [activation_functions.backward(vector_int16.to_int16(errors[0]), tensor, kind)]

        return self._record(out, [x], backward)

    def softmax(self, name: str, x: Int16Value, causal: bool) -> Int16Value:
        probability = vector_int16.to_int16(softmax.softmax(x.tensor, causal))
        size = probability.codes.size
        self._work(name, Pass.FORWARD, size, adds=4, multiplies=4, stash=VECTOR_BITS)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            self._work(
                name, Pass.BACKWARD, size, adds=2, multiplies=2, reads=2, fetched=VECTOR_BITS
            )
            return [softmax.softmax_backward(vector_int16.to_int16(errors[0]), probability)]

        return self._record(probability, [x], backward)

    def dropout(self, name: str, x: Int16Value, threshold: int) -> Int16Value:
        if not self.context.training or threshold == 0:
            return x
        key = self.context.key(name, "dropout")
        out = vector_int16.drop(x.tensor, threshold, key)
        self._work(name, Pass.FORWARD, out.codes.size, multiplies=1)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            self._work(name, Pass.BACKWARD, out.codes.size, multiplies=1)
            return [vector_int16.drop(vector_int16.to_int16(errors[0]), threshold, key)]

        return self._record(out, [x], backward)

    # --- arithmetic --------------------------------------------------------------------------

    def add(self, name: str, x: Int16Value, y: Int16Value, relu: bool) -> Int16Value:
        out = vector_int16.add(x.tensor, y.tensor, relu)
        self._work(name, Pass.FORWARD, out.codes.size, adds=1 + relu, reads=2, stash=relu)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            error = vector_int16.to_int16(errors[0])
            if relu:
                error = vector_int16.clip_backward(error, out)[0]
                self._work(name, Pass.BACKWARD, out.codes.size, adds=1, fetched=1)
            return [error, error]

        return self._record(out, [x, y], backward)

    def add_parameter(self, name: str, x: Int16Value, parameter: str) -> Int16Value:
        master = self.context.parameters[parameter].master
        small = vector_int16.to_int16(master)
        shape = (x.shape[0], *small.shape)
        wide = np.ascontiguousarray(np.broadcast_to(small.codes, shape))
        tiled = FixedTensor.trusted(wide.reshape(x.shape), small.format)
        out = vector_int16.add(x.tensor, tiled)
        self._work(name, Pass.FORWARD, out.codes.size, adds=1, reads=2)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            total = errors[0].codes.reshape(shape).sum(axis=0, dtype=np.int64)
            exact = FixedTensor.trusted(total, FixedPoint(62, errors[0].format.frac))
            self.context.gradient(parameter, exact)
            self._work(name, Pass.BACKWARD, out.codes.size, adds=1, writes=0)
            return [errors[0]]

        return self._record(out, [x], backward, trained=True)

    def multiply(self, name: str, x: Int16Value, y: Int16Value) -> Int16Value:
        a, b = x.tensor, y.tensor
        out = vector_int16.multiply(a, b)
        self._work(name, Pass.FORWARD, out.codes.size, multiplies=1, reads=2, stash=2 * VECTOR_BITS)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            error = vector_int16.to_int16(errors[0])
            self._work(
                name,
                Pass.BACKWARD,
                out.codes.size,
                multiplies=2,
                reads=2,
                writes=2,
                fetched=2 * VECTOR_BITS,
            )
            return [vector_int16.multiply(error, b), vector_int16.multiply(error, a)]

        return self._record(out, [x, y], backward)

    def scaled(self, name: str, x: Int16Value, factor: int, shift: int) -> Int16Value:
        out = vector_int16.scaled(x.tensor, factor, shift)
        self._work(name, Pass.FORWARD, out.codes.size, multiplies=1)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            self._work(name, Pass.BACKWARD, out.codes.size, multiplies=1)
            return [vector_int16.scaled(vector_int16.to_int16(errors[0]), factor, shift)]

        return self._record(out, [x], backward)

    # --- structure ---------------------------------------------------------------------------

    def concatenate(self, name: str, parts: Sequence[Int16Value], axis: int) -> Int16Value:
        out = vector_int16.concatenate([part.tensor for part in parts], axis)
        edges = np.cumsum([part.shape[axis] for part in parts])[:-1]
        self._work(name, Pass.FORWARD, out.codes.size, adds=1)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            cut = np.split(errors[0].codes, edges, axis)
            return [FixedTensor.trusted(part, errors[0].format) for part in cut]

        return self._record(out, list(parts), backward)

    def split(self, name: str, x: Int16Value, parts: int, axis: int) -> list[Int16Value]:
        cut = [
            Value(FixedTensor.trusted(part, x.tensor.format), x.needs)
            for part in np.split(x.tensor.codes, parts, axis)
        ]

        def backward(errors: list[FixedTensor | None]) -> list[FixedTensor]:
            first = next(error for error in errors if error is not None)
            empty = FixedTensor.trusted(np.zeros(first.shape, np.int16), first.format)
            filled = [empty if error is None else vector_int16.to_int16(error) for error in errors]
            self._work(name, Pass.BACKWARD, x.tensor.codes.size, adds=1)
            return [vector_int16.concatenate(filled, axis)]

        if x.needs:
            self.tape.record(list(cut), [x], backward)
        return cut

    def slice(self, name: str, x: Value[Any], start: int, stop: int | None) -> Value[Any]:
        if isinstance(x.tensor, np.ndarray):  # tokens
            return Value(x.tensor[:, start:stop], False)
        out = FixedTensor.trusted(x.tensor.codes[:, start:stop], x.tensor.format)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            error = vector_int16.to_int16(errors[0])
            codes = np.zeros(x.shape, np.int16)
            codes[:, start:stop] = error.codes
            return [FixedTensor.trusted(codes, error.format)]

        return self._record(out, [x], backward)

    def reshape(self, x: Int16Value, *shape: int) -> Int16Value:
        out = FixedTensor.trusted(x.tensor.codes.reshape(shape), x.tensor.format)
        return self._record(out, [x], lambda errors: [errors[0].reshape(*x.shape)])

    def transpose(self, x: Int16Value, *axes: int) -> Int16Value:
        def turned(tensor: FixedTensor, order: Sequence[int]) -> FixedTensor:
            codes = np.ascontiguousarray(tensor.codes.transpose(*order))
            return FixedTensor.trusted(codes, tensor.format)

        back = [int(i) for i in np.argsort(axes)]
        return self._record(turned(x.tensor, axes), [x], lambda errors: [turned(errors[0], back)])

    def embed(self, name: str, tokens: Value[Any], table: str) -> Int16Value:
        small = vector_int16.to_int16(self.context.parameters[table].master)
        rows = small.shape[0]
        indices = tokens.tensor
        if int(indices.min(initial=0)) < 0 or int(indices.max(initial=0)) >= rows:
            raise FormatError(f"tokens must be 0 to {rows - 1}, not {int(indices.max())}")
        out = FixedTensor.trusted(small.codes[indices], small.format)
        self._work(name, Pass.FORWARD, out.codes.size, fetched=VECTOR_BITS)

        def backward(errors: list[FixedTensor]) -> list[None]:
            self.context.gradient(
                table, vector_int16.scatter(vector_int16.to_int16(errors[0]), indices, rows)
            )
            self._work(name, Pass.BACKWARD, out.codes.size, adds=1)
            return [None]

        return self._record(out, [tokens], backward, trained=True)

    def max_pool(self, name: str, x: Int16Value, windows: Windows) -> Int16Value:
        out, choice = pooling.max_pool(x.tensor, windows)
        comparisons = windows[0].size * windows[1].size - 1
        ways = comparisons.bit_length()
        self._work(name, Pass.FORWARD, out.codes.size, adds=comparisons, stash=ways)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            self._work(name, Pass.BACKWARD, out.codes.size, adds=1, fetched=ways)
            error = vector_int16.to_int16(errors[0])
            return [pooling.max_pool_backward(error, choice, windows, x.shape)]

        return self._record(out, [x], backward)

    def average_pool(
        self, name: str, x: Int16Value, windows: Windows, rounding: Rounding
    ) -> Int16Value:
        key, area = self.context.key(name, "pool"), windows[0].size * windows[1].size
        out = pooling.average_pool(x.tensor, windows, rounding, key)
        self._work(name, Pass.FORWARD, out.codes.size, adds=area, multiplies=1)

        def backward(errors: list[FixedTensor]) -> list[FixedTensor]:
            self._work(name, Pass.BACKWARD, out.codes.size, adds=area, multiplies=1)
            error = vector_int16.to_int16(errors[0])
            back = self.context.key(name, "pool backward")
            return [pooling.average_pool_backward(error, windows, x.shape, rounding, back)]

        return self._record(out, [x], backward)

    def zeros(self, like: Int16Value, *shape: int) -> Int16Value:
        codes = np.zeros(shape, np.int16)
        return Value(FixedTensor.trusted(codes, like.tensor.format), needs=False)
