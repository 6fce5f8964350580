# SPDX-License-Identifier: Apache-2.0
"""Each family of models in transformers as an image encoder and a head, without the parts only needed for training.

Legend: `B` batch, `T` tokens, `D` channels, `N` queries, `C` classes, `H W` input size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from yoso_ros.errors import InputError

Features = tuple[torch.Tensor, ...]
Logits = tuple[torch.Tensor, torch.Tensor]


def split(model: Any, task_tokens: tuple[int, ...] = ()) -> tuple[nn.Module, nn.Module]:
    """(encoder: images (B, 3, H, W) -> features, head: features -> class and mask logits) of a transformers model.

    Raises:
        InputError: a family that this package does not support.
    """
    family = model.config.model_type
    if family not in FAMILIES:
        raise InputError(f"expected a model of the families {', '.join(FAMILIES)}, found {family!r}")
    return FAMILIES[family](model, task_tokens)


class MapEncoder(nn.Module):
    """A backbone with feature maps at strides 4 to 32."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> Features:
        return tuple(self.encoder(images).feature_maps)


class MaskFormerHead(nn.Module):
    """MaskFormer (NeurIPS 2021): a pyramid for the masks, a transformer decoder on the coarsest map."""

    def __init__(self, model: Any):
        super().__init__()
        self.pixel_decoder = model.model.pixel_level_module.decoder
        self.transformer = model.model.transformer_module
        self.class_predictor, self.mask_embedder = model.class_predictor, model.mask_embedder

    def forward(self, features: Features) -> Logits:
        maps = self.pixel_decoder(list(features), False, return_dict=True).last_hidden_state
        queries = self.transformer(features[-1], False, False, return_dict=True).last_hidden_state
        return self.class_predictor(queries), torch.einsum("bqc,bchw->bqhw", self.mask_embedder(queries), maps)


class Mask2FormerHead(nn.Module):
    """Mask2Former (CVPR 2022): a deformable pixel decoder, a transformer decoder with masked attention."""

    def __init__(self, model: Any):
        super().__init__()
        self.pixel_decoder = model.model.pixel_level_module.decoder
        self.transformer = model.model.transformer_module
        self.class_predictor = model.class_predictor

    def forward(self, features: Features) -> Logits:
        maps = self.pixel_decoder(list(features), output_hidden_states=False, return_dict=True)
        decoded = self.transformer(
            multi_scale_features=maps.multi_scale_features, mask_features=maps.mask_features, output_hidden_states=False
        )
        queries = decoded.intermediate_hidden_states[-1].transpose(0, 1)
        return self.class_predictor(queries), decoded.masks_queries_logits[-1]


class OneFormerHead(nn.Module):
    """OneFormer (CVPR 2023): like Mask2Former, with queries initialised from the task text."""

    def __init__(self, model: Any, task_tokens: tuple[int, ...]):
        super().__init__()
        self.pixel_decoder = model.model.pixel_level_module.decoder
        self.transformer, self.task_encoder = model.model.transformer_module, model.model.task_encoder
        length = model.config.task_seq_len
        if len(task_tokens) != length:
            raise InputError(f"task_tokens: expected the {length} token ids of the task, found {len(task_tokens)}")
        self.register_buffer("task", torch.tensor([task_tokens], dtype=torch.float32), persistent=False)

    def forward(self, features: Features) -> Logits:
        maps = self.pixel_decoder(list(features), output_hidden_states=False)
        token = self.task_encoder(self.task.expand(features[0].shape[0], -1))
        decoded = self.transformer(
            multi_scale_features=maps.multi_scale_features, mask_features=maps.mask_features, task_token=token
        )
        return decoded.prediction_class, decoded.prediction_masks


class TokenEncoder(nn.Module):
    """The layers of EoMT before the queries join."""

    def __init__(self, model: Any):
        super().__init__()
        self.embeddings, self.rotary = model.embeddings, getattr(model, "rope_embeddings", None)
        self.layers = nn.ModuleList(model.layers[: -model.config.num_blocks])

    def forward(self, images: torch.Tensor) -> Features:
        tokens, positions = self.embeddings(images), {}
        if self.rotary is not None:
            positions = {"position_embeddings": tuple(p.to(tokens.dtype) for p in self.rotary(images))}
        for layer in self.layers:
            tokens = layer(tokens, **positions)
        return (tokens, *positions.get("position_embeddings", ()))


class TokenHead(nn.Module):
    """EoMT (CVPR 2025), also with DINOv3: the last layers, which process the queries, and the two heads.

    Without the masked attention used in training, which a trained network does not need: `attn_mask_probs` of its
    checkpoint are 0 (section 3.3 of the paper).
    """

    def __init__(self, model: Any):
        super().__init__()
        config = model.config
        self.query, self.layernorm = model.query, model.layernorm
        self.layers = nn.ModuleList(model.layers[-config.num_blocks :])
        self.upscale, self.mask_head, self.class_predictor = (
            model.upscale_block,
            model.mask_head,
            model.class_predictor,
        )
        self.prefix = config.num_queries + 1 + config.num_register_tokens
        self.queries, self.grid = config.num_queries, tuple(model.grid_size)

    def forward(self, features: Features) -> Logits:
        tokens, *positions = features
        named = {"position_embeddings": tuple(positions)} if positions else {}
        tokens = torch.cat((self.query.weight[None].expand(tokens.shape[0], -1, -1), tokens), dim=1)
        for layer in self.layers:
            tokens = layer(tokens, **named)
        tokens = self.layernorm(tokens)
        queries, patches = tokens[:, : self.queries], tokens[:, self.prefix :]
        maps = self.upscale(patches.transpose(1, 2).unflatten(2, self.grid))
        return self.class_predictor(queries), torch.einsum("bqc,bchw->bqhw", self.mask_head(queries), maps)


def _of_maps(head: Callable[..., nn.Module]) -> Callable[..., tuple[nn.Module, nn.Module]]:
    return lambda model, tokens: (MapEncoder(model.model.pixel_level_module.encoder), head(model))


def _oneformer(model: Any, task_tokens: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    return MapEncoder(model.model.pixel_level_module.encoder), OneFormerHead(model, task_tokens)


def _of_tokens(model: Any, task_tokens: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    return TokenEncoder(model), TokenHead(model)


# model_type of transformers -> (model, task tokens) -> (encoder, head)
FAMILIES = {
    "maskformer": _of_maps(MaskFormerHead),
    "mask2former": _of_maps(Mask2FormerHead),
    "oneformer": _oneformer,
    "eomt": _of_tokens,
    "eomt_dinov3": _of_tokens,
}
