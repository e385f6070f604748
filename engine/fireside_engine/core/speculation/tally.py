"""What the drafts of one answer came to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    drafted: dict[str, int] = field(default_factory=dict)
    """By source."""
    accepted: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    """Tokens of a smaller model that stayed: of a given answer, or under a tolerance."""
    deferred: int = 0
    """Of these, the ones that were replaced."""
    won_seconds: float = 0.0
    """Against plain decoding at the speed of the moment; negative where drafts lost."""

    @property
    def n_drafted(self) -> int:
        return sum(self.drafted.values())

    @property
    def n_accepted(self) -> int:
        return sum(self.accepted.values())
