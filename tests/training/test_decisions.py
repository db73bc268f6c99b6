"""Decisions as a run records them."""

from __future__ import annotations

import pytest

from fxsim.errors import DataError
from fxsim.identifiers import OperandId, Role
from fxsim.policies.cost_aware import Candidate, CostAware
from fxsim.training.decisions import WageDecisions
from fxsim.training.policy import StepInfo

ROW = {
    "learning_rate": 655,
    "grid.lstm.gates": 9,
    "stored_bits": 8,
    "rate": 524288,
    "frac.error.lstm.gates": 7,
}


def test_a_recorded_row_is_the_decisions_again():
    decisions = WageDecisions.from_columns(ROW)
    assert decisions.columns() == ROW
    (operand,) = decisions.frac
    assert (operand.role, operand.layer) == (Role.ERROR, "lstm.gates")
    assert decisions.grid == {"lstm.gates": 9}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 3}, "decisions must not have a column 'width'"),
        ({"frac": 3}, "decisions must not have a column 'frac'"),
        ({"rate.fc": 3}, r"decisions must not have a column 'rate\.fc'"),
        ({"rate": None}, "decisions must have a column 'rate'"),
        ({"rate": 0.5}, r"decisions must be integers; 'rate' has 0\.5"),
        ({"rate": float("nan")}, "decisions must be integers; 'rate' has nan"),
        ({"rate": "x"}, "decisions must be integers; 'rate' has 'x'"),
    ],
)
def test_a_row_of_another_policy_is_refused(change, message):
    row = {name: code for name, code in {**ROW, **change}.items() if code is not None}
    with pytest.raises(DataError, match=message):
        WageDecisions.from_columns(row)


def test_an_entry_that_was_not_recorded_is_named_when_it_is_asked_for():
    decisions = WageDecisions.from_columns(ROW)
    with pytest.raises(DataError, match=r"decisions must have a column 'frac\.weight\.fc'"):
        decisions.frac[OperandId(Role.WEIGHT, "fc")]


def test_what_holds_for_the_whole_run_is_no_column_of_a_step():
    costs = {part: [0, 2, 4, 8] for part in ("fixed", "by_row", "by_column")}
    state = {**CostAware().initial_state({}), "bit_costs": {"weight.conv.1": costs}}
    _, decisions = CostAware().decide(state, StepInfo(), None)
    assert not any(name.startswith("by_row") for name in decisions.columns())
    constants = decisions.columns(constant=True)
    assert constants["by_row.weight.conv.1.4"] == 4
    again = CostAware.decisions_type().from_columns({**decisions.columns(), **constants})
    assert again == decisions
    assert again.by_row[Candidate(OperandId(Role.WEIGHT, "conv.1"), 4)] == 4
