# SPDX-License-Identifier: Apache-2.0
"""hub_sizes.py: its folders are models of this package, with the number of parameters that docs/hub_models.md says."""

import hub_sizes
import pytest
import script
import torch

from yoso_ros.models import create_model, load_config

pytest.importorskip("transformers", reason="needs transformers (yoso-ros[hub])")
PARAMETERS = {"eomt_small_640": 24.0, "mask2former_swin_tiny": 47.4, "maskformer_swin_tiny": 41.8}  # 10^6


def test_folders_are_models_of_the_published_sizes(tmp_path):
    assert script.main(hub_sizes, ["--output", str(tmp_path)]) == 0
    for name in hub_sizes.MODELS:
        config = load_config(str(tmp_path / name))
        with torch.device("meta"):
            network = create_model(config)
        millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        assert round(millions, 1) == PARAMETERS.get(name, round(millions, 1)), (name, millions)
