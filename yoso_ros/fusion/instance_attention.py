# SPDX-License-Identifier: Apache-2.0
"""DR1Mask's instance prediction (section 3.2.3): how the embedding of an instance turns the basis into a single map.

vector: one weight per map (YOLACT). full: one weight per map and position in the box for a few maps, by softmax over
the maps (BlendMask). factored: a projection to a few maps (Eq. 7), each weighted by position with a low-rank matrix
(Eq. 8).

Legend: `N` instances, `E` embedding dimensions, `D` maps of the basis, `K` attended maps, `R` rank and `A` side of an
attention, `P` side of a crop, `h w` map. Boxes are x1 y1 x2 y2 in pixels.
"""

import torch
from torch.nn import functional

MOST_VALUES = 1 << 24  # map values computed at a time; bounds the memory


def crop_logits(
    crops: torch.Tensor, embeddings: torch.Tensor, attention: str, components: torch.Tensor | None = None
) -> torch.Tensor:
    """One map of each instance's crop of the basis.

    Args:
        crops: (N, D, P, P). embeddings: (N, E).
        attention: "vector", "full" or "factored".
        components: for factored attentions, (2, K, R, A).

    Returns:
        (N, P, P).
    """
    if attention == "vector":
        return torch.einsum("nd,ndyx->nyx", embeddings, crops)
    number, depth, side = crops.shape[:3]
    if attention == "full":
        own = round((embeddings.shape[1] / depth) ** 0.5)
        weights = embeddings.view(number, depth, own, own)
        return (_resized(weights, side).softmax(1) * crops).sum(1)
    projection, factors = _split(embeddings, depth, components)
    weights = _resized(factored_attention(factors, components), side)
    return (weights * torch.einsum("nkd,ndyx->nkyx", projection, crops)).sum(1)


def factored_attention(factors: torch.Tensor, components: torch.Tensor | None) -> torch.Tensor:
    """Eq. 8, Q = U^T S V: factors (N, K, R), components (2, K, R, A) -> (N, K, A, A)."""
    return torch.einsum("kri,nkr,krj->nkij", components[0], factors, components[1])


def map_logits(
    basis: torch.Tensor,
    embeddings: torch.Tensor,
    boxes: torch.Tensor,
    attention: str,
    components: torch.Tensor | None = None,
    stride: int = 4,
) -> torch.Tensor:
    """The map of each instance over the whole basis, for the unified layer (Eq. 9); undefined outside its box.

    Args:
        basis: (D, h, w). embeddings: (N, E). boxes: (N, 4).
        attention: "vector" or "factored", whose weights depend on the position in the box.
        components: as in `crop_logits`.
        stride: of the basis.

    Returns:
        (N, h, w).
    """
    depth, height, width = basis.shape
    if attention == "vector":
        return (embeddings @ basis.flatten(1)).view(-1, height, width)
    projection, factors = _split(embeddings, depth, components)
    most = max(1, MOST_VALUES // (2 * components.shape[1] * height * width))
    parts = zip(*(tensor.split(most) for tensor in (projection, factors, boxes)), strict=True)
    return torch.cat([_map_logits(basis, *part, components, stride) for part in parts])


def _map_logits(basis, projection, factors, boxes, components, stride):
    height, width = basis.shape[1:]
    projected = (projection.flatten(0, 1) @ basis.flatten(1)).view(*projection.shape[:2], height, width)
    # Bilinear resizing of a sum of products of rows and columns resizes the rows and the columns.
    rows = _at_places(components[0], boxes[:, 1], boxes[:, 3], height, stride)
    columns = _at_places(components[1], boxes[:, 0], boxes[:, 2], width, stride)
    weights = torch.einsum("nkrh,nkr,nkrw->nkhw", rows, factors, columns)
    return (weights * projected).sum(1)


def _at_places(vectors, start, end, length, stride):
    """Vectors (K, R, A), stretched over [start, end] (N,), at the pixels of a map side: (N, K, R, length)."""
    points = (torch.arange(length, device=start.device, dtype=vectors.dtype) + 0.5) * stride
    start, end = (side.to(vectors.dtype)[:, None] for side in (start, end))
    last = vectors.shape[-1] - 1
    places = ((points - start) / (end - start).clamp(min=1e-6) * (last + 1) - 0.5).clamp(0, last)
    before = places.long().clamp(max=last - 1)
    share = places - before
    values = vectors[..., before] * (1 - share) + vectors[..., before + 1] * share
    return values.permute(2, 0, 1, 3)


def _split(embeddings, depth, components):
    """The projection (N, K, D) of Eq. 7 and the factors (N, K, R) of Eq. 8."""
    attended, rank = components.shape[1:3]
    weights, factors = embeddings.split([attended * depth, attended * rank], 1)
    return weights.view(-1, attended, depth), factors.view(-1, attended, rank)


def _resized(maps, side):
    return functional.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)
