"""Numbers of a suite in the forms that the Hugging Face Hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personae.compute.runs import make_folder, write_atomic
from personae.evaluation.leaderboard import Standing
from personae.evaluation.suites.registry import SUITES

__all__ = ["write_hub_results"]

_TASK = "text-to-image"


def write_hub_results(run: Standing, folder: Path, dataset: str | None = None) -> list[Path]:
    """Write a run's measured numbers for a model's repository; the paths written.

    ``model-index.yml`` is what goes into the head of a model card: a result for each subset,
    protocol and column, its interval, n, n missing and eyes beside it. With ``dataset``, the id of
    the suite's data set on the Hub, ``.eval_results/SUITE.yaml`` is written too (the form that
    leaderboards of data sets read), each number a task of that data set. What is unmeasured is in
    neither; of a run without a number the second file is not written.

    Raises:
        WorkError: a file cannot be written.
    """
    from huggingface_hub import (
        EvalResult,
        EvalResultEntry,
        eval_result_entries_to_yaml,
    )
    from huggingface_hub.repocard_data import eval_results_to_model_index
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]

    card = SUITES[run.data["suite"]].card
    measured = _measured(run.data)
    results = [
        EvalResult(
            task_type=_TASK,
            dataset_type=dataset or card.name,
            dataset_name=f"{card.title}, {subset}",
            dataset_config=subset,
            metric_type=name,
            metric_name=f"{name} ({protocol})",
            metric_value=cell["mean"],
            metric_args=_told(run.data, protocol, cell),
        )
        for subset, protocol, name, cell in measured
    ]
    index = {"model-index": eval_results_to_model_index(run.model, results)}
    paths = [make_folder(folder) / "model-index.yml"]
    write_atomic(paths[0], yaml_dump(index))
    if dataset is not None and measured:
        entries = [
            EvalResultEntry(
                dataset_id=dataset,
                task_id=f"{subset}/{name}/{protocol}",
                value=cell["mean"],
                notes=", ".join(
                    f"{key} {value}" for key, value in _told(run.data, protocol, cell).items()
                ),
            )
            for subset, protocol, name, cell in measured
        ]
        paths.append(make_folder(folder / ".eval_results") / f"{card.name}.yaml")
        write_atomic(paths[1], yaml_dump(eval_result_entries_to_yaml(entries)))
    return paths


def _measured(data: Mapping[str, Any]) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    return [
        (line["subset"], line["protocol"], name, cell)
        for line in data["lines"]
        for name, cell in line["cells"].items()
        if cell["mean"] is not None
    ]


def _told(data: Mapping[str, Any], protocol: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"protocol": protocol, "n": cell["n"], "n_missing": cell["n_missing"]}
    if cell["ci95"] is not None:
        told["ci95"] = [round(end, 4) for end in cell["ci95"]]
    told["eyes"] = "; ".join(data["eyes"])
    if data["unverified"]:
        told["unverified"] = True
    return told
