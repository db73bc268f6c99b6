"""Progress on standard error: a live bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars


class Progress:
    """Implements `fxsim.study.StudyWatcher`."""

    def __init__(self) -> None:
        self._files: dict[str, TaskID] = {}
        self._console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def run(self, label: str, reused: bool) -> _RunProgress | None:
        """A run begins; None if an earlier one is used again."""
        if reused:
            self.note(f"{label}: unchanged, using the earlier run")
            return None
        return _RunProgress(self._bars, self._console, label)

    def pricing(self, label: str) -> None:
        """A run is being priced."""
        self.note(f"pricing {label}")

    def download(self, file: str, done: int, total: int) -> None:
        """Bytes of a file have come."""
        if file not in self._files:
            self._files[file] = self._bars.add_task(file, total=None, facts="bytes")
        self._bars.update(self._files[file], total=total or None, completed=done)

    def note(self, text: str) -> None:
        """A line about what goes on."""
        self._console.print(text, style="dim", highlight=False)


class _RunProgress:
    """Implements `fxsim.training.loop.Watcher`."""

    def __init__(self, bars: Bars, console: Console, label: str) -> None:
        self._bars, self._console, self._label = bars, console, label
        self._task: TaskID = bars.add_task(label, total=None, facts="compiling kernels")
        self._accuracy = ""

    def step(self, step: int, steps: int, metrics: dict[str, Any]) -> None:
        """Show loss, accuracy and mean bits."""
        ended = "test_accuracy" in metrics
        if ended:
            self._accuracy = f"  test {100 * metrics['test_accuracy']:.2f} %"
        bits = "/".join(
            f"{metrics[name]:.1f}"
            for name in ("weight_bits", "activation_bits", "error_bits")
            if name in metrics
        )
        facts = f"loss {metrics['loss']:.4f}{self._accuracy}" + (f"  bits {bits}" if bits else "")
        self._bars.update(self._task, total=steps, completed=step + 1, facts=facts)
        if ended and not self._console.is_terminal:
            self._console.print(
                f"{self._label}: epoch {metrics['epoch'] + 1}, step {step + 1}/{steps}, {facts}",
                highlight=False,
                soft_wrap=True,
            )
