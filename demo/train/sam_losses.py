"""What SAM is trained to do well, and the helper head that teaches its encoder to see objects."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

_EMBEDDING_DIM = 12
_PAIRS_PER_IMAGE = 192


def mask_loss(logits: torch.Tensor, target: torch.Tensor, balance: float) -> torch.Tensor:
    """Compare mask logits with soft target masks.

    The sum of 20 x focal loss and dice loss, as in the SAM paper, and a cross-entropy that weighs
    the inside and the outside of an object equally: with random weights, the first two alone learn
    nothing about small objects.

    Args:
        logits: float32 (N, M, H, W), M candidate masks for each of N prompts.
        target: float32, broadcastable to ``logits``, in [0, 1].
        balance: weight of the balanced cross-entropy.

    Returns:
        The loss of each candidate, (N, M).
    """
    target = target.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    share = logits.sigmoid()
    agreement = share * target + (1 - share) * (1 - target)
    axes = (-2, -1)
    focal = (0.5 * 2 * (1 - agreement) ** 2 * entropy).mean(axes)
    overlap = 2 * (share * target).sum(axes) + 1
    dice = 1 - overlap / (share.sum(axes) + target.sum(axes) + 1)
    hard = entropy * (1 - agreement)
    inside = (hard * target).sum(axes) / (target.sum(axes) + 1)
    outside = (hard * (1 - target)).sum(axes) / ((1 - target).sum(axes) + 1)
    return 20 * focal + dice + balance * (inside + outside)


def mask_iou(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """IoU of the binary masks, (N, M); target as in :func:`mask_loss`, cut at one half."""
    predicted, true = logits > 0, target.expand_as(logits) > 0.5
    union = (predicted | true).sum((-2, -1)).clamp(min=1)
    return (predicted & true).sum((-2, -1)) / union


class DenseHead(nn.Module):
    """Reads objects directly off the image embedding; used in training only, then thrown away.

    The mask decoder can only learn to follow a prompt once the embedding tells objects apart. This
    head asks for that directly: is a cell on an object, where is the object's centre, and do two
    cells belong to the same one.
    """

    def __init__(self, channels: int) -> None:
        """Make a head on an embedding with this many channels."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 64, 1),
            nn.GELU(),
            nn.Conv2d(64, 16 * (3 + _EMBEDDING_DIM), 1),
            nn.PixelShuffle(4),
        )

    def loss(
        self, embedding: torch.Tensor, instances: torch.Tensor, centres: torch.Tensor
    ) -> torch.Tensor:
        """Score a batch.

        Args:
            embedding: float32 (B, C, G, G) from the image encoder.
            instances: int64 (B, 4G, 4G), see ``SamSample``.
            centres: float32 (B, 4G, 4G, 2), see ``SamSample``.

        Returns:
            The mean loss, a scalar.
        """
        out: torch.Tensor = self.body(embedding)
        on_object = (instances > 0).float()
        foreground = F.binary_cross_entropy_with_logits(
            out[:, 0], on_object, pos_weight=torch.tensor(3.0)
        )
        error = (out[:, 1:3] - centres.permute(0, 3, 1, 2) / 16).abs().sum(1)
        offset = (error * on_object).sum() / on_object.sum().clamp(min=1) / 3
        pairs = [
            _same_object_loss(vectors, owners)
            for vectors, owners in zip(out[:, 3:], instances, strict=True)
        ]
        return foreground + offset + torch.stack(pairs).mean()


def _same_object_loss(vectors: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """Whether the vectors of random pairs of cells are alike exactly within one object."""
    owners = owners.flatten()
    counts = torch.bincount(owners, minlength=2).float()
    # Every object is drawn as often as any other, however small.
    weights = 1 / counts[owners]
    weights[owners == 0] *= 1.5
    drawn = torch.multinomial(weights, _PAIRS_PER_IMAGE)
    unit = F.normalize(vectors.flatten(1)[:, drawn].T, dim=1)
    labels = owners[drawn]
    same = (labels[:, None] == labels[None]).float()
    counted = ((labels[:, None] > 0) | (labels[None] > 0)).float()
    entropy = F.binary_cross_entropy_with_logits((unit @ unit.T - 0.5) * 12, same, reduction="none")
    alike, different = same * counted, (1 - same) * counted
    return (entropy * alike).sum() / alike.sum().clamp(min=1) + (
        entropy * different
    ).sum() / different.sum().clamp(min=1)
