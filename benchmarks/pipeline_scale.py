"""What a pipeline costs as its pictures become more: a table a size, and one of who works.

    python benchmarks/pipeline_scale.py 1000 10000 100000 --crews serial,processes,ray --out FILE

Every run is a process of its own, so that its peak of memory is its own. Where cores are shared
with other work wall clocks mean little, so CPU seconds are told, of the process and all below it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from personae.compute.ray_workers import RayData
from personae.compute.workers import Processes, Serial
from personae.data.pipeline.duplicates import Unlike
from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.looks import perceptual_hash, sharpness
from personae.data.pipeline.runner import run_pipeline
from personae.data.pipeline.step import Files, Licensed

SIDE_PX, EMBEDDED = 32, 100
CREWS = {"serial": Serial, "processes": lambda: Processes(2), "ray": lambda: RayData(2)}


def picture_of(number: int) -> np.ndarray:
    """A picture (32, 32, 3) of soft stripes and noise; one in ten is nearly that before it."""
    own = number - 1 if number % 10 == 9 else number
    rng = np.random.default_rng(own)
    coarse = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    return np.clip(
        coarse + np.random.default_rng(number).normal(0, 4, coarse.shape), 0, 255
    ).astype(np.uint8)


@dataclass(frozen=True)
class Seen:
    """Draws a picture and keeps it, with its hash and how sharp it is."""

    name: str = "seen"

    def settings(self):
        return {"side": SIDE_PX}

    def build(self):
        return None

    def work(self, state: None, items: Sequence[Item], files: Files) -> Made:
        made, lost = [], []
        for item in items:
            picture = picture_of(item.data["n"])
            sharp = sharpness(picture)
            if sharp < 1:
                lost.append(Lost(item.id, "not sharp", detail=f"{sharp:.1f}"))
                continue
            path = files.save(item.id, picture)
            data = {**item.data, "hash": perceptual_hash(picture), "sharp": round(sharp, 1)}
            made.append(item.child(item.id, self.name, files={"image": path}, data=data))
        return Made(tuple(made), tuple(lost))


@dataclass(frozen=True)
class Embedded:
    """One picture in a hundred, as an eye sees it; the others go on unseen."""

    name: str = "embedded"

    def settings(self):
        return {"one_in": EMBEDDED}

    def build(self):
        from personae.vision.embedders import EfficientNetEmbedder

        return EfficientNetEmbedder()

    def work(self, state, items: Sequence[Item], files: Files) -> Made:
        import torch

        made = []
        for item in items:
            data = dict(item.data)
            if item.data["n"] % EMBEDDED == 0:
                picture = torch.from_numpy(files.picture(item).copy()).permute(2, 0, 1)[None] / 255
                with torch.no_grad():
                    data["seen"] = state.embed_scaled(picture)[0, :8].tolist()
            made.append(item.child(item.id, self.name, data=data))
        return Made(tuple(made))


def source(count: int):
    """Items of albums of four; one in twenty has no license."""
    for n in range(count):
        yield Item(
            id=f"p{n:07d}",
            group=f"a{n // 4:07d}",
            data={"n": n},
            license=None if n % 20 == 7 else "cc0",
        )


class Watch(threading.Thread):
    """CPU seconds and the peak of memory of this process and all below it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds: dict[tuple[int, float], float] = {}
        self.peak = self.own_peak = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.25):
            self.look()

    def look(self) -> None:
        own, total = psutil.Process(), 0
        for process in [own, *own.children(recursive=True)]:
            try:
                used = process.cpu_times()
                size = process.memory_info().rss
                self.seconds[process.pid, process.create_time()] = used.user + used.system
            except psutil.Error:
                continue
            total += size
            if process.pid == own.pid:
                self.own_peak = max(self.own_peak, size)
        self.peak = max(self.peak, total)

    def cpu(self) -> float:
        self.look()
        return sum(self.seconds.values())


def one(count: int, crew: str, shard: int, out: Path) -> dict[str, Any]:
    """A run, and a second one that finds all there."""
    watch = Watch()
    watch.look()
    base = watch.own_peak
    watch.start()
    steps = [Seen(), Licensed(("cc0",)), Unlike(), Embedded()]
    marks: dict[str, float] = {}
    start, first = time.perf_counter(), watch.cpu()

    def tell(step: str, done: int, total: int) -> None:
        if done == total:
            marks[step] = watch.cpu()

    account = run_pipeline(
        source(count), steps, out, workers=CREWS[crew](), shard_items=shard, progress=tell
    )
    cpu, elapsed = watch.cpu() - first, time.perf_counter() - start
    before, stages = first, {}
    for step in account.steps:
        stages[step.name] = round(marks[step.name] - before, 3)
        before = marks[step.name]
    peak, own = watch.peak, watch.own_peak
    found = [path.stat() for path in out.rglob("*")]
    start, first = time.perf_counter(), watch.cpu()
    again = run_pipeline(source(count), steps, out, shard_items=shard)
    resume, resume_s = watch.cpu() - first, time.perf_counter() - start
    watch.over.set()
    assert all(step.num_made == 0 for step in again.steps)
    return {
        "count": count, "crew": crew, "shard": shard,
        "out": account.steps[-1].num_out, "dropped": [dict(s.dropped) for s in account.steps],
        "cpu_s": round(cpu, 2), "wall_s": round(elapsed, 2), "stages": stages,
        "work_s": {step.name: round(step.seconds, 2) for step in account.steps},
        "base_mib": base >> 20, "own_peak_mib": own >> 20, "peak_mib": peak >> 20,
        "mib": round(sum(s.st_size for s in found) / 2**20, 1),
        "disk_mib": round(sum(s.st_blocks * 512 for s in found) / 2**20, 1), "inodes": len(found),
        "resume_cpu_s": round(resume, 2), "resume_wall_s": round(resume_s, 2),
    }  # fmt: skip


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("counts", nargs="+", type=int)
    ask.add_argument("--crews", default="serial")
    ask.add_argument("--shard", type=int, default=256)
    ask.add_argument("--out", type=Path, help="lines of JSON")
    ask.add_argument("--one", action="store_true", help="this process is one run")
    asked = ask.parse_args()
    for count in asked.counts:
        for crew in asked.crews.split(","):
            if asked.one:
                with tempfile.TemporaryDirectory() as folder:
                    print(json.dumps(one(count, crew, asked.shard, Path(folder) / "run")))
                continue
            told = subprocess.run(
                [sys.executable, __file__, str(count), "--crews", crew, "--one",
                 "--shard", str(asked.shard)],
                check=True, capture_output=True, text=True,
            ).stdout.splitlines()[-1]  # fmt: skip
            print(told, flush=True)
            if asked.out:
                with asked.out.open("a") as stream:
                    stream.write(told + "\n")


if __name__ == "__main__":
    main()
