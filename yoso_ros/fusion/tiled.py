# SPDX-License-Identifier: Apache-2.0
"""Which proposal wins each pixel, on a CPU: only the proposals that can matter in a tile are upsampled there.

Legend: `K` kept proposals; `h w` stride-4 map; `Y X` rows and columns of tiles; `P` (tile, proposal) pairs; `T` tile
size in output pixels; `M` input pixels and `L` mask cells under a tile, along one axis; `O` tiles that have a pair.

A bilinear value lies between the least and the greatest of the cells it depends on. So the cells under a tile bound the
probability of each proposal there, and a proposal whose upper bound is below another's lower bound cannot win. A
proposal whose logits have one sign in the tile has a known area in it. A tile that one proposal fills alone, so surely
that its confidence is the same everywhere, is settled without a look at its pixels. Most of the other tiles, those at
borders, are left with one or two proposals.
"""

import contextlib

import torch

from yoso_ros.fusion.bilinear import axis_plan, upsample_tiles

# Output pixels. At 800x1333 with 30 kept 32 is the fastest of 16, 24, 32 and 64.
TILE = 32
# Rounding makes a resized logit leave its bounds by a few float32 steps; these are about ten times as wide.
LOGIT_SLACK = 2e-6
PROBABILITY_SLACK = 1e-5
# Below this the relative slack means nothing (denormal numbers), so that nothing is ruled out.
LEAST_PROBABILITY = 1e-30
# Upsampled at a time, to stay in a core's cache: half the time on a machine where others use the memory too.
CACHED_PAIRS = 256
MAX_PAIRS_PER_TILE = 16  # average over the frame; beyond it the dense way is no slower and needs less memory
NOBODY = -1  # winner rank of the pixels of an edge tile that lie outside the output


