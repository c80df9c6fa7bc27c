"""The labels of a night, each with the region that it names."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lae_tasks.contracts import Label, Output, Region
from lae_tasks.errors import ContractError
from lae_tasks.storage import Storage
from lae_tasks.tables import iter_table


@dataclass(frozen=True)
class LabelledRegions:
    """Labels with their regions, read from their tables anew each time they are gone through.

    A night may hold more of them than fit in memory.

    Attributes:
        tables: Of each shard the tables of segment and classify, in the order of the shards.
    """

    store: Storage
    tables: Sequence[tuple[Output, Output]]

    def __iter__(self) -> Iterator[tuple[Label, Region]]:
        for of_segment, of_classify in self.tables:
            regions = iter_table(self.store, of_segment, Region)
            labels = iter_table(self.store, of_classify, Label)
            yield from join(labels, regions, f"{self.store.uri}/{of_classify.key}")

    def ids(self) -> Iterator[str]:
        """The ids of the regions that have a label, in the same order."""
        for _, of_classify in self.tables:
            for label in iter_table(self.store, of_classify, Label):
                yield label.region_id


def join(
    labels: Iterable[Label], regions: Iterable[Region], place: str
) -> Iterator[tuple[Label, Region]]:
    """Each label with its region.

    Classify keeps the order of the regions. So few of them wait for their label at a time: those
    whose reply was not understood, which never get one.

    Raises:
        ContractError: If there is no region of a label's id; `place` says where the label stands.
    """
    ahead = iter(regions)
    waiting: dict[str, Region] = {}
    for label in labels:
        while label.region_id not in waiting:
            region = next(ahead, None)
            if region is None:
                raise ContractError(
                    f"{place}: there is no region {label.region_id}; run segment and classify again"
                )
            waiting[region.region_id] = region
        yield label, waiting.pop(label.region_id)
