"""How the report behaves at 20,000 pictures: time and memory to write, size, speed in a browser.

    python benchmarks/report_size.py [--pictures 20000] [--files 300] [--browser]

The pictures are made up (noise over shapes, 512 x 512 JPEG), a few hundred files used again and
again, but every picture is decoded and shrunk anew, as if each had a file of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from personae.report import write_report

SUBJECTS = ("ann", "bob", "cup")
METRICS = (
    "strict_id_similarity",
    "strict_id_confusion",
    "strict_subject_consistency",
    "presence",
)
PER_PICTURE = ("strict_matching_reward", "strict_detect_and_compare", "balance", "copy_paste")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--references", type=int, default=150)
    parser.add_argument("--browser", action="store_true", help="also open it in Chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder, options.files, options.references)
        rows = write_rows(folder, options.pictures, options.files, options.references)
        start, start_cpu = time.perf_counter(), time.process_time()
        out = write_report(folder)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"pictures                  {options.pictures:>10,}")
        print(f"rows                      {rows:>10,}")
        print(
            f"results.jsonl             {(folder / 'results.jsonl').stat().st_size / 1e6:>10.1f} MB"
        )
        print(f"time to write             {seconds:>10.1f} s")
        print(f"processor time            {cpu:>10.1f} s")
        print(f"a picture                 {1000 * seconds / options.pictures:>10.2f} ms")
        print(f"peak memory               {peak:>10.0f} MiB")
        print(f"report.html               {out.stat().st_size / 1e6:>10.1f} MB")
        if options.browser:
            look(out, folder)


def write_pictures(folder: Path, files: int, references: int) -> None:
    generator = np.random.default_rng(0)
    (folder / "images").mkdir()
    (folder / "refs").mkdir()
    for number in range(files + references):
        # Coarse noise under fine noise is about as hard to compress as a photograph.
        coarse = Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8))
        picture = coarse.resize((512, 512), Image.Resampling.BICUBIC)
        fine = Image.fromarray(generator.integers(0, 256, (256, 256, 3), np.uint8))
        picture = Image.blend(picture, fine.resize((512, 512)), 0.12)
        left, top = generator.integers(0, 300, 2)
        color = tuple(int(shade) for shade in generator.integers(0, 256, 3))
        ImageDraw.Draw(picture).ellipse((left, top, left + 180, top + 200), fill=color)
        place = "images" if number < files else "refs"
        picture.save(
            folder / place / f"{number % files if place == 'images' else number - files}.jpg"
        )


def write_rows(folder: Path, pictures: int, files: int, references: int) -> int:
    chance = random.Random(0)
    scenes, count = max(1, pictures // 10), 0
    with (folder / "scenes.jsonl").open("w") as file:
        for scene in range(scenes):
            subjects = {
                name: {
                    "noun": name,
                    "kind": "person",
                    "references": [f"refs/{chance.randrange(references)}.jpg" for _ in range(2)],
                }
                for name in SUBJECTS
            }
            prompt = "{ann} and {bob} sit at a long wooden table with {cup} between them, evening"
            line = {"id": f"scene-{scene:05}", "prompt": prompt, "subjects": subjects}
            file.write(json.dumps(line) + "\n")
    with (folder / "results.jsonl").open("w") as file:
        for number in range(pictures):
            for row in rows_of(number, files, chance):
                file.write(json.dumps(row) + "\n")
                count += 1
    (folder / "run.json").write_text(json.dumps({"scenes": "scenes.jsonl", "images": "images"}))
    return count


def rows_of(number: int, files: int, chance: random.Random) -> list[dict]:
    base = {
        "scene": f"scene-{number // 10:05}",
        "seed": number % 10,
        "image": f"{number % files}.jpg",
        "protocol": "strict",
        "eyes": "dlib-face-resnet-v1",
        "unmeasured": None,
        "details": None,
    }
    rows = []
    for metric in PER_PICTURE:
        rows.append(base | {"metric": metric, "subject": None, "value": chance.random()})
    rows[0]["details"] = details(chance)
    for metric in METRICS:
        for subject in SUBJECTS:
            row = base | {"metric": metric, "subject": subject, "value": chance.random()}
            if metric == "presence":
                value = chance.choice((1.0, 1.0, 1.0, 0.5, 0.0))
                row["value"] = value
                copies = {1.0: 1, 0.5: 2, 0.0: 0}[value]
                row["details"] = {"found": value > 0, "copies": copies, "absent": value == 0}
            rows.append(row)
    return rows


def details(chance: random.Random) -> dict:
    boxes = [[60 + 150 * k, 80, 180 + 150 * k, 240] for k in range(3)]
    similarity = [[chance.random() for _ in boxes] for _ in SUBJECTS]
    return {
        "kind": "person",
        "subjects": list(SUBJECTS),
        "boxes": boxes,
        "scores": [0.9] * 3,
        "similarity": similarity,
        "match": [0, 1, 2],
        "strangers": [],
        "duplicates": [],
        "size": [512, 512],
        "notes": [],
    }


TIMED = """(change) => {
    const start = performance.now();
    change();
    document.getElementById('gallery').getBoundingClientRect();
    return performance.now() - start;
}"""
PRESS = "[...document.querySelectorAll('nav button')].find((b) => b.textContent === '{}').click()"
ORDER = "{{ const menu = document.getElementById('sort'); menu.value = '{}'; "
ORDER += "menu.dispatchEvent(new Event('change')); }}"
FILTER = "document.querySelector('[data-filter=absent]').click()"
FIRST = "Number(document.documentElement.dataset.firstMs)"
LOADED = "performance.getEntriesByType('navigation')[0].loadEventStart"


def look(out: Path, folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.report.chromium import Browser, find_browser

    program = find_browser()
    if program is None:
        print("no Chromium on PATH")
        return
    with Browser(program, folder / "profile") as browser:

        def timed(change: str) -> float:
            return browser.js(f"({TIMED})(() => {{ {change} }})")

        browser.open(out.as_uri())
        print(f"first pictures shown      {browser.js(FIRST):>10.0f} ms")
        print(f"whole file loaded         {browser.js(LOADED):>10.0f} ms")
        turns = sorted(timed(PRESS.format("Next")) for _ in range(11))
        print(f"next page, median of 11   {turns[5]:>10.0f} ms")
        print(f"next page, slowest        {turns[-1]:>10.0f} ms")
        print(f"last page                 {timed(PRESS.format('Last')):>10.0f} ms")
        orders = [timed(ORDER.format(column)) for column in (1, 2, 3)]
        print(f"another order, worst of 3 {max(orders):>10.0f} ms")
        print(f"filter                    {timed(FILTER):>10.0f} ms")
        heap = browser.call("Runtime.getHeapUsage")["usedSize"] / 1e6
        print(f"script heap               {heap:>10.1f} MB")
        print(f"console messages          {len(browser.problems()):>10}")


if __name__ == "__main__":
    main()
