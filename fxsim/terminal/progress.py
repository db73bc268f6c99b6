"""Progress on standard error: bars on a terminal; elsewhere a line an epoch, a point or a note."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text


class _Rate(ProgressColumn):
    """How many steps, prices or bytes a second."""

    def render(self, task: Task) -> Text:
        """Like 12.3/s."""
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        return Text(f"{speed / 1e6:.1f} M/s" if speed >= 1e5 else f"{speed:.3g}/s", style="dim")


class Progress:
    """Implements `fxsim.studies.study.StudyWatcher`."""

    def __init__(self, quiet: bool = False) -> None:
        self._files: dict[str, TaskID] = {}
        self._console = Console(stderr=True, quiet=quiet)
        self._bars = Bars(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
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

    def evaluating(self, total: int) -> Callable[[str], None]:
        """A bar of prices."""
        return self.task("pricing", total)

    def task(self, what: str, total: int | None) -> Callable[[str], None]:
        """A bar of some number of things; what is called as each begins, and with "" at the end."""
        task = self._bars.add_task(what, total=total, facts="")
        begun = -1

        def tell(label: str) -> None:
            nonlocal begun
            begun += 1
            self._bars.update(task, completed=begun if label else total, facts=label)

        return tell

    def point(self, label: str, done: int, total: int) -> None:
        """A point of a sweep is done."""
        if "points" not in self._files:
            self._files["points"] = self._bars.add_task("points", total=total, facts="")
        self._bars.update(self._files["points"], completed=done, total=total)
        self.note(f"{done}/{total} {label}")

    def download(self, file: str, done: int, total: int) -> None:
        """Bytes of a file have come."""
        if file not in self._files:
            self._files[file] = self._bars.add_task(file, total=None, facts="bytes")
        self._bars.update(self._files[file], total=total or None, completed=done)

    def note(self, text: str) -> None:
        """A line about what goes on."""
        self._console.print(text, style="dim", highlight=False, soft_wrap=True)


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
