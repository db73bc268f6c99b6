"""What operations and their tensors are called, from training to the report.

Names are text where they are stored (tables, checkpoints, decisions), so each type here is a
string as well; its attributes say what the text is made of.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Pass(StrEnum):
    """The part of a training step in which an operation runs."""

    FORWARD = "forward"
    GRAD_INPUT = "grad_input"  # of a product: the gradient of its left operand
    GRAD_WEIGHT = "grad_weight"  # of a product: the gradient of its right operand
    BACKWARD = "backward"  # of elementwise work
    UPDATE = "update"  # of the weights


class Phase(StrEnum):
    """What a cost is of."""

    TRAINING = "training"  # steps: forward and backward passes, and updates
    INFERENCE = "inference"  # forward passes with weights that are stored as operands


PRODUCT_PASSES = (Pass.FORWARD, Pass.GRAD_INPUT, Pass.GRAD_WEIGHT)


class Role(StrEnum):
    """What a tensor is to its layer."""

    WEIGHT = "weight"
    ACTIVATION = "activation"
    ERROR = "error"
    WEIGHT_GRADIENT = "weight_gradient"
    PARTNER = "partner"  # the right operand of a product of two activations, in their format


OPERAND_ROLES = (Role.WEIGHT, Role.ACTIVATION, Role.ERROR)


class Operation(StrEnum):
    """What a row of a cost table is of."""

    PRODUCT = "product"  # matrix products, on the array
    VECTOR = "vector"  # elementwise work, on the vector unit
    CAST = "cast"  # an operand's cast


# columns of the trace's and the cost model's tables that name what a row is of
STEP: Final = "step"
LAYER: Final = "layer"
PASS: Final = "pass"
ROLE: Final = "role"
OPERATION: Final = "operation"

PROBE_MARK: Final = "@"  # between a layer and the probe that ran it


class LayerId(str):
    """A layer, a part of one (a gate, a position, a clipping input), or a probe's pass through it.

    Parameters
    ----------
    layer : the layer's name in the workload
    part : what of the layer, `""` for all of it; may have dots of its own
    probe : the probe that ran the layer again, `""` for the step itself

    Examples
    --------
    >>> gate = LayerId("lstm1", "3", probe="wider")
    >>> gate, gate.layer, gate.part, gate.probe
    ('lstm1.3@wider', 'lstm1', '3', 'wider')
    >>> LayerId.parse("conv1").part
    ''
    """

    __slots__ = ()

    def __new__(cls, layer: str, part: str = "", probe: str = "") -> LayerId:
        """Join the parts of a name."""
        dot, at = "." if part else "", PROBE_MARK if probe else ""
        return str.__new__(cls, f"{layer}{dot}{part}{at}{probe}")

    @classmethod
    def parse(cls, text: str) -> LayerId:
        """The layer that a stored name stands for."""
        return str.__new__(cls, text)

    @property
    def layer(self) -> str:
        """The layer's name in the workload."""
        return self.partition(PROBE_MARK)[0].partition(".")[0]

    @property
    def part(self) -> str:
        """What of the layer; empty for all of it."""
        return self.partition(PROBE_MARK)[0].partition(".")[2]

    @property
    def probe(self) -> str:
        """The probe that ran it; empty for the step itself."""
        return self.partition(PROBE_MARK)[2]

    def probed_by(self, probe: str) -> LayerId:
        """The same, run by a probe."""
        return LayerId(self.layer, self.part, probe)


class OperandId(str):
    """An operand of a layer's products, or all of a role: `<role>.<layer>`, or `<role>`.

    Examples
    --------
    >>> operand = OperandId.parse("weight.lstm1.gates")
    >>> operand.role, operand.layer
    (<Role.WEIGHT: 'weight'>, 'lstm1.gates')
    >>> OperandId(Role.ERROR)
    'error'
    """

    __slots__ = ()

    def __new__(cls, role: Role, layer: str = "") -> OperandId:
        """Join the parts of a name."""
        return str.__new__(cls, f"{role}.{layer}" if layer else role)

    @classmethod
    def parse(cls, text: str) -> OperandId:
        """The operand that a stored name stands for."""
        return str.__new__(cls, text)

    @property
    def role(self) -> Role:
        """What it is to its layer."""
        return Role(self.partition(".")[0])

    @property
    def layer(self) -> LayerId:
        """The layer, or part of one, whose operand it is; empty for all."""
        return LayerId.parse(self.partition(".")[2])


class ParameterId(str):
    """A trained tensor: `<owner>.<kind>`, as `conv1.weight` or `conv1.clip.alpha`.

    Examples
    --------
    >>> name = ParameterId.parse("lstm1.gates.weight")
    >>> name.owner, name.kind, name.is_weight
    ('lstm1.gates', 'weight', True)
    """

    __slots__ = ()

    def __new__(cls, owner: str, kind: str) -> ParameterId:
        """Join the parts of a name."""
        return str.__new__(cls, f"{owner}.{kind}")

    @classmethod
    def parse(cls, text: str) -> ParameterId:
        """The parameter that a stored name stands for."""
        return str.__new__(cls, text)

    @property
    def owner(self) -> LayerId:
        """The layer, or part of one, that has it."""
        return LayerId.parse(self.rpartition(".")[0])

    @property
    def kind(self) -> str:
        """`weight`, `bias`, `gamma`, `beta`, `alpha`, ..."""
        return self.rpartition(".")[2]

    @property
    def is_weight(self) -> bool:
        """Whether it is the weight of a product."""
        return self.kind == Role.WEIGHT
