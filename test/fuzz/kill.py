# SPDX-License-Identifier: Apache-2.0
"""Whole commands killed (SIGKILL) at random moments: `python test/fuzz/kill.py --tries 20`.

For each command: two runs to the end show which files come out the same each time. Then each try kills the command with
all its processes at a random moment, half of them after it has written its first file. Whatever then lies under a final
name must be whole, and the same command must succeed and leave the files of an undisturbed run and nothing else. The
exit code is 1 where that does not hold.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODEL = "yoso_mobilenetv2_synthetic"
FETCHED = "yoso_res50_coco.pth"  # a name in config/weights.yaml without a digest, so that any weights that fit will do
RUN_S = 1800.0  # longest run of a command that is not killed
RECIPE = f"""model: {MODEL}
augmentation: {{crop_height: 64, crop_width: 64, scale_min: 0.9, scale_max: 1.1}}
criterion: {{num_points: 64}}
iterations: 4
batch_size: 2
learning_rate: 0.0005
validate_every: 2
seed: 1
"""
# Words of each command; {inputs} has what `prepare` made, {out} is empty before the first run.
COMMANDS = {
    "synthesize": "synthesize --output {out}/data --split val --count 12 --size 160x120 --depth",
    "segment": "segment {inputs}/data/images/train --model yoso_mobilenetv2_synthetic --output {out}/segment",
    "evaluate": "evaluate --model yoso_mobilenetv2_synthetic --data {inputs}/data --split train --output {out}/report",
    "evaluate-bag": "evaluate-bag {inputs}/bag --model yoso_mobilenetv2_synthetic --save-labels --output {out}/report",
    "bag select": "bag select {inputs}/bag --model yoso_mobilenetv2_synthetic --count 4 --output {out}/select",
    "bag label": "bag label {inputs}/data/images/train --model yoso_mobilenetv2_synthetic --output {out}/own",
    "convert": "convert {inputs}/weights.safetensors --model yoso_mobilenetv2_synthetic --output {out}/w.safetensors",
    "export": "export --model yoso_mobilenetv2_synthetic --size 64x96 --output {out}/yoso.onnx",
    "quantize": "quantize --model yoso_mobilenetv2_synthetic --calibration {inputs}/data/images/train --frames 2 "
    "--output {out}/int8",
    "train": "train {inputs}/recipe.yaml --data {inputs}/data --val-split train --save-every 1 --output {out}/train",
    "download": "download yoso_r50_coco",
}


def parse():
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=4, help="kills of each command (default: %(default)s)")
    parser.add_argument("--command", choices=COMMANDS, help="only this one")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the moments (default: the time)")
    return parser.parse_args()


def main():
    """Try the commands; prints one line for each, and one for each fault."""
    options = parse()
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs"
        prepare(inputs)
        for name in [options.command] if options.command else COMMANDS:
            moments = random.Random(f"{options.seed} {name}")
            found, killed, written = attack(name, inputs, Path(folder) / "work", options.tries, moments)
            for line in found:
                print(f"{name}: {line}", flush=True)
            print(f"{name}: {killed} killed, {written} of them after the first file, {len(found)} faults", flush=True)
            faults += len(found)
    print(f"seed {options.seed}, {faults} faults")
    return 1 if faults else 0


def prepare(inputs):
    """A data set, a recording, a recipe and weights."""
    import torch

    from yoso_ros.models import create_model, load_config
    from yoso_ros.resources import checkpoint_path

    inputs.mkdir()
    words = f"synthesize --output {inputs}/data --count 4 --size 96x64 --bag {inputs}/bag".split()
    subprocess.run([sys.executable, "-m", "yoso_ros", *words], check=True, capture_output=True)
    (inputs / "recipe.yaml").write_text(RECIPE)
    shutil.copy(checkpoint_path(MODEL), inputs / "weights.safetensors")
    torch.save(create_model(load_config("yoso_r50_coco")).state_dict(), inputs / FETCHED)


def attack(name, inputs, work, tries, moments):
    """Kill one command; returns (list of faults, number of runs that were killed, of these after the first file)."""
    references, duration = [], 0.0
    for _ in range(2):
        shutil.rmtree(work, ignore_errors=True)
        begin = time.monotonic()
        code, said = run(name, inputs, work)
        duration = time.monotonic() - begin
        if code:
            return [f"the undisturbed run ends with {code}: {said}"], 0, 0
        references.append(contents(work))
    first = references[0]
    same = {path: data for path, data in first.items() if references[1].get(path) == data}
    faults, killed, written = [], 0, 0
    for number in range(tries):
        shutil.rmtree(work, ignore_errors=True)
        process = start(name, inputs, work)
        if number % 2:
            while process.poll() is None and not any(p.is_file() for p in work.rglob("*") if p.name != "log"):
                time.sleep(0.002)
            time.sleep(moments.uniform(0, 0.3 * duration) ** 2 / (0.3 * duration))
        else:
            time.sleep(moments.uniform(0, duration))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            continue
        killed += 1
        left = contents(work)
        written += bool(left)
        faults += [f"after a kill {line}" for line in half_written(left, same)]
        code, said = run(name, inputs, work)
        if code:
            faults.append(f"the run after a kill ends with {code}: {said}")
            continue
        now = contents(work)
        faults += [f"the run after a kill leaves {path} out" for path in sorted(set(first) - set(now))]
        faults += [f"the run after a kill leaves {path} behind" for path in sorted(set(now) - set(first))]
        faults += [f"after a kill and a run {line}" for line in half_written(now, same)]
    return faults, killed, written


def start(name, inputs, work):
    """The command in a process group of its own; a training that has a state goes on from it."""
    for folder in ("out", "cache"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    words = [word.format(inputs=inputs, out=work / "out") for word in COMMANDS[name].split()]
    if name == "segment":
        words[1:2] = map(str, sorted(Path(words[1]).iterdir()))
    if (work / "out/train/state.pt").is_file():
        words.append("--resume")
    environment = {**os.environ, "YOSO_CACHE": str(work / "cache"), "YOSO_MIRROR": str(inputs)}
    with open(work / "log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "yoso_ros", *words], env=environment, stdout=log, stderr=log, start_new_session=True
        )


def run(name, inputs, work):
    """The command to its end: (exit code, last line that it printed)."""
    code = start(name, inputs, work).wait(RUN_S)
    return code, ((work / "log").read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]


def contents(work):
    """Path and bytes of each file in the output and the cache."""
    files = (path for folder in ("out", "cache") for path in (work / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(work)): path.read_bytes() for path in files}


def half_written(files, same):
    """Faults of files under final names: they must be as in an undisturbed run where that is always the same."""
    for path, data in files.items():
        parts = Path(path).parts
        if any(part.startswith(".") for part in parts) or path.endswith(".part"):
            continue  # a temporary name
        if path in same and data != same[path]:
            yield f"{path} has {len(data)} bytes that differ from the {len(same[path])} of an undisturbed run"
        elif path.endswith(".json"):
            try:
                json.loads(data)
            except ValueError:
                yield f"{path} is no JSON"
        elif not data and path not in same:
            yield f"{path} is empty"


if __name__ == "__main__":
    sys.exit(main())
