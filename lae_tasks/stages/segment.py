"""Segment: a Tile becomes Regions, by SAM's automatic masks."""

import hashlib
from collections.abc import Iterable, Iterator

from lae_tasks.backends.protocols import MaskGenerator, MaskProposal
from lae_tasks.config import SegmentConfig
from lae_tasks.contracts import Done, PromptType, Region, Rejection, Tile
from lae_tasks.geometry import encode_mask
from lae_tasks.stages.tile import load_image
from lae_tasks.storage import MissingObjectError, Storage

STAGE = "segment"


def run(
    tiles: Iterable[Tile], store: Storage, generator: MaskGenerator, config: SegmentConfig
) -> Iterator[Done | Rejection]:
    """Finds the regions of each tile.

    Yields:
        One Done (its Regions, largest first) or Rejection for each tile; the counter
        `beyond_max_regions` holds the masks that `max_regions` left out.
    """
    for tile in tiles:
        try:
            image = load_image(tile, store)
        except MissingObjectError as error:
            yield Rejection(
                rejected_id=tile.tile_id, stage=STAGE, reason="image gone", detail=str(error)
            )
            continue
        proposals = sorted(
            generator.generate(image), key=lambda p: (-int(p.mask.sum()), p.bbox_xyxy_px)
        )
        regions = {r.region_id: r for r in (_region(tile, p) for p in proposals)}
        kept = list(regions.values())[: config.max_regions]
        yield Done(tile.tile_id, kept, {"beyond_max_regions": len(regions) - len(kept)})


def _region(tile: Tile, proposal: MaskProposal) -> Region:
    x, y = tile.window_px[:2]
    x0, y0, x1, y1 = proposal.bbox_xyxy_px
    bbox = (x0 + x, y0 + y, x1 + x, y1 + y)
    rle = encode_mask(proposal.mask)
    identity = f"{tile.tile_id}|{bbox}|{rle}"
    return Region(
        region_id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        tile_id=tile.tile_id,
        scene_id=tile.scene_id,
        bbox_xyxy_px=bbox,
        mask_rle=rle,
        area_px=int(proposal.mask.sum()),
        # Rounded: the last bits of a float are no finding.
        predicted_iou=round(min(1.0, max(0.0, proposal.predicted_iou)), 4),
        stability_score=round(min(1.0, max(0.0, proposal.stability_score)), 4),
        prompt_type=PromptType.GRID,
    )
