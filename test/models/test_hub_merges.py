# SPDX-License-Identifier: Apache-2.0
"""The merge of this package against the post-processing of transformers: every rule that differs, in pixels.

`pytest -s` prints the table of docs/hub_models.md. Legend: `N` proposals; `h w` stride-4 map; `H W` output size.
"""

import importlib
from types import SimpleNamespace

import pytest
import torch
from hub_checkpoints import processor_of
from torch.nn import functional

from yoso_ros.fusion import find_fusion
from yoso_ros.label_sets import load_label_set

transformers = pytest.importorskip("transformers", reason="needs transformers (yoso-ros[hub])")

LABELS = load_label_set("cityscapes")
CONFIG = SimpleNamespace(label_set=LABELS, score_threshold=0.3, overlap_threshold=0.4)
STUFF = {index for index in range(len(LABELS)) if index not in LABELS.thing_ids}
PADDED, INPUT, OUTPUT = (96, 96), (72, 96), (120, 160)
# What transformers does in these families where the merge of YOSO and of their authors does otherwise, in the order in
# which the test goes over to it.
RULES = {
    "size": "masks go to the frame in one step, Mask2Former's by way of 384x384",
    "probabilities": "probabilities are resized, not logits",
    "weighted": "the size of a mask is where score times probability reaches 0.5",
    "above": "the visible share must exceed the threshold, not reach it",
    "outside": "a proposal is painted wherever it wins, also outside its mask",
    "counter": "after fused stuff the counter of ids goes back",
}
FORMERS = ("maskformer", "mask2former", "oneformer")


