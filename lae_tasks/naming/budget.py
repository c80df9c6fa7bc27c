"""What a shard may spend on a server's replies, kept by all who ask at the same time."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lae_tasks.contracts import Scene


class OverBudgetError(Exception):
    """One request more could cost more than is left; nothing is in flight any more."""


class Budget:
    """Lets requests through as long as they fit, each taken to cost as much as the dearest so far.

    Until the first has told its cost there is one at a time. So no more is spent than allowed, but
    for what a request costs more than all before it.
    """

    def __init__(self, limit_usd: float | None = None, spent: int = 0, dearest: int = 0) -> None:
        """Starts where an earlier attempt ended.

        Args:
            limit_usd: None lets everything through.
            spent: What was spent before, in millionths of a dollar.
            dearest: What the dearest request before cost, likewise; 0 if that is not known.
        """
        self.limit_usd = limit_usd
        self.spent = spent
        self._dearest = dearest
        self._in_flight = 0
        self._changed = threading.Condition()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around a request; waits while those in flight may yet turn out to leave enough for it.

        Raises:
            OverBudgetError: If they do not.
        """
        with self._changed:
            while not self._fits():
                if not self._in_flight:
                    raise OverBudgetError
                self._changed.wait()
            self._in_flight += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def pay(self, cost: int) -> None:
        """Enters what a request has cost, in millionths of a dollar."""
        with self._changed:
            self.spent += cost
            self._dearest = max(self._dearest, cost)

    def _fits(self) -> bool:
        if self.limit_usd is None:
            return True
        limit = self.limit_usd * 1_000_000
        if not self._dearest:
            return not self._in_flight and self.spent < limit
        return self.spent + (self._in_flight + 1) * self._dearest <= limit


def share_by_area(plan: Mapping[str, Sequence[Scene]], shard: str) -> float:
    """A shard's share of a night, by the pixels of its scenes."""
    areas = {
        name: sum(scene.width_px * scene.height_px for scene in scenes)
        for name, scenes in plan.items()
    }
    return areas[shard] / sum(areas.values())
