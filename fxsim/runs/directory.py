"""A finished run, as its directory has it; see `fxsim.runs.execute` for what lies there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from fxsim.config.yaml_document import Document
from fxsim.display import Displayed
from fxsim.errors import DataError, hint
from fxsim.policies.base import Policy
from fxsim.policies.registry import POLICIES
from fxsim.runs import losses
from fxsim.runs.contents import verify
from fxsim.trace.reader import Trace
from fxsim.training.decisions import D
from fxsim.training.policy import PrecisionPolicy

_MANIFEST = (
    "inputs_sha256",
    "workload",
    "dataset",
    "dataset_sha256",
    "policy",
    "epochs",
    "seed",
    "steps",
    "weights_sha256",
    "test_accuracy",
    "files",
)
_TABLES = ("metrics", "evaluations", "decisions")


@dataclass(frozen=True, slots=True, eq=False)
class Run(Displayed):
    """A finished run.

    Attributes
    ----------
    directory : where it lies
    manifest : `run.json`: inputs, hashes, accuracy, versions
    metrics : a row a step; evaluations : a row an epoch; decisions : a row a step
    """

    directory: Path
    manifest: dict[str, Any]
    metrics: pd.DataFrame
    evaluations: pd.DataFrame
    decisions: pd.DataFrame

    @classmethod
    def load(cls, directory: Path) -> Run:
        """Read a run's directory.

        Parameters
        ----------
        directory : that `fxsim simulate` or a study wrote

        Returns
        -------
        The run.

        Raises
        ------
        DataError : for a directory that is none, or files that the run did not write
        """
        if not (directory / "run.json").is_file():
            raise DataError(f"{directory}: must be the directory of a run; it holds no run.json")
        try:
            manifest = json.loads((directory / "run.json").read_text(encoding="utf-8"))
            lacking = [key for key in _MANIFEST if key not in manifest]
            if lacking:
                raise ValueError(f"run.json has no {lacking[0]!r}")
            for name in _TABLES:
                verify(directory, manifest["files"], f"{name}.parquet")
            tables = [pd.read_parquet(directory / f"{name}.parquet") for name in _TABLES]
        except (OSError, ValueError) as problem:
            reason = str(problem).splitlines()[0]
            raise DataError(f"{directory}: must be the directory of a run: {reason}") from None
        return cls(directory, manifest, *tables)

    def verify(self, below: str = "") -> None:
        """Check that files are those that the run wrote.

        Parameters
        ----------
        below : what their names in the run's directory begin with; empty: all files

        Raises
        ------
        DataError : for one that is not there, or is another
        """
        verify(self.directory, self.manifest["files"], below)

    def matches(self, kind: str, policy: Policy, workload: Document, epochs: int | None) -> bool:
        """Whether the run was made from some policy and workload.

        Parameters
        ----------
        kind, policy : the policy's kind and parameters
        workload : the workload's YAML
        epochs : if given

        Returns
        -------
        True where all are the run's.
        """
        recorded = dict(self.manifest["policy"])
        if recorded.pop("kind") != kind:
            return False
        try:
            same = (
                POLICIES[kind].model_validate(recorded) == policy
            )  # parameters since then: default
        except ValidationError:
            return False
        text = (self.directory / "workload.yaml").read_text(encoding="utf-8")
        return same and text == workload.text and epochs in (None, self.manifest["epochs"])

    def constants(self) -> dict[str, int]:
        """The decisions that hold for the whole run.

        Returns
        -------
        {name: integer}.

        Raises
        ------
        DataError : for a file that holds none
        """
        path = self.directory / "constants.json"
        self.verify("constants.json")
        try:
            decisions: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as problem:
            raise DataError(f"{path}: must be a run's constant decisions: {problem}") from None
        return decisions

    def decided(self, policy: PrecisionPolicy[D]) -> Callable[[int], D]:
        """What was decided in a step, by the step's number.

        Parameters
        ----------
        policy : that the run was made under

        Returns
        -------
        A function of the step.

        Raises
        ------
        DataError : for another number of steps than the run has; by the function that is returned,
            for columns that are not the policy's
        """
        constants, steps = self.constants(), self.decisions.to_dict("records")
        where = str(self.directory / "decisions.parquet")
        if len(steps) != self.manifest["steps"]:
            raise DataError(
                f"{where}: must hold {self.manifest['steps']} steps of decisions, not {len(steps)}"
            )

        def of(step: int) -> D:
            row = {**constants, **{str(name): code for name, code in steps[step].items()}}
            return policy.decisions_type().from_columns(row, where)

        return of

    @property
    def integer(self) -> bool:
        """Whether it was executed in integers, and so has a trace."""
        return self._policy_class().integer

    def policy(self) -> Policy:
        """The policy that it was made under.

        Returns
        -------
        The policy, with the run's parameters.

        Raises
        ------
        DataError : for a kind that is not registered, or a parameter that it does not have
        """
        parameters = {k: v for k, v in self.manifest["policy"].items() if k != "kind"}
        try:
            return self._policy_class().model_validate(parameters)
        except ValidationError as problem:
            first = problem.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"{self.directory}/run.json: policy.{name} must be a parameter of"
                f" {self.manifest['policy']['kind']!r} as it is now: {first['msg']}"
            ) from None

    def _policy_class(self) -> type[Policy]:
        kind = self.manifest["policy"]["kind"]
        if kind not in POLICIES:
            raise DataError(
                f"{self.directory}/run.json: policy.kind must be one of {', '.join(POLICIES)}, not"
                f" {kind!r}{hint(kind, POLICIES)}"
            )
        return POLICIES[kind]

    @property
    def label(self) -> str:
        """For people."""
        kind = self.manifest["policy"]["kind"]
        return f"{self.manifest['workload']} {kind} seed {self.manifest['seed']}"

    def warnings(self) -> list[str]:
        """A line for each loss: of accumulators, operands and updates; the likely cause of chance.

        Returns
        -------
        Lines for people: which, how often, and since when.
        """
        return [f"{self.label}: {line}" for line in losses.lines(self)] if self.integer else []

    def trace(self) -> Trace:
        """The recorded trace.

        Returns
        -------
        The trace of an integer run.

        Raises
        ------
        DataError : for a trace that is not there, is not the run's, or is of another version
        """
        if not self.integer:
            raise DataError(
                f"{self.directory}: a {self.manifest['policy']['kind']} run has no trace, because"
                " it was not executed in integers"
            )
        self.verify("trace/")
        return Trace.load(self.directory / "trace")

    def mean_bits(self) -> dict[str, float]:
        """Mean word lengths over all words of all steps.

        Returns
        -------
        {role: bits}.
        """
        columns = [c for c in self.metrics.columns if c.endswith("_bits")]
        return {c.removesuffix("_bits"): float(self.metrics[c].mean()) for c in columns}
