# SPDX-License-Identifier: Apache-2.0
"""Universal segmentation models of the Hugging Face hub, run by the package transformers."""
