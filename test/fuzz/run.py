# SPDX-License-Identifier: Apache-2.0
"""The long fuzz, with a new seed each time: `make fuzz SECONDS=600`, or `python test/fuzz/run.py --seconds 600`.

Inputs run in a process of their own with limits of memory and time, so that a crash and a hang are findings too. Each
finding is printed with the command that repeats it; the exit code is 1 if there was one.
"""

import argparse
import collections
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
from targets import TARGETS

from yoso_ros.errors import InputError

MEMORY_BYTES = 6 << 30  # of address space
INPUT_S = 30  # for one input
BATCH_S = 20  # inputs of one process


def parse():
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: %(default)s)")
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    parser.add_argument("--seed", type=int, help="with --target: this one input, with its traceback")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def attack(name, seed, folder):
    """One input: "read", "refused", or the traceback of a fault."""
    signal.alarm(INPUT_S)
    try:
        TARGETS[name](np.random.default_rng(seed), folder)
    except InputError:
        return "refused"
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    return "read"


def child(options):
    """Inputs from a first seed on; prints "begin NAME SEED" and the outcome of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    names, end = [options.target] if options.target else list(TARGETS), time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.child, options.child + 10**6):
            if time.monotonic() >= end:
                return
            name = names[seed % len(names)]
            print("begin", name, seed, flush=True)
            outcome = attack(name, seed, Path(folder))
            print("end", outcome if outcome in ("read", "refused") else f"fault {outcome.splitlines()[-1]}", flush=True)


def main():
    """Run children until the time is over; the exit code."""
    options = parse()
    if options.child is not None:
        child(options)
        return 0
    if options.seed is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(attack(options.target or next(iter(TARGETS)), options.seed, Path(folder)))
        return 0
    counts, findings, end = collections.defaultdict(collections.Counter), {}, time.monotonic() + options.seconds
    while (left := end - time.monotonic()) > 0:
        command = [sys.executable, __file__, "--child", str(secrets.randbits(40)), "--seconds", str(min(left, BATCH_S))]
        command += ["--target", options.target] if options.target else []
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        begun = None
        for line in done.stdout.splitlines():
            word, _, rest = line.partition(" ")
            if word == "begin":
                begun = rest.split()
            elif word == "end" and begun:
                outcome = rest.split(" ")[0]
                counts[begun[0]][outcome] += 1
                if outcome == "fault":
                    findings.setdefault((begun[0], rest[6:60]), (begun[1], rest[6:300]))
                begun = None
        if begun:
            counts[begun[0]]["ended the process"] += 1
            findings.setdefault(
                (begun[0], done.returncode), (begun[1], f"exit {done.returncode}: {done.stderr[-200:]}")
            )
    for name, counter in counts.items():
        print(f"{name:14s} {sum(counter.values()):7d} inputs: {dict(counter)}")
    for (name, _), (seed, text) in findings.items():
        print(f"FINDING {text}\n  again: python test/fuzz/run.py --target {name} --seed {seed}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