def made_logits(count=40, side=96, classes=19):
    """Proposals with overlaps and doubled stuff: (class logits (N, C+1), mask logits (N, side/4, side/4))."""
    generator = torch.Generator().manual_seed(3)
    class_logits = torch.randn(count, classes + 1, generator=generator)
    class_logits[torch.arange(count), torch.arange(count) % classes] += 9 * torch.rand(count, generator=generator)
    grid = torch.stack(torch.meshgrid(torch.arange(side // 4), torch.arange(side // 4), indexing="ij")).float()
    centers = side / 4 * torch.rand(count, 2, 1, 1, generator=generator)
    radius = 1.5 + 4 * torch.rand(count, 1, 1, generator=generator)
    return class_logits, 2 * (radius - (grid - centers).norm(dim=1))


def own_merge(input_size):
    """`MergedSegments` of this package."""
    return find_fusion("hugging_face").merge(made_logits(), input_size, OUTPUT, CONFIG)


def post_processing(family):
    """The map (H, W) of transformers, 0 or -1 where nothing is painted, and its list of segments."""
    module = importlib.import_module(f"transformers.models.{family}.image_processing_pil_{family}")
    kind = {"eomt": "Eomt", "maskformer": "MaskFormer", "mask2former": "Mask2Former", "oneformer": "OneFormer"}[family]
    fields = {**processor_of(family), **({"class_info_file": None, "num_text": None} if family == "oneformer" else {})}
    if family == "eomt":
        fields["size"] = {"shortest_edge": 96, "longest_edge": 96}
    class_logits, mask_logits = made_logits()
    (found,) = getattr(module, f"{kind}ImageProcessorPil")(**fields).post_process_panoptic_segmentation(
        transformers.utils.ModelOutput(class_queries_logits=class_logits[None], masks_queries_logits=mask_logits[None]),
        target_sizes=[OUTPUT],
        threshold=CONFIG.score_threshold,
        overlap_mask_area_threshold=CONFIG.overlap_threshold,
        **({"stuff_classes": sorted(STUFF)} if family == "eomt" else {"label_ids_to_fuse": STUFF}),
    )
    return found["segmentation"].int(), found["segments_info"]


def resized(maps, size, antialias=False):
    return functional.interpolate(maps[None], size, mode="bilinear", align_corners=False, antialias=antialias)[0]


def step_by_step(rules, family, input_size):
    """The merge with some of `RULES` as transformers has them.

    Returns:
        (ids int (H, W), 0 where nothing is painted; int (H, W) of the first proposal of each pixel's segment, -1 for
        none). The second does not change with the numbering.
    """
    class_logits, maps = made_logits()
    scores, classes = class_logits.softmax(-1).max(-1)
    kept = (classes != len(LABELS)) & (scores > CONFIG.score_threshold)
    scores, classes, maps = scores[kept], classes[kept].tolist(), maps[kept]
    if "size" not in rules:
        maps = resized(maps, PADDED)[:, : input_size[0], : input_size[1]]
    elif family == "mask2former":
        maps = resized(maps, (384, 384))
    first, then = torch.sigmoid, lambda part: resized(part, OUTPUT, antialias=family == "oneformer")
    probabilities = then(first(maps)) if "probabilities" in rules else first(then(maps))
    weighted = scores[:, None, None] * probabilities
    winner = weighted.argmax(0)
    masks = (weighted if "weighted" in rules else probabilities) >= 0.5
    ids, owner = torch.zeros(OUTPUT, dtype=torch.int32), torch.full(OUTPUT, -1)
    fused, counter, last = {}, 0, 0
    for index, class_id in enumerate(classes):
        won = winner == index
        painted = won if "outside" in rules else won & (probabilities[index] >= 0.5)
        share = won.sum() / masks[index].sum() if masks[index].any() else 0
        enough = share > CONFIG.overlap_threshold if "above" in rules else share >= CONFIG.overlap_threshold
        if not painted.any() or not masks[index].any() or not enough:
            continue
        if class_id in fused:
            number, segment = fused[class_id]
        else:
            number, segment = (last if "counter" in rules else counter) + 1, index
            counter += 1
        last = number
        if class_id in STUFF:
            fused[class_id] = number, segment
        ids[painted], owner[painted] = number, segment
    return ids, owner


def test_merge_equals_the_post_processing_of_eomt():
    merged = own_merge(INPUT)
    theirs, segments = post_processing("eomt")
    assert len(segments) > 10 and [s.class_id for s in merged.segments] == [s["label_id"] for s in segments]
    assert torch.equal(merged.segment_map, theirs + 1)


@pytest.mark.parametrize("family", FORMERS)
def test_the_rules_of_transformers_explain_every_pixel(family, monkeypatch):
    """From this package's merge to the post-processing of transformers, one rule after the other."""
    if family == "oneformer":  # it resizes by torchvision, which is not there: as torchvision does by default
        module = importlib.import_module("transformers.models.oneformer.image_processing_pil_oneformer")

        def resize(maps, size, interpolation):
            assert interpolation == "bilinear"
            return resized(maps[0], size, antialias=True)[None]

        stand_in = SimpleNamespace(resize=resize, InterpolationMode=SimpleNamespace(BILINEAR="bilinear"))
        monkeypatch.setattr(module, "tvF", stand_in, raising=False)
    theirs, segments = post_processing(family)
    ours = own_merge(PADDED).segment_map
    ids, owner = step_by_step((), family, PADDED)
    assert torch.equal(ids, ours)
    changed, first_owner = {}, owner
    for count, rule in enumerate(RULES, 1):
        before = ids, owner
        ids, owner = step_by_step(tuple(RULES)[:count], family, PADDED)
        changed[rule] = int((owner != before[1]).sum() if rule != "counter" else (ids != before[0]).sum())
    assert torch.equal(ids, theirs.clamp(min=0))
    # Of the rules that were gone over to, each does something here, but for a share that is the threshold exactly.
    assert all(changed[rule] for rule in RULES if rule != "above"), changed
    both = (owner >= 0) & (first_owner >= 0)
    agreed = int((owner == first_owner)[both].sum())
    assert agreed > 0.95 * int(both.sum())
    assert len({s["id"] for s in segments}) < len({int(i) for i in owner.unique() if i >= 0}), "two with one id"
    print(
        f"\n{family}: this package paints {int((first_owner >= 0).sum())} pixels of {owner.numel()}, transformers "
        f"{int((owner >= 0).sum())}; both {int(both.sum())}, of these equal {agreed}; {changed}"
    )


def test_padding_is_cut_off_here_and_not_in_transformers():
    """With frames of different size in a batch, the maps of all but the largest come out shrunk."""
    cut, _ = step_by_step((), "maskformer", INPUT)
    assert torch.equal(own_merge(INPUT).segment_map, cut)
    theirs, _ = post_processing("maskformer")
    uncut, _ = step_by_step(tuple(RULES), "maskformer", INPUT)
    assert torch.equal(theirs, uncut), "they are not told the size before padding"
    assert ((theirs > 0) != (cut > 0)).float().mean() > 0.1
