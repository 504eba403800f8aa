"""How fast videos are anonymized end to end, what each stage takes, and how much memory long ones need."""

import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

SIZE = (360, 640)
WALK, EMPTY = 120, 60
"""Frames of the walk and of the empty scene before it."""

LONG = 10
"""How many times longer the long video is."""

STAGES = {
    "decoding": ("process.py", "fill"),
    "empty scene": ("background.py", "find_background"),
    "its verification": ("doubt.py", "doubtful"),
    "changes and detections": ("tracking.py", "changed"),
    "segmentation": ("segmentation.py", "segment"),
    "the method": ("compose.py", "_stretch"),
    "putting frames together, the method left out": ("compose.py", "compose"),
    "encoding": ("writer.py", "add"),
}
"""What is timed, by the file and function in which it happens."""


def _film(path: Path, walks: int) -> None:
    """Write a film of a walker who comes again and again."""
    from gaitkeeper.perception.stream import Recording
    from gaitkeeper.perception.writer import Writer
    from gaitkeeper.synthetic.population import Population
    from gaitkeeper.synthetic.video import video
    from gaitkeeper.synthetic.walkers import Walkers

    footage = video(Walkers(Population()), 5, "nm-01", 90, frames=WALK, rows=SIZE[0], columns=SIZE[1])
    noise = np.random.default_rng(0).normal(0, 1.5, (EMPTY, *footage.background.shape))
    empty = (footage.background + noise).round().clip(0, 255).astype(np.uint8)
    once = np.concatenate([empty, footage.frames])
    fps = Fraction(footage.fps)
    with Writer(path, Recording(path=path, rows=SIZE[0], columns=SIZE[1], fps=fps)) as writer:
        for number in range(walks * len(once)):
            writer.add(once[number % len(once)], number / fps)


def _run(source: Path, target: Path, method: str) -> dict[str, object]:
    """Anonymize in this process and return its figures."""
    from gaitkeeper.anonymize.run import anonymize_file
    from gaitkeeper.anonymize.settings import AnonymizeSettings

    settings = AnonymizeSettings(method=method, seed=1)  # type: ignore[arg-type]
    anonymize_file(source, target, settings)  # compiles, loads and renders what later runs share
    profile = cProfile.Profile()
    start = time.perf_counter()
    profile.enable()
    done = anonymize_file(source, target, settings)
    profile.disable()
    seconds = time.perf_counter() - start
    times = {
        stage: sum(
            total
            for (file, _, name), (_, _, _, total, _) in pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
            if name == function and file.endswith(ending)
        )
        for stage, (ending, function) in STAGES.items()
    }
    times["putting frames together, the method left out"] -= times["the method"]
    # The system's own peak counts what the parent process had before this one began.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    memory = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return {"frames": len(done.shown), "seconds": seconds, "stages": times, "memory": memory}


def _measured(source: Path, method: str) -> dict[str, object]:
    """Return the figures of a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "benchmarks.anonymizing", str(source), str(source.with_name("out.mp4")), method]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def main() -> None:
    """Print frames a second, the ratio to blur in the same pipeline, shares of the stages, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder) / "short.mp4", Path(folder) / "long.mp4"
        _film(short, 2)
        _film(long, 2 * LONG)
        found = {method: _measured(short, method) for method in ("replacement", "st-gan", "blur")}
        longer = _measured(long, "replacement")
    rates = {method: figures["frames"] / figures["seconds"] for method, figures in found.items()}
    size = f"{SIZE[1]}x{SIZE[0]}"
    for method, rate in rates.items():
        ratio = f", {rate / rates['blur']:.2f} times blur's rate in the same pipeline" if method != "blur" else ""
        print(f"anonymizing: {method} {rate:.1f} frames a second at {size}, end to end{ratio}")
    figures = found["replacement"]
    shares = {stage: seconds / figures["seconds"] for stage, seconds in figures["stages"].items()}
    for stage, share in {**shares, "the rest": 1 - sum(shares.values())}.items():
        print(f"anonymizing: {100 * share:4.1f} % {stage}")
    times = longer["frames"] / figures["frames"]
    print(
        f"anonymizing: at most {figures['memory']:.0f} MB with {figures['frames']} frames, {longer['memory']:.0f} MB "
        f"with {longer['frames']}: {longer['memory'] / figures['memory']:.2f} times for {times:.0f} times the length"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
    else:
        main()
