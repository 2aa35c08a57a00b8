"""Whole pictures in a suite: CLIP-I, DINO and AES with tiny models of the true classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from personae.cli import main
from personae.compute.runs import read_json, read_rows, write_json
from personae.errors import RequestError
from personae.evaluation.bench import Bench, run_bench
from personae.evaluation.suites.dreambench import DREAMBENCH
from personae.evaluation.suites.suite import SuiteOptions
from personae.evaluation.suites.xversebench import XVERSEBENCH
from personae.evaluation.whole import build_whole_models, whole_sources
from personae.metrics.cards import METRICS
from personae.metrics.witnesses import EyesChoice
from personae.report.bench_page import write_bench_page
from personae.vision.aesthetic import AestheticScorer
from tests.evaluation.suites.folders import photo, xverse_folder
from tests.vision.tiny_aesthetic import save_head, save_tiny_siglip
from tests.vision.tiny_clip import save_tiny_clip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP, DINO, SigLIP and a head, tiny and random."""
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("weights")
    save_tiny_clip(folder / "clip")
    save_tiny_siglip(folder / "siglip")
    save_head(folder / "head.safetensors", 32)
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ViTConfig(**small, intermediate_size=16, image_size=28, patch_size=14)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder / "dino")
    return folder


@pytest.fixture(autouse=True)
def without_eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other columns are not looked for: finding things in noise takes seconds."""

    def nobody_looks(task, progress=None) -> None:
        write_json(task.out / "run.json", {"eyes": {}, "problems": []})
        write_json(task.out / "summary.json", {"environment": {}})
        (task.out / "results.jsonl").touch()

    monkeypatch.setattr("personae.evaluation.bench.evaluate", nobody_looks)


def bench(suite, out: Path, data: Path, images: Path, *whole: str, **changes):
    settings = {"eyes": EyesChoice(cache=None), "model": "made", "num_seeds": 4}
    return run_bench(
        Bench(suite=suite, out=out, data=data, images=images, wholes=whole, **settings | changes)
    )


def grids(folder: Path, *stems: str) -> Path:
    """A published grid of 2 by 2 for each."""
    for number, stem in enumerate(stems):
        photo(folder / f"{stem}.png", 10 + number, (64, 64))
    return folder


def by_metric(out: Path, metric: str) -> list[dict]:
    return [row for row in read_rows(out / "results.jsonl") if row["metric"] == metric]


def cells(result, subset: str, protocol: str) -> dict:
    (line,) = [x for x in result.lines if (x.subset, x.protocol) == (subset, protocol)]
    return dict(line.cells)


STEMS = ("0_a man in a park", "1_a mug on a table")


def test_aes_is_of_the_grid_officially_and_of_each_picture_strictly(
    weights: Path, tmp_path: Path
) -> None:
    images = grids(tmp_path / "images" / "single", *STEMS).parent
    whole = f"aesthetic:{weights}/head.safetensors@{weights}/siglip"
    data = xverse_folder(tmp_path / "data")
    ran = bench(XVERSEBENCH, tmp_path / "out", data, images, whole, subsets=("single",))
    scorer = AestheticScorer(weights / "head.safetensors", weights / "siglip")
    wanted: dict[str, list[float]] = {"aesthetic": [], "grid_aesthetic": []}
    for stem in STEMS:
        grid = np.asarray(Image.open(images / "single" / f"{stem}.png"))
        tiles = [grid[y : y + 32, x : x + 32] for y in (0, 32) for x in (0, 32)]
        for name, each in {"aesthetic": tiles, "grid_aesthetic": [grid] * 4}.items():
            pixels = [torch.from_numpy(one.copy()).permute(2, 0, 1)[None] / 255 for one in each]
            wanted[name] += [scorer.score(one).item() for one in pixels]
    for name, protocol in {"aesthetic": "strict", "grid_aesthetic": "official"}.items():
        rows = by_metric(tmp_path / "out", name)
        assert [row["value"] for row in rows] == pytest.approx(wanted[name], abs=1e-5)
        assert {(row["protocol"], row["eyes"]) for row in rows} == {(protocol, scorer.name)}
        aes = cells(ran, "single", protocol)["AES"]
        assert (aes.mean, aes.n) == (pytest.approx(10 * np.mean(wanted[name]), abs=1e-4), 8)
        assert aes.n_missing == 0
        # AVG is of four columns: without DPG there is none, whatever AES says.
        avg = cells(ran, "single", protocol)["AVG"]
        assert avg.mean is None and "DPG" in avg.reason and "AES" not in avg.reason
    assert "AES" in write_bench_page(tmp_path / "out").read_text()


def test_a_scene_without_a_whole_grid_has_no_official_aes_and_is_counted(
    weights: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    for seed in range(3):
        photo(images / "single-000" / f"{seed}.png", seed, (32, 32))
    whole = f"aesthetic:{weights}/head.safetensors@{weights}/siglip"
    data, out = xverse_folder(tmp_path / "data"), tmp_path / "out"
    ran = bench(XVERSEBENCH, out, data, images, whole, subsets=("single",))
    official, strict = (cells(ran, "single", name)["AES"] for name in ("official", "strict"))
    assert (official.mean, official.n, official.n_missing) == (None, 0, 8)
    assert (strict.n, strict.n_missing) == (3, 5)
    reasons = [row["unmeasured"] for row in by_metric(out, "grid_aesthetic")]
    assert sum("wants 4 pictures, there are 3" in reason for reason in reasons) == 3
    # The fourth comes: only then there is a grid, and all its rows are made again.
    photo(images / "single-000" / "3.png", 3, (32, 32))
    ran = bench(XVERSEBENCH, out, data, images, whole, subsets=("single",))
    aes = cells(ran, "single", "official")["AES"]
    assert (aes.n, aes.n_missing) == (4, 4)
    assert len(by_metric(out, "grid_aesthetic")) == 5


def test_without_weights_aes_says_what_it_needs(tmp_path: Path) -> None:
    images = grids(tmp_path / "images", *STEMS)
    data = xverse_folder(tmp_path / "data")
    ran = bench(XVERSEBENCH, tmp_path / "out", data, images, subsets=("single",))
    aes = cells(ran, "single", "strict")["AES"]
    assert (aes.mean, aes.n_missing) == (None, 8) and "--whole aesthetic" in aes.reason


def dream_folder(folder: Path) -> Path:
    """Two items: of one thing, and of two, with photos of several shapes."""
    rows = ["id;prompt;refs;nouns", "one;a red bag;r/bag.png;bag"]
    rows += ['two;a bag and a vase;["r/bag.png", "r/vase.png"];["bag", "vase"]']
    folder.mkdir(parents=True)
    lines = [row.split(";") for row in rows]
    text = "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in lines)
    (folder / "items.csv").write_text(text)
    photo(folder / "r" / "bag.png", 1, (40, 70))
    photo(folder / "r" / "vase.png", 2, (70, 40))
    return folder


MAPPING = SuiteOptions(
    mapping={"prompt": "prompt", "references": "refs", "nouns": "nouns", "id": "id"}
)


def middle(path: Path, short: int, mean, deviation) -> torch.Tensor:
    """As the programs of DreamBooth feed a picture, by Pillow: short side, middle, normalized."""
    image = Image.open(path).convert("RGB")
    factor = short / min(image.size)
    image = image.resize(tuple(int(side * factor) for side in image.size), Image.Resampling.BICUBIC)
    left, top = ((side - 28) // 2 for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + 28, top + 28)), np.float32) / 255
    return torch.from_numpy((pixels - mean) / deviation).permute(2, 0, 1)[None].float()


def test_clip_i_and_dino_are_mean_cosines_of_whole_pictures(weights: Path, tmp_path: Path) -> None:
    from transformers import CLIPVisionModelWithProjection, ViTModel

    data, images, out = dream_folder(tmp_path / "data"), tmp_path / "images", tmp_path / "out"
    for name, seed in (("one", 7), ("two", 8)):
        photo(images / name / "0.png", seed, (50, 66))
    whole = (f"clip:{weights}/clip", f"dino:{weights}/dino")
    ran = bench(DREAMBENCH, out, data, images, *whole, options=MAPPING, num_seeds=1)
    clip = CLIPVisionModelWithProjection.from_pretrained(weights / "clip").eval()
    dino = ViTModel.from_pretrained(weights / "dino", add_pooling_layer=False).eval()

    def seen(path: Path, kind: str) -> np.ndarray:
        with torch.no_grad():
            if kind == "clip_i":
                fed = middle(
                    path,
                    28,
                    (0.48145466, 0.4578275, 0.40821073),
                    (0.26862954, 0.26130258, 0.27577711),
                )
                return clip(pixel_values=fed).image_embeds[0].numpy()
            fed = middle(path, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
            return dino(pixel_values=fed).last_hidden_state[0, 0].numpy()

    for metric, column in {"clip_i": "CLIP-I", "dino_i": "DINO"}.items():
        found = {(row["scene"], row["subject"]): row["value"] for row in by_metric(out, metric)}
        assert set(found) == {("one", "bag"), ("two", "bag"), ("two", "vase")}
        for (name, subject), value in found.items():
            one = seen(images / name / "0.png", metric)
            other = seen(data / "r" / f"{subject}.png", metric)
            cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            # Pillow rounds to whole levels, torch does not.
            assert value == pytest.approx(cosine, abs=5e-3)
        cell = cells(ran, "multi", "official")[column]
        assert cell.n == 2
        assert cell.mean == pytest.approx((found["two", "bag"] + found["two", "vase"]) / 2)
        assert column not in cells(ran, "multi", "strict")


def test_what_cannot_be_read_has_a_reason_and_rows_are_kept(weights: Path, tmp_path: Path) -> None:
    data, images, out = dream_folder(tmp_path / "data"), tmp_path / "images", tmp_path / "out"
    photo(images / "two" / "0.png", 8)
    (data / "r" / "vase.png").unlink()
    whole = f"dino:{weights}/dino"
    run = lambda: bench(DREAMBENCH, out, data, images, whole, options=MAPPING, num_seeds=1)  # noqa: E731
    run()
    said = {(row["scene"], row["subject"]): row for row in by_metric(out, "dino_i")}
    assert said["one", "bag"]["unmeasured"] == "the scene has no picture"
    assert "vase.png: no such file" in said["two", "vase"]["unmeasured"]
    assert said["two", "bag"]["value"] is not None
    before = (out / "results.jsonl").read_bytes()
    run()
    assert (out / "results.jsonl").read_bytes() == before
    # Without the flag its rows stay, and are in no table.
    ran = bench(DREAMBENCH, out, data, images, options=MAPPING, num_seeds=1)
    assert by_metric(out, "dino_i") and cells(ran, "multi", "official")["DINO"].mean is None
    photo(data / "r" / "vase.png", 2)
    run()
    assert all(row["value"] is not None for row in by_metric(out, "dino_i") if row["image"])
    shutil.rmtree(images / "two")
    run()
    assert all(row["value"] is None for row in by_metric(out, "dino_i"))


def test_names_that_are_none() -> None:
    for names in (["blip"], ["clip", "clip:x"]):
        with pytest.raises(RequestError, match="expected each once of clip, dino, aesthetic"):
            whole_sources(names)
    with pytest.raises(RequestError, match=r"published as a pickle"):
        build_whole_models(["aesthetic"], [], grid=1, stamp=lambda _: "")
    assert {"clip_i", "dino_i", "aesthetic", "grid_aesthetic"} <= METRICS.keys()


def test_the_command_takes_it(weights: Path, tmp_path: Path, capsys) -> None:
    data, images, out = dream_folder(tmp_path / "data"), tmp_path / "images", tmp_path / "out"
    photo(images / "two" / "0.png", 8)
    columns = [f"--column={ours}={theirs}" for ours, theirs in MAPPING.mapping.items()]
    asked = ["bench", "dreambench", "--data", data, "--images", images, "--out", out, "--seeds", 1]
    with pytest.raises(SystemExit) as left:
        main([*map(str, asked), *columns, "--whole", f"clip:{weights}/clip", "--json"])
    assert not left.value.code
    capsys.readouterr()
    lines = {
        (x["subset"], x["protocol"]): x["cells"] for x in read_json(out / "bench.json")["lines"]
    }
    assert lines["multi", "official"]["CLIP-I"]["n"] == 2
    assert "--whole dino" in lines["multi", "official"]["DINO"]["reason"]
