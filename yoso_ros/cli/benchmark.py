# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark`: measurements on this machine, each compared with a stated baseline."""

import argparse
import importlib

SUMMARY = "Benchmark a part of the package on this machine against a stated baseline."
EXAMPLE = "yoso-ros benchmark merge --kept 30"

# Benchmark and its module, which has the same form as a subcommand.
BENCHMARKS = {
    "engines": "yoso_ros.cli.benchmark_engines",
    "masks": "yoso_ros.cli.benchmark_masks",
    "merge": "yoso_ros.cli.benchmark_merge",
    "modules": "yoso_ros.cli.benchmark_modules",
    "networks": "yoso_ros.cli.benchmark_networks",
    "node": "yoso_ros.cli.benchmark_node",
    "soak": "yoso_ros.cli.benchmark_soak",
    "throughput": "yoso_ros.cli.benchmark_throughput",
    "training": "yoso_ros.cli.benchmark_training",
}


def add_arguments(parser):
    """Add the benchmarks as subcommands."""
    benchmarks = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for name, module_name in BENCHMARKS.items():
        module = importlib.import_module(module_name)
        benchmark = benchmarks.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY,
            epilog=f"example: {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(benchmark)
        benchmark.set_defaults(run_benchmark=module.run)


def run(arguments):
    """Run one benchmark."""
    return arguments.run_benchmark(arguments)
