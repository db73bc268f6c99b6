"""What the bits of each operand cost on a machine, asked before the first step."""

from __future__ import annotations

from fxsim.config import resources
from fxsim.config.yaml_document import Document
from fxsim.cost import bit_costs
from fxsim.hardware import accelerator
from fxsim.identifiers import Role
from fxsim.numerics.operand_formats import BIT_COST_FRAC
from fxsim.policies.uniform import Uniform
from fxsim.runs import synthetic_trace
from fxsim.training.model import Model
from fxsim.training.policy import BitCostRequest, State
from fxsim.training.settings import TrainingSettings


def of(
    model: Model,
    request: BitCostRequest | None,
    settings: TrainingSettings,
    machine: Document | None = None,
) -> State:
    """The costs that a policy asks for, as the integers that its state holds; {} for None.

    Parameters
    ----------
    model : the network, of which one step is evaluated
    request : which costs, see `fxsim.policies.base.Policy.bit_cost_request`
    settings : batch and optimizer of the step
    machine : the accelerator's YAML; None: the shipped one that the request names

    Returns
    -------
    `work` a candidate, `groups` by role, and `bit_costs` by operand: shares of the step's cost
    with 32 fractional bits, see `fxsim.cost.bit_costs.BitCosts`
    """
    if request is None:
        return {}
    document = machine or resources.find("accelerators", request.accelerator)
    on = accelerator.load(document)
    plain = synthetic_trace.one_step(model, Uniform(), settings)
    costs = bit_costs.bit_costs(
        plain, on, request.candidates, request.objective, request.reference_bits
    )
    return {
        "work": bit_costs.sub_operations(on, request.candidates, request.reference_bits),
        "groups": {
            role: list(bit_costs.groups(on, role, request.block)) for role in bit_costs.ROLES
        },
        "bit_costs": {
            _operand_name(role, layer): {
                part: [round(share * (1 << BIT_COST_FRAC)) for share in getattr(shares, part)]
                for part in ("fixed", "by_row", "by_column")
            }
            for (role, layer), shares in costs.items()
        },
    }


def _operand_name(role: str, layer: str) -> str:
    """Role and layer as formats are asked for: a partner's as an activation of a part."""
    return f"activation.{layer}.partner" if role == Role.PARTNER else f"{role}.{layer}"
