"""What made a shard stands in it, and other weights make it anew."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from personae import __version__
from personae.compute.runs import read_json
from personae.data.pair import PairTask, make_pairs
from personae.data.pipeline.drawn import Drawn
from personae.data.pipeline.pairs import Pairs
from personae.data.pipeline.people import Faces
from personae.data.pipeline.provenance import (
    backbone_models,
    eye_models,
    face_models,
    folder_digest,
)
from personae.data.pipeline.redrawn import Redrawn
from personae.data.pipeline.runner import run_pipeline
from personae.errors import WeightsError
from personae.toons import write_clips
from tests.data.pipeline.test_runner import Halved, Painted, source


@dataclass(frozen=True)
class Modelled(Painted):
    """Paints with weights that lie in a file."""

    weights: Path = Path()

    def models(self):
        return {"brush": folder_digest(self.weights)}


def test_other_weights_make_shards_anew_and_are_told(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"first")
    steps = [Modelled(weights=weights), Halved()]
    first = run_pipeline(source(6), steps, tmp_path / "out")
    again = run_pipeline(source(6), steps, tmp_path / "out")
    assert [step.num_made for step in again.steps] == [0, 0] and again.made_by == first.made_by
    before = read_json(tmp_path / "out/01-painted/shard-000000/done.json")["made_by"]
    assert before == {
        "step": "painted",
        "version": __version__,
        "settings": {"level": 1, "fail": 0},
        "models": {"brush": folder_digest(weights)},
    }
    (weights / "model.safetensors").write_bytes(b"secnd")
    other = run_pipeline(source(6), steps, tmp_path / "out")
    assert [step.num_made for step in other.steps] == [1, 1] and other.made_by != first.made_by
    told = read_json(tmp_path / "out/provenance.json")
    assert told["made_by"] == other.made_by
    assert told["steps"][0]["models"] == {"brush": folder_digest(weights)} != before["models"]


def test_an_example_leads_to_what_made_it(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips", albums=1, clips=3, frames=3)
    steps = {"faces": Faces(eyes="toons", least_px=12), "pairs": Pairs(eyes="toons")}
    make_pairs(PairTask(clips=clips, out=tmp_path / "out", **steps))
    told = read_json(tmp_path / "out/provenance.json")
    models = {step["step"]: step["models"] for step in told["steps"]}
    assert models["frames"] == {} and models["faces"] == models["pairs"] == face_models("toons")
    lines = (tmp_path / "out/examples.jsonl").read_text().splitlines()
    assert lines and {json.loads(line)["made_by"] for line in lines} == {told["made_by"]}
    origin = json.loads(lines[0])["sources"][0].partition(":")[0]
    assert origin in models, "a source names the step, the step its weights"


def test_eyes_and_models_by_what_they_weigh(tmp_path: Path) -> None:
    toons, dlib = face_models("toons"), face_models("dlib")
    assert all(len(sha) == 16 for sha in toons.values()) and len(toons) >= 5
    assert {"dlib", "dlib-resnet-v1", "dlib-landmarks-5"} == dlib.keys()
    file = tmp_path / "r50.safetensors"
    file.write_bytes(b"one")
    first = face_models(f"arcface:{file}")
    file.write_bytes(b"two!")
    assert first["r50.safetensors"] != face_models(f"arcface:{file}")["r50.safetensors"]
    assert face_models("nobody") == {}
    things = eye_models("owlv2", "grabcut", "efficientnet-lite0", f"dinov2:{tmp_path}")
    assert len(things) == 2 and things[f"dinov2:{tmp_path}"] == folder_digest(tmp_path)
    drawn = backbone_models("toons")
    assert list(drawn) == ["toons"] and Drawn().models() == {} and Drawn(by="toons").models()
    assert Redrawn(eyes="toons").models() == {**drawn, **toons}
    with pytest.raises(WeightsError, match="no such folder"):
        backbone_models(str(tmp_path / "none"))


def test_a_folders_digest_sees_names_sizes_and_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    large = tmp_path / "a" / "large.safetensors"
    large.write_bytes(bytes(3_000_000))
    seen = {folder_digest(tmp_path)}
    (tmp_path / ".cache").write_text("what a hub leaves behind")
    assert folder_digest(tmp_path) in seen
    large.write_bytes(bytes(2_999_999) + b"x")
    seen.add(folder_digest(tmp_path))
    large.write_bytes(b"\x01" * 3_000_000)
    seen.add(folder_digest(tmp_path))
    large.rename(tmp_path / "a" / "other.safetensors")
    seen.add(folder_digest(tmp_path))
    assert len(seen) == 4
