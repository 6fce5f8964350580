# SPDX-License-Identifier: Apache-2.0
"""Which proposal wins each pixel, on a CPU: only proposals that can matter in a tile are upsampled there.

Legend: `K` kept ones of `N` proposals; `h w` stride-4 map; `Y X` rows and columns of tiles; `P` (tile, proposal) pairs;
`T` tile size in output pixels; `R` mask cells that a tile depends on, along one axis; `O` tiles that have a pair, `D`
tiles that have two.

A bilinear value lies between the minimum and the maximum of the cells it depends on. So the cells under a tile bound
the probability of each proposal there, and a proposal whose upper bound is below another's lower bound cannot win. One
that is outside its mask in the whole tile, and too faint to beat any that is not, changes nothing that is painted. A
proposal whose logits have one sign in the tile has a known area in it. A tile that a single proposal fills with such
certainty that its confidence is the same everywhere is settled without computing its pixels. Most other tiles, those at
borders, are left with one or two proposals.

Comparisons and counts use numpy, which is several times as fast as torch if the result has a different type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from yoso_ros.fusion.bilinear import axis_plan, upsample_tiles
from yoso_ros.fusion.threads import one_thread
from yoso_ros.fusion.tile_bounds import judge_tiles, tile_bounds, to_confidence

# Output pixels. At 800x1333 with 30 kept 32 is the fastest of 16, 24, 32 and 64.
TILE = 32
# Upsampled at a time, to stay in a core's cache. Not a power of 2: transposing lines at such a distance takes six times
# as long, because they map to the same cache sets.
CACHED_PAIRS = 500
MAX_PAIRS_PER_TILE = 16  # average over the frame; beyond it the dense method is no slower and needs less memory
NOBODY = -1  # winner rank of pixels of an edge tile outside the output


@one_thread()
def compete_in_tiles(
    scores: torch.Tensor,
    mask_logits: torch.Tensor,
    kept: torch.Tensor,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    overlap_threshold: float,
) -> TiledCompetition | None:
    """The winner of each output pixel, equal to `DenseCompetition` of the kept proposals.

    Args:
        scores: float32 (K,). mask_logits: float32 (N, h, w), contiguous. kept: int64 (K,), proposals that compete. All
            on the CPU.
        input_size, output_size: (height, width), see `merge_mask_classification`.
        overlap_threshold: the areas are exact as far as they decide whether winner area / mask area reaches it.

    Returns:
        A `TiledCompetition`, or None if the masks overlap so much that tiles do not help.
    """
    rows = axis_plan(mask_logits.shape[1], input_size[0], output_size[0], TILE)
    columns = axis_plan(mask_logits.shape[2], input_size[1], output_size[1], TILE)
    frame = _Frame(scores, mask_logits, kept, rows, columns)
    bounds = tile_bounds(mask_logits, kept, rows.reach, columns.reach)
    most, contender, border, full, faint, certain = judge_tiles(scores.numpy()[:, None], *bounds)
    relevant = (contender | border) & ~faint
    settled = relevant & certain & (np.count_nonzero(relevant, 0) == 1)
    most_pairs = MAX_PAIRS_PER_TILE * len(frame.pixels)
    relevant &= ~settled
    if np.count_nonzero(relevant) > most_pairs:
        return None
    competition = TiledCompetition(frame, relevant)
    competition.settle(settled, settled @ frame.pixels)
    competition.mask_area += (full & ~relevant) @ frame.pixels
    # Faint proposals win only pixels outside all masks. If one that could win was left out, such pixels went to others,
    # which matters only to a proposal that is still undecided without them.
    left_out = contender & faint
    open_fate = competition.open_fates(left_out, frame.pixels, overlap_threshold)
    if open_fate.any():
        # Most are decided once the number of free pixels and the possible winners are known.
        free, faintest = competition.free_pixels()
        left_out &= ~(most < faintest)
        open_fate = competition.open_fates(left_out, free, overlap_threshold)
    left_out &= contender[open_fate].any(0)
    if np.count_nonzero(left_out) > most_pairs:
        return None
    if left_out.any():
        competition.let_in(left_out)
    return competition


class _Frame:
    """Data shared by the competitions of a frame.

    Attributes:
        scores, mask_logits, kept, rows, columns: as in `compete_in_tiles`, the last two `AxisPlan`.
        pixels: int64 (Y*X,), output pixels of each tile.
    """

    def __init__(self, scores, mask_logits, kept, rows, columns):
        self.scores, self.mask_logits, self.kept = scores.numpy(), mask_logits, kept
        self.rows, self.columns = rows, columns
        self.height, self.width = (int(plan.valid.sum()) for plan in (rows, columns))
        self.pixels = np.outer(*(plan.valid.sum(1).numpy() for plan in (rows, columns))).ravel()


class TiledCompetition:
    """The winner of each pixel, tile by tile; attributes (as int64 arrays) and `paint` as in `DenseCompetition`."""

    def __init__(self, frame: Any, relevant: np.ndarray):
        """Run the competition in the tiles given by `relevant`, bool (K, Y*X)."""
        self._frame = frame
        tile = self._list_pairs(relevant)
        row, column = np.divmod(tile, len(frame.columns.reach))
        probability, inside = self._upsample(row, column)
        self._blank_outside(inside, row, column, False)
        probability *= frame.scores[self._proposal][:, None]
        winner = self._best_of_each_tile(probability)
        shared = winner.shape[1]
        self._blank_outside(winner, row[:shared], column[:shared], NOBODY)
        mask_pixels = _count_per_pair(inside)
        winner_pixels = frame.pixels[tile]  # of a proposal that is alone in its tile
        for rank, (count, pairs) in enumerate([(shared, slice(0, shared)), *self._ranks[1:]]):
            won = winner[:, :count] == rank
            winner_pixels[pairs] = _count_per_pair(won)
            inside[:, pairs] &= won
        self._winner, self._painted = winner, inside  # from here on: inside its mask and winner
        painted_pixels = _count_per_pair(inside)
        self._tile, self._outside_pixels = tile, winner_pixels - painted_pixels
        self.mask_area, self.winner_area, self.painted_area = map(
            self._area, (mask_pixels, winner_pixels, painted_pixels)
        )

    def _area(self, pixels):
        """Sum pixel counts of pairs, int (P,), to those of proposals, int64 (K,)."""
        return np.bincount(self._proposal, pixels, len(self._frame.scores)).astype(np.int64)

    def free_pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of unpainted pixels of each tile, and the lowest probability of a winner there.

        Undefined for settled tiles, where no faint proposal is a contender.

        Returns:
            int64 (Y*X,), float32 (Y*X,) with score times mask probability.
        """
        tiles = self._best.shape[1]
        painted = self._painted[:, :tiles].copy()
        for count, pairs in self._ranks[1:]:
            painted[:, :count] |= self._painted[:, pairs]
        free, faintest = self._frame.pixels.copy(), np.zeros(len(self._frame.pixels), np.float32)
        free[self._tile[:tiles]] -= _count_per_pair(painted)
        faintest[self._tile[:tiles]] = np.where(painted, np.float32(np.inf), self._best).min(0).min(1)
        return free, faintest

    def open_fates(self, left_out: np.ndarray, free: np.ndarray, overlap_threshold: float) -> np.ndarray:
        """Proposals that may keep or lose their segment by what others win, who were left out of some tiles.

        Args:
            left_out: bool (K, Y*X). free: int64 (Y*X,), the most that those can win in each tile.
            overlap_threshold: of winner area / mask area.

        Returns:
            bool (K,).
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            least = (self.winner_area - self.outside_area(np.logical_or.reduce(left_out, 0))) / self.mask_area
            greatest = (self.winner_area + left_out @ free) / self.mask_area
        return (self.painted_area > 0) & (least < overlap_threshold) & (greatest >= overlap_threshold)

    def let_in(self, others: np.ndarray) -> None:
        """Let other proposals, too faint to take anything painted, compete for the rest of some tiles.

        Args:
            others: bool (K, Y*X), none of which already competes in that tile.
        """
        competition = TiledCompetition(self._frame, others)
        tiles = competition._tile[: competition._best.shape[1]]
        best, winner = self._winners(tiles)
        other_best, other_winner = competition._winners(tiles)
        taken = (other_best > best) | ((other_best == best) & (other_winner < winner))
        self._blank_outside(taken, *np.divmod(tiles, len(self._frame.columns.reach)), False)
        count = len(self._frame.scores)
        self.winner_area += np.bincount(other_winner[taken], minlength=count)
        self.winner_area -= np.bincount(winner[taken], minlength=count + 1)[:count]

    def _winners(self, tiles):
        """Probability and number of the winner of each pixel of some tiles: float32 and int64 (T, tiles, T).

        -1 and K where nothing competes.
        """
        place, entered = self._place[tiles], self._best.shape[1]
        best = np.full((TILE, len(tiles), TILE), np.float32(-1))
        rank = np.zeros(best.shape, np.int16)
        proposal = np.full((len(self._ranks), len(tiles)), len(self._frame.scores))
        for index, (count, pairs) in enumerate(self._ranks):
            there = place < count
            proposal[index, there] = self._proposal[pairs][place[there]]
        there, shared = place < entered, place < self._winner.shape[1]
        best[:, there] = self._best[:, place[there]]
        rank[:, shared] = self._winner[:, place[shared]]
        return best, proposal[rank, np.arange(len(tiles))[:, None]]

    def outside_area(self, tiles: Any) -> np.ndarray:
        """Pixels in some tiles, bool (Y*X,), where a proposal wins outside its mask: int64 (K,)."""
        return self._area(self._outside_pixels * tiles[self._tile])

    def settle(self, settled: np.ndarray, area: np.ndarray) -> None:
        """Assign tiles to the proposals that fill them alone; their pixels are not in the pairs.

        Args:
            settled: bool (K, Y*X), at most one proposal per tile. area: int64 (K,), the output pixels of those tiles.
        """
        self._settled = settled.T.nonzero()
        self.winner_area += area
        self.painted_area += area

    def _list_pairs(self, relevant):
        """Number the pairs by rank: the first proposal of every tile, then the second of those that have one, ...

        Tiles with more proposals come first, so that the pairs of a rank and their tiles are slices. Returns the tile
        of each pair.
        """
        tile, proposal = relevant.T.nonzero()
        count = np.count_nonzero(relevant, 0)
        order = np.argsort(-count, kind="stable")
        self._place = np.empty_like(order)
        self._place[order] = np.arange(len(order))
        rank = np.arange(len(tile)) - (count.cumsum() - count)[tile]
        by_rank = np.argsort(rank * len(order) + self._place[tile])
        self._proposal = proposal[by_rank]
        self._ranks, start = [], 0
        for tiles in np.bincount(rank, minlength=1).tolist():
            self._ranks.append((tiles, slice(start, start + tiles)))
            start += tiles
        return tile[by_rank]

    def _upsample(self, row, column):
        """Mask probability, float32 (T, P, T), and where it is at least 0.5, bool, of pairs in tiles at row, column."""
        frame = self._frame
        proposal, row, column = map(torch.from_numpy, (self._proposal, row, column))
        proposal = frame.kept[proposal]
        probability = torch.empty((TILE, len(proposal), TILE))
        inside = np.empty(probability.shape, bool)
        for start in range(0, len(proposal), CACHED_PAIRS):
            part = slice(start, start + CACHED_PAIRS)
            logits = upsample_tiles(
                frame.mask_logits, proposal[part], row[part], column[part], frame.rows, frame.columns
            )
            torch.sigmoid(logits, out=probability[:, part])
            np.greater_equal(probability.numpy()[:, part], np.float32(0.5), out=inside[:, part])
        return probability.numpy(), inside

    def _blank_outside(self, pixels, row, column, value):
        """Write `value` where (T, tiles or pairs, T) `pixels` lie outside the output."""
        rows, columns = self._frame.rows.valid, self._frame.columns.valid
        pixels[int(rows[-1].sum()) :, row == len(rows) - 1] = value
        pixels[:, column == len(columns) - 1, int(columns[-1].sum()) :] = value

    def _best_of_each_tile(self, probability):
        """Rank of the winner, int16 (T, D, T); sets `self._best` to its probability, float32 (T, O, T)."""
        self._best = probability[:, : self._ranks[0][0]]
        winner = np.zeros((TILE, self._ranks[1][0] if len(self._ranks) > 1 else 0, TILE), np.int16)
        for rank, (count, pairs) in enumerate(self._ranks[1:], 1):
            best, contender, ahead = self._best[:, :count], probability[:, pairs], winner[:, :count]
            # Ranks only increase, so the maximum replaces earlier ones.
            np.maximum(ahead, (contender > best) * np.int16(rank), out=ahead)
            np.maximum(best, contender, out=best)
        return winner

    @one_thread()
    def paint(self, segment_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `DenseCompetition.paint`."""
        segment_ids = segment_ids.numpy().astype(np.int16)  # half the memory to move
        ids = segment_ids[self._proposal][:, None]
        tiles = self._best.shape[1]
        # One extra zero tile for the tiles where nothing competes, and one per proposal for those it fills.
        segment_map = np.zeros((TILE, tiles + 1 + len(segment_ids), TILE), np.int16)
        confidence = np.zeros(segment_map.shape, np.uint8)
        segment_map[:, tiles + 1 :] = segment_ids[:, None]
        confidence[:, tiles + 1 :] = (to_confidence(self._frame.scores.copy()) * (segment_ids > 0))[:, None]
        for count, pairs in self._ranks:
            segment_map[:, :count] += self._painted[:, pairs] * ids[pairs]
        np.multiply(to_confidence(self._best), segment_map[:, :tiles] > 0, out=confidence[:, :tiles])
        place = self._place.clip(max=tiles)
        tile, proposal = self._settled
        place[tile] = proposal + tiles + 1
        return self._join(segment_map, place, torch.int32), self._join(confidence, place, torch.uint8)

    def _join(self, tiled, place, dtype):
        """(T, tiles, T) in the order of places to (H, W) of a torch dtype."""
        frame = self._frame
        line = np.arange(TILE)[:, None] * tiled.shape[1] + place.reshape(len(frame.rows.reach), 1, -1)
        line = torch.from_numpy(line.reshape(-1, line.shape[-1])[: frame.height].ravel())
        lines = torch.from_numpy(tiled.reshape(-1, TILE)).index_select(0, line)
        return lines.view(frame.height, -1)[:, : frame.width].to(dtype).contiguous()


def _count_per_pair(pixels):
    """True pixels of each pair: bool (T, P, T) to int64 (P,). A uint8 sum over T rows is fast and cannot overflow."""
    return np.add.reduce(pixels.view(np.uint8), 0, dtype=np.uint8).sum(1, dtype=np.int64)
