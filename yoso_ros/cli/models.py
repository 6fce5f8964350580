# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros models`: the table of models, or the card of one."""

SUMMARY = "List the models, or show the card of one: origin, licence, data, quality, digest, use and limits."
EXAMPLE = "yoso-ros models yoso_r50_coco"


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument(
        "name",
        nargs="?",
        help="name of a model, hf:ORG/NAME, or a .safetensors file of this package (default: list all models)",
    )


def run(arguments):
    """Print the table or the card."""
    from yoso_ros.weights.cards import model_card, models_table

    print(model_card(arguments.name) if arguments.name else models_table())
    return 0