@contextlib.contextmanager
def one_thread():
    """Keeps torch from sharing out operations among cores.

    Those on tiles are so small that waking another core for each takes longer than the work: 29 instead of 14 ms for
    30 kept at 800x1333 on two cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def compete_in_tiles(scores, mask_logits, input_size, output_size, overlap_threshold):
    """The winner of each output pixel, equal to `DenseCompetition` of the same tensors.

    Args:
        scores: float32 (K,). mask_logits: float32 (K, h, w), contiguous. Both on the CPU.
        input_size, output_size: (height, width), see `merge_mask_classification`.
        overlap_threshold: the areas are exact as far as they decide whether winner area / mask area reaches it.

    Returns:
        A `TiledCompetition`, or None if the masks overlap so much that tiles do not help.
    """
    rows = axis_plan(mask_logits.shape[1], input_size[0], output_size[0], TILE)
    columns = axis_plan(mask_logits.shape[2], input_size[1], output_size[1], TILE)
    pixels = (rows.valid.sum(1)[:, None] * columns.valid.sum(1)).flatten()
    bounds = _tile_bounds(mask_logits, rows.cells, columns.cells)
    contender, border, full, void, certain = _judge_tiles(scores, *bounds)
    relevant = (contender | border) & ~void
    settled = relevant & certain & (relevant.sum(0) == 1)
    relevant &= ~settled
    most_pairs = MAX_PAIRS_PER_TILE * len(pixels)
    if relevant.sum() > most_pairs:
        return None
    competition = TiledCompetition(scores, mask_logits, rows, columns, relevant)
    competition.settle(settled, (settled * pixels).sum(1))
    competition.mask_area += ((full & ~relevant) * pixels).sum(1)
    # Nothing is painted in a void tile; who wins there only matters to a proposal whose fate is open without it.
    mask_area = competition.mask_area.double()
    least = competition.winner_area / mask_area
    most = (competition.winner_area + ((contender & void) * pixels).sum(1)) / mask_area
    open_fate = (competition.painted_area > 0) & (least < overlap_threshold) & (most >= overlap_threshold)
    undecided = contender & void & contender[open_fate].any(0)
    if undecided.sum() > most_pairs:
        return None
    if undecided.any():
        competition.winner_area += TiledCompetition(scores, mask_logits, rows, columns, undecided).winner_area
    return competition


class TiledCompetition:
    """The winner of each pixel, tile by tile; attributes and `paint` as in `DenseCompetition`."""

    def __init__(self, scores, mask_logits, rows, columns, relevant):
        self._scores, self._rows, self._columns = scores, rows, columns
        tile = self._list_pairs(relevant)
        row, column = tile // len(columns.cells), tile % len(columns.cells)
        probability = torch.empty((TILE, len(tile), TILE))
        inside = torch.empty(probability.shape, dtype=torch.bool)
        for start in range(0, len(tile), CACHED_PAIRS):
            part = slice(start, start + CACHED_PAIRS)
            logits = upsample_tiles(mask_logits, self._kept[part], row[part], column[part], rows, columns)
            torch.ge(torch.sigmoid(logits, out=probability[:, part]), 0.5, out=inside[:, part])
        self._blank_outside(inside, row, column, False)
        probability *= scores[self._kept][:, None]
        winner = self._best_of_each_tile(probability)
        self._blank_outside(winner, row[: winner.shape[1]], column[: winner.shape[1]], NOBODY)
        mask_pixels = _count_per_pair(inside)
        winner_pixels = torch.zeros_like(mask_pixels)
        for rank, (count, pairs) in enumerate(self._ranks):
            won = winner[:, :count] == rank
            winner_pixels[pairs] = _count_per_pair(won)
            inside[:, pairs] &= won
        self._painted = inside  # from here on: inside its mask and winner
        self.mask_area, self.winner_area, self.painted_area = (
            torch.zeros(len(scores), dtype=torch.int64).index_add_(0, self._kept, pixels)
            for pixels in (mask_pixels, winner_pixels, _count_per_pair(self._painted))
        )

    def settle(self, settled, area):
        """Give tiles to the proposals that fill them alone; their pixels are not in the pairs.

        Args:
            settled: bool (K, Y*X), at most one proposal of a tile. area: int64 (K,), the output pixels of those tiles.
        """
        self._settled = settled.t().nonzero(as_tuple=True)
        self.winner_area += area
        self.painted_area += area

    def _blank_outside(self, pixels, row, column, value):
        """Write `value` where (T, tiles or pairs, T) `pixels` lie outside the output."""
        height, width = int(self._rows.valid[-1].sum()), int(self._columns.valid[-1].sum())
        pixels[height:].index_fill_(1, (row == len(self._rows.cells) - 1).nonzero()[:, 0], value)
        pixels[:, :, width:].index_fill_(1, (column == len(self._columns.cells) - 1).nonzero()[:, 0], value)

    def _list_pairs(self, relevant):
        """Number the pairs by rank: the first proposal of every tile, then the second of those that have one, ...

        Tiles with more proposals come first, so that the pairs of a rank and the tiles they belong to are slices.
        """
        tile, kept = relevant.t().nonzero(as_tuple=True)
        count = relevant.sum(0)
        order = count.argsort(descending=True)
        self._place = torch.empty_like(order)
        self._place[order] = torch.arange(len(order))
        rank = torch.arange(len(tile)) - (count.cumsum(0) - count)[tile]
        by_rank = (rank * len(order) + self._place[tile]).argsort()
        self._kept = kept[by_rank]
        self._ranks, start = [], 0
        for tiles in torch.bincount(rank, minlength=1).tolist():
            self._ranks.append((tiles, slice(start, start + tiles)))
            start += tiles
        return tile[by_rank]

    def _best_of_each_tile(self, probability):
        """Rank of the winner, int16 (T, O, T); sets `self._best` to its probability, float32 (T, O, T)."""
        self._best = probability[:, : self._ranks[0][0]]
        winner = torch.zeros(self._best.shape, dtype=torch.int16)
        for rank, (count, pairs) in enumerate(self._ranks[1:], 1):
            best, contender, ahead = self._best[:, :count], probability[:, pairs], winner[:, :count]
            # Ranks only grow, so the maximum replaces; ten times as fast as masked_fill_.
            torch.maximum(ahead, (contender > best).to(torch.int16).mul_(rank), out=ahead)
            torch.maximum(best, contender, out=best)
        return winner

    @one_thread()
    def paint(self, segment_ids):
        """See `DenseCompetition.paint`."""
        segment_ids = segment_ids.to(torch.int16)  # half the memory to move
        ids = segment_ids[self._kept][:, None]
        tiles = self._best.shape[1]
        # One tile more, left zero, for the tiles where nobody competes, and one of each proposal for those it fills.
        segment_map = torch.zeros((TILE, tiles + 1 + len(segment_ids), TILE), dtype=torch.int16)
        confidence = torch.zeros(segment_map.shape, dtype=torch.uint8)
        segment_map[:, tiles + 1 :] = segment_ids[:, None]
        confidence[:, tiles + 1 :] = (_confidence(self._scores.clone()) * (segment_ids > 0))[:, None]
        for count, pairs in self._ranks:
            segment_map[:, :count] += self._painted[:, pairs].to(torch.int16).mul_(ids[pairs])
        torch.mul(_confidence(self._best), (segment_map[:, :tiles] > 0).view(torch.uint8), out=confidence[:, :tiles])
        place = self._place.clamp(max=tiles)
        tile, kept = self._settled
        place[tile] = kept + tiles + 1
        return self._join(segment_map, place, torch.int32), self._join(confidence, place, torch.uint8)

    def _join(self, tiled, place, dtype):
        """(T, tiles, T) in the order of places to (H, W) of a torch dtype."""
        height, width = (int(plan.valid.sum()) for plan in (self._rows, self._columns))
        line = torch.arange(TILE)[:, None] * tiled.shape[1] + place.view(len(self._rows.cells), 1, -1)
        lines = tiled.flatten(0, 1).index_select(0, line.flatten(0, 1)[:height].flatten())
        return lines.view(height, -1)[:, :width].to(dtype).contiguous()


def _judge_tiles(scores, lower, upper):
    """What the bounds of the logits, (K, Y*X), tell: which proposals can win, cross or fill a tile, and void tiles.

    Returns:
        contender, border, full: bool (K, Y*X). void: bool (Y*X,), every proposal is outside its mask in the whole tile.
        certain: bool (K, Y*X), full, and the confidence of each pixel rounds to that of a mask probability of 1.
    """
    least = torch.sigmoid(lower).mul_(scores[:, None]).amax(0)
    least[least < LEAST_PROBABILITY] = 0.0
    # Both written so that a NaN keeps the proposal.
    contender = ~(torch.sigmoid(upper).mul_(scores[:, None] * (1.0 + PROBABILITY_SLACK)) < least)
    full, outside = lower > LOGIT_SLACK, upper < -LOGIT_SLACK
    faintest = torch.sigmoid(lower).mul_(scores[:, None] * (1.0 - PROBABILITY_SLACK))
    certain = full & (_confidence(faintest) == _confidence(scores.clone())[:, None])
    return contender, ~(full | outside), full, outside.all(0), certain


def _confidence(probability):
    """Score times mask probability as uint8, at least 1; overwrites its argument."""
    return probability.mul_(255.0).round_().clamp_(min=1.0).to(torch.uint8)


def _tile_bounds(mask_logits, row_cells, column_cells):
    """Bounds of the resized logits in each tile: two float32 (K, Y*X)."""
    row_ends, column_ends = (cells[:, [0, -1]].tolist() for cells in (row_cells, column_cells))
    bounds = []
    for reduce, sign in ((torch.amin, -1.0), (torch.amax, 1.0)):
        # Slices, because a gather of the overlapping cells would copy more than the logits; columns outermost, because
        # what is reduced must not lie innermost to be fast.
        strips = torch.stack([reduce(mask_logits[:, first : last + 1], 1) for first, last in row_ends])
        lines = strips.flatten(0, 1).t().contiguous()
        value = torch.stack([reduce(lines[first : last + 1], 0) for first, last in column_ends])
        value = value.unflatten(1, strips.shape[:2]).permute(2, 1, 0).flatten(1)
        bounds.append(value + value.abs() * (sign * LOGIT_SLACK))
    return bounds


def _count_per_pair(pixels):
    """True pixels of each pair: bool (T, P, T) to int64 (P,). A uint8 sum over T rows is fast and cannot overflow."""
    return pixels.view(torch.uint8).sum(0, dtype=torch.uint8).sum(1)
