# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros export`: a model to a single ONNX file, checked and compared with the network."""

from pathlib import Path

SUMMARY = "Export a model to ONNX: uint8 RGB frames (B, H, W, 3) in, class logits and mask logits out."
EXAMPLE = "yoso-ros export --model yoso_mobilenetv2_camvid --size 360x480 --output yoso.onnx"
LARGEST_ERROR = 1e-3  # of an output, divided by its largest absolute value
COMPARED_SIZE = (192, 250)  # for a ranged graph; the width is not a multiple of 32


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument("--model", default="yoso_mobilenetv2_camvid", help="model name or YAML (default: %(default)s)")
    parser.add_argument("--weights", help="checkpoint (default: the one that comes with the model)")
    parser.add_argument("--output", required=True, help="file to write, .onnx")
    parser.add_argument(
        "--size", default="ranged", help="HxW of the frames, or ranged for any size (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=1, help="frames per pass, for a fixed size (default: %(default)s)")
    parser.add_argument(
        "--variant",
        default="portable",
        choices=("portable", "tensorrt"),
        help="portable runs everywhere (GridSample); tensorrt keeps DeformConv as one operator (default: %(default)s)",
    )
    parser.add_argument(
        "--compare",
        metavar="SOURCE",
        help="images to compare on: a bag, a folder of images, a video (default: made-up images)",
    )


def run(arguments):
    """Export; exit code 1 if onnxruntime's outputs for the file differ from torch's outputs for the network."""
    from yoso_ros.cli.quantize import read_frames
    from yoso_ros.errors import InputError
    from yoso_ros.files import write_file
    from yoso_ros.inference.engine_cache import export_onnx
    from yoso_ros.inference.export import compare_with_network
    from yoso_ros.inference.segmenter import load_network

    output = Path(arguments.output)
    if output.suffix != ".onnx":
        raise InputError(f"--output: expected a file name that ends in .onnx, found {output.name}")
    shape = _read_shape(arguments.size, arguments.batch)
    network = load_network(arguments.model, arguments.weights)
    pictures = read_frames(arguments.compare, None, arguments.batch) if arguments.compare else None
    graph = export_onnx(network, shape, arguments.variant)
    write_file(output, graph.SerializeToString())
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, passed the ONNX checker")
    try:
        errors = compare_with_network(graph, network, shape or (1, *COMPARED_SIZE), pictures)
    except ImportError as error:
        print(f"not compared with the network: {error}")
        return 0
    print(f"largest difference from torch: {', '.join(f'{name} {error:.1e}' for name, error in errors.items())}")
    return int(not max(errors.values()) <= LARGEST_ERROR)


def _read_shape(size, batch):
    from yoso_ros.cli.image_size import height_and_width
    from yoso_ros.errors import InputError

    if batch < 1:
        raise InputError(f"--batch: expected 1 or more, found {batch}")
    if size == "ranged":
        return None
    return batch, *height_and_width("--size", size, ["ranged"])
