"""How far a long piece of work is: written by who does it, read by who shows it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """`done` of `total` (None: not known) of `stage`, counted in `unit`."""

    stage: str = "looking"
    unit: str = ""
    done: int = 0
    total: int | None = None

    def begin(self, stage: str, unit: str, total: int | None = None) -> None:
        """A stage starts at nothing."""
        self.stage, self.unit, self.done, self.total = stage, unit, 0, total

    def advance(self, done: int) -> None:
        self.done += done
