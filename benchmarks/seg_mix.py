"""Seg-Mix: pictures a second, against the most direct program of the same steps.

    python benchmarks/seg_mix.py [--size 1024] [--photo 1440] [--count 60] [--processes 2]
        [--device cuda] [--batch 16]

The direct program does for every picture what MuDI's own does, written anew from its description:
both photos (1440 pixels a side, in memory) are cut out along the mask's box, image and mask resized
from there to the drawn scale, put on black, white where no mask is, the one behind cleared where
they overlap. Ours cuts and shrinks each photo once. With ``--device cuda`` the batched version is
timed against ours on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from personae.data.collage_batch import render_collages
from personae.data.collages import Piece, pre_scaled
from personae.data.seg_mix import SegMixRecipe, plan_collage, seg_mix
from personae.subjects.collage import CutOut, cut_out
from personae.subjects.mask import mask_box


@dataclass(frozen=True)
class Photo:
    image: np.ndarray
    mask: np.ndarray


def photos(side: int, number: int, seed: int) -> list[Photo]:
    """Smooth noise with an ellipse of 0.5 to 0.8 of the side."""
    rng, made = np.random.default_rng(seed), []
    y, x = np.mgrid[:side, :side] / side - 0.5
    for _ in range(number):
        small = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8))
        image = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))
        wide, high = rng.uniform(0.25, 0.4, 2)
        made.append(Photo(image, (x / wide) ** 2 + (y / high) ** 2 <= 1))
    return made


def direct(pair: list[Photo], rng: np.random.Generator, size: int) -> np.ndarray:
    """One collage of two, everything anew."""
    pictures, covers = [], []
    first = rng.random() < 0.5
    for place, photo in enumerate(pair):
        left, top, right, bottom = (int(v) for v in mask_box(photo.mask).xyxy)
        image = Image.fromarray(photo.image).crop((left, top, right, bottom))
        mask = Image.fromarray(photo.mask.astype(np.uint8) * 255).crop((left, top, right, bottom))
        most = min((size // 2 - 32) / image.width, (size - 32) / image.height)
        scale = rng.uniform(0.75 * most, most)
        sides = (int(image.width * scale), int(image.height * scale))
        image, mask = image.resize(sides), mask.resize(sides)
        edge, level = int(rng.integers(1, size // 4)), int(rng.integers(size - sides[1] + 1))
        start = edge if (place == 0) == first else size - edge - sides[0]
        picture, cover = np.zeros((size, size, 3)), np.zeros((size, size, 1), bool)
        inside = (np.asarray(mask) > 122)[..., None]
        part = (slice(level, level + sides[1]), slice(start, start + sides[0]))
        picture[part] = np.asarray(image) * inside
        cover[part] = inside
        pictures.append(picture)
        covers.append(cover)
    behind, front = (0, 1) if rng.random() < 0.5 else (1, 0)
    picture = pictures[behind] * ~covers[front] + pictures[front]
    picture[~(covers[0] | covers[1])[..., 0]] = 255
    return picture.astype(np.uint8)


def pieces_of(made: list[Photo], size: int) -> list[Piece]:
    cuts = [Piece(str(n), cut_out(one.image, one.mask)) for n, one in enumerate(made)]
    return [pre_scaled(cut, (size, size)) for cut in cuts]


def run_direct(seed: int, side: int, size: int, count: int) -> float:
    made, rng = photos(side, 10, 0), np.random.default_rng(seed)
    direct(made[:2], rng, size)
    began = time.perf_counter()
    for _ in range(count):
        direct([made[int(n)] for n in rng.choice(10, 2, replace=False)], rng, size)
    return time.perf_counter() - began


def run_ours(seed: int, side: int, size: int, count: int) -> float:
    made, rng = pieces_of(photos(side, 10, 0), size), np.random.default_rng(seed)
    seg_mix(made[:2], rng, (size, size))
    began = time.perf_counter()
    for _ in range(count):
        seg_mix([made[int(n)] for n in rng.choice(10, 2, replace=False)], rng, (size, size))
    return time.perf_counter() - began


def rate(work: Callable[..., float], choice: argparse.Namespace, processes: int) -> float:
    """Pictures a second of all processes together."""
    told = (choice.photo, choice.size, choice.count)
    if processes == 1:
        return choice.count / work(0, *told)
    with ProcessPoolExecutor(processes) as pool:
        jobs = [pool.submit(work, seed, *told) for seed in range(processes)]
        return processes * choice.count / max(job.result() for job in jobs)


def batched(choice: argparse.Namespace) -> float:
    rng, size = np.random.default_rng(0), (choice.size, choice.size)
    made, recipe = pieces_of(photos(choice.photo, 10, 0), choice.size), SegMixRecipe()
    made = [Piece(one.subject, CutOut(one.cut.image, one.cut.mask)) for one in made]
    canvases = torch.ones(choice.batch, 3, *size, device=choice.device)

    def once() -> None:
        groups = [[made[int(n)] for n in rng.choice(10, 2, False)] for _ in range(choice.batch)]
        render_collages([plan_collage(g, rng, size, recipe) for g in groups], groups, canvases)
        if choice.device != "cpu":
            torch.cuda.synchronize()

    once()
    times = max(choice.count // choice.batch, 2)
    began = time.perf_counter()
    for _ in range(times):
        once()
    return times * choice.batch / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--photo", type=int, default=1440)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device")
    parser.add_argument("--batch", type=int, default=16)
    choice = parser.parse_args()
    torch.set_num_threads(1)
    base = rate(run_direct, choice, 1)
    print(f"direct, 1 process: {base:.1f} pictures a second")
    for processes in dict.fromkeys((1, choice.processes)):
        ours = rate(run_ours, choice, processes)
        print(f"ours, {processes} processes: {ours:.1f} a second, {ours / base:.1f} times")
    if choice.device:
        one, many = rate(run_ours, choice, 1), batched(choice)
        print(
            f"batched on {choice.device}: {many:.1f} a second, {many / one:.1f} times ours on one"
        )


if __name__ == "__main__":
    main()
