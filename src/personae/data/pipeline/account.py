"""What a run did: step by step, counted shard by shard, never holding what it counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from personae.data.pipeline.items import Item, Shard

__all__ = ["Account", "StepAccount", "Tally"]


@dataclass(frozen=True)
class StepAccount:
    """What one step did with what came in.

    Attributes:
        name: of the step.
        num_in, num_out: items; one may become several, or none.
        dropped, failed: how many items for which reason.
        unmeasured: how many went on without being looked at, for which reason.
        seconds: of work, summed over workers, also of shards made earlier.
        num_shards, num_made: shards, and how many of them were made by this run.
        elapsed_s: of this run, from first to last shard.
    """

    name: str
    num_in: int
    num_out: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    unmeasured: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    num_shards: int = 0
    num_made: int = 0
    elapsed_s: float = 0.0

    @property
    def items_per_second(self) -> float:
        """Items in a second of one worker."""
        return self.num_in / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Account:
    """What a run did, step by step, where its last items lie, and what made them.

    Attributes:
        steps: in order.
        shards: of the last step.
        made_by: 16 hex digits of all settings and models; ``provenance.json`` spells them out.
    """

    steps: tuple[StepAccount, ...]
    shards: tuple[Shard, ...]
    made_by: str = ""

    def items(self) -> Iterator[Item]:
        """What came through all steps, a shard at a time."""
        for shard in self.shards:
            yield from shard.items()

    def as_json(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [
            {**vars(step), "items_per_second": round(step.items_per_second, 3)}
            for step in self.steps
        ]


@dataclass(eq=False)
class Tally:
    """Adds up what the shards of a step tell of themselves.

    >>> tally = Tally("odd")
    >>> tally.add({"num_in": 3, "num_out": 1, "dropped": {"odd": 2}, "failed": {}, "seconds": 0.5})
    >>> tally.account(num_made=1).dropped
    {'odd': 2}
    """

    name: str
    num_shards: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    unmeasured: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, told: Mapping[str, Any]) -> None:
        """One shard's facts, as its ``done.json`` holds them."""
        self.num_shards += 1
        for key in ("num_in", "num_out"):
            self.sums[key] += told[key]
        self.dropped.update(told["dropped"])
        self.failed.update(told["failed"])
        self.unmeasured.update(told.get("unmeasured", {}))
        self.seconds += told["seconds"]

    def account(self, *, num_made: int, elapsed_s: float = 0.0) -> StepAccount:
        """The sum so far; reasons in the order of their names, whoever was counted first."""
        return StepAccount(
            self.name,
            self.sums["num_in"],
            self.sums["num_out"],
            dict(sorted(self.dropped.items())),
            dict(sorted(self.failed.items())),
            dict(sorted(self.unmeasured.items())),
            self.seconds,
            self.num_shards,
            num_made,
            elapsed_s,
        )
