# SPDX-License-Identifier: Apache-2.0
"""The network equals the authors' network: every stage, class logits and mask logits on the golden data.

The golden weights are deterministic numbers per key, so no checkpoint is needed. Stages are compared end to end in
float32; a hard mask can flip where a logit is about 1e-6, hence the wider bounds after stage 0.
"""

import json
import sys

import numpy as np
import pytest
import torch

from yoso_ros.models import create_model, load_config
from yoso_ros.models.yoso.official_checkpoint import load_official_state_dict

MODELS = ("coco", "ade20k")


@pytest.fixture(scope="module")
def fill(golden):
    sys.path.insert(0, str(golden))
    try:
        import fill

        yield fill
    finally:
        sys.path.remove(str(golden))


@pytest.fixture(scope="module", params=MODELS)
def case(request, golden, fill):
    name = request.param
    keys = json.loads((golden / f"keys_{name}.json").read_text())
    model = create_model(load_config(f"yoso_r50_{name}")).eval()
    load_official_state_dict(model, {k: torch.from_numpy(np.asarray(fill.value(k, s))) for k, s, _ in keys})
    return model, np.load(golden / f"golden_{name}.npz")


def images(fill, names):
    """Stack golden images, padded right and bottom with the pixel mean to a common multiple of 32."""
    frames = [fill.image(*{"A": (1, 256, 320), "B": (2, 250, 333)}[n]) for n in names]
    height, width = (-(-max(f.shape[axis] for f in frames) // 32) * 32 for axis in (0, 1))
    batch = torch.tensor((123.675, 116.28, 103.53)).view(1, 3, 1, 1).repeat(len(frames), 1, height, width)
    for i, frame in enumerate(frames):
        batch[i, :, : frame.shape[0], : frame.shape[1]] = torch.from_numpy(frame).permute(2, 0, 1).float()
    return batch


def record(model, batch):
    """Run the model; returns its outputs and a dict of golden stage name to tensor."""
    stages, handles = {}, []

    def keep(name):
        return lambda _module, _inputs, output: stages.__setitem__(name, output)

    neck, decoder = model.neck, model.decoder
    handles.append(
        model.backbone.register_forward_hook(
            lambda _m, _i, out: stages.update(zip(("res2", "res3", "res4", "res5"), out, strict=True))
        )
    )
    for index in (1, 2, 3):
        layer = neck.pyramid.upsamples[3 - index]
        for part, name in ((layer.offset, "offset"), (layer.deform, "dcn"), (layer, "out")):
            handles.append(part.register_forward_hook(keep(f"deform{index}_{name}")))
    handles += [neck.output_conv.register_forward_hook(keep("agg")), neck.register_forward_hook(keep("neck"))]
    handles.append(
        decoder.register_forward_hook(
            lambda _m, _i, out: stages.update({f"masks_s{i}": masks for i, (_, masks) in enumerate(out)})
        )
    )
    for index, stage in enumerate(decoder.stages, start=1):
        named = {
            "f_atten": stage.blocks[0].attention,
            "f_norm": stage.blocks[0].norm,
            "k_atten": stage.blocks[1].attention,
            "k_norm": stage.blocks[1].norm,
            "s_norm": stage.self_attention_norm,
            "obj_feat": stage.ffn_norm,
            "mask_kernels": stage.mask_predictor,
        }
        handles += [module.register_forward_hook(keep(f"s{index}_{name}")) for name, module in named.items()]
    with torch.no_grad():
        outputs = model(batch)
    for handle in handles:
        handle.remove()
    return outputs, stages


def subsample(name, tensor, batch_case):
    """The golden files' sub-sampling."""
    channels, height = tensor.shape[1:3] if tensor.dim() == 4 else (0, 0)
    if name in ("agg", "neck"):
        return tensor[:, ::8, ::4, ::4]
    if name.startswith("masks"):
        return tensor[:, :, ::8, ::8] if batch_case else tensor[:, :, ::4, ::4]
    if tensor.dim() == 4:
        step = max(1, height // 8)
        return tensor[:, :: max(1, channels // 16), ::step, ::step]
    return tensor


@pytest.mark.parametrize("image", ["A", "B"])
def test_every_stage(case, fill, image):
    model, golden = case
    outputs, stages = record(model, images(fill, image))
    compared = 0
    for name, tensor in stages.items():
        key = f"{image}_{name}"
        if key not in golden:
            continue
        # The offset convolution has 27 channels: all of them are stored.
        actual = (
            tensor[:, :, :: max(1, tensor.shape[2] // 8), :: max(1, tensor.shape[2] // 8)]
            if name.endswith("offset")
            else subsample(name, tensor, False)
        )
        expected = golden[key]
        assert actual.shape == expected.shape, key
        error = np.abs(actual.numpy() - expected).max() / np.abs(expected).max()
        after_hard_mask = name.startswith(("s1", "s2", "masks_s1", "masks_s2"))
        assert error < (1e-3 if after_hard_mask else 1e-4), f"{key}: {error:.1e}"
        compared += 1
    assert compared >= (18 if image == "B" else 31), sorted(stages)
    assert np.abs(outputs.class_logits.numpy() - golden[f"{image}_cls_scores"]).max() < 2e-2


def test_batch_of_two_sizes(case, fill):
    model, golden = case
    outputs, stages = record(model, images(fill, "AB"))
    assert np.abs(outputs.class_logits.numpy() - golden["AB_cls_scores"]).max() < 2e-2
    expected = golden["AB_masks_s2"]
    assert np.abs(stages["masks_s2"][:, :, ::8, ::8].numpy() - expected).max() / np.abs(expected).max() < 1e-3


@pytest.mark.parametrize("name", ["coco", "cityscapes", "ade20k", "mapillary"])
def test_official_keys_strict(golden, fill, name):
    from yoso_ros.errors import InputError

    keys = json.loads((golden / f"keys_{name}.json").read_text())
    assert len(keys) == {"coco": 395, "cityscapes": 472, "ade20k": 395, "mapillary": 419}[name]
    model = create_model(load_config(f"yoso_r50_{name}"))
    state = {k: torch.from_numpy(np.asarray(fill.value(k, s))) for k, s, _ in keys}
    load_official_state_dict(model, {"model": state})
    # Every tensor of the file arrives: one entry is the criterion's, the others are the model's.
    assert len(model.state_dict()) == len(keys) - 1
    broken = dict(state)
    lost = broken.pop("yoso_neck.loc_conv.bias")
    broken["yoso_neck.extra"] = lost
    broken["yoso_head.kernels.bias"] = torch.zeros(7)
    with pytest.raises(InputError) as error:
        load_official_state_dict(model, broken)
    for text in ("missing neck.location_conv.bias", "yoso_neck.extra", "yoso_head.kernels.bias", "(7,)"):
        assert text in str(error.value)
