"""Small folders as the suites' files are, with made-up photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def photo(path: Path, seed: int = 0, size=(48, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def item(index: int, prompt: str, *subjects: tuple[str, str]) -> dict:
    """An item of XVerseBench's lists: (path below assets/XVerseBench, word of the prompt)."""
    return {
        "index": index,
        "input_images": [],
        "position_delta": [0, -32],
        "prompt": prompt,
        "modulation": [
            {
                "type": "adapter",
                "src_inputs": [
                    {"image_path": f"assets/XVerseBench/{path}", "caption": f"a {word}"}
                    for path, word in subjects
                ],
                "use_words": [[place, word, word] for place, (_, word) in enumerate(subjects)],
            }
        ],
    }


def tree(prompt: str) -> dict:
    return {
        "prompt": prompt,
        "qid2tuple": {"1": "entity", "2": "entity"},
        "qid2dependency": {"1": [0], "2": [1]},
        "qid2question": {"1": "Is there a man?", "2": "Is he there?"},
    }


def xverse_folder(folder: Path, *, things: bool = True) -> Path:
    """Two scenes of one subject and two of two; without ``things`` only people have photos."""
    single = [
        item(0, "a man in a park", ("human/05_man.jpg", "man")),
        item(1, "a mug on a table", ("object/27_mug.jpg", "mug")),
    ]
    multi = [
        item(
            0, "A man is holding a mug.", ("human/05_man.jpg", "man"), ("object/27_mug.jpg", "mug")
        ),
        item(
            1,
            "An old man and a man {talking}.",
            ("human/16_old man.jpg", "old man"),
            ("human/05_man.jpg", "man"),
        ),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for name, items in {"single": single, "multi": multi}.items():
        (folder / f"XVerseBench_{name}.json").write_text(json.dumps(items))
        trees = [tree(one["prompt"]) for one in items]
        (folder / f"XVerseBench_{name}_DSG.json").write_text(json.dumps(trees))
    photo(folder / "human" / "05_man.jpg", 1)
    photo(folder / "human" / "16_old man.jpg", 2)
    if things:
        photo(folder / "object" / "27_mug.jpg", 3)
    return folder
