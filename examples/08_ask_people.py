"""Ask people about two models' pictures, and hear them: here three who answer by a metric.

Usage: python examples/08_ask_people.py [FOLDER]; then open FOLDER/survey/survey.html#rater=4
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from personae.compute.runs import make_folder, read_rows, write_json
from personae.evaluation.agreement import agreement
from personae.evaluation.evaluate import Evaluation, evaluate
from personae.evaluation.survey import Survey, make_survey, write_key
from personae.evaluation.survey_design import Plan
from personae.metrics.witnesses import EyesChoice
from personae.report import write_agreement_report, write_survey_page
from personae.toons import scene, write_scenes


def mangle(path: Path, copy: Path) -> None:
    """The picture without whoever stands in its right half."""
    pixels, make = np.asarray(Image.open(path)).copy(), make_folder(copy.parent)
    pixels[:, pixels.shape[1] // 2 :] = pixels[:, :1]
    Image.fromarray(pixels).save(make / copy.name)


def answer(survey: Survey, question, whole: dict[tuple[str, str], float]) -> dict:
    """What somebody says who sees what the metric ``success`` saw (and passes every check)."""
    shown = [survey.key.pictures[place] for place in question.shown]
    seen = [p.what == "references" or whole.get((p.model, p.scene), 0) for p in shown]
    seen = [bool(s) and p.scene == question.scene for s, p in zip(seen, shown, strict=True)]
    if question.kind == "each":
        said = {"appears": "yes" if seen[0] else "no", "resembles": "yes" if seen[0] else None}
        return {"subjects": [said] * len(survey.key.scenes[question.scene])}
    side = "equal" if seen[0] == seen[1] else "left" if seen[0] else "right"
    return {"better": dict.fromkeys(("subjects", "text", "naturalness"), side)}


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out") / "people"
    asked = [scene(seed, count=2, split="test") for seed in range(8)]
    scenes = write_scenes(asked, out, truth=True)
    for path in sorted((out / "truth").glob("*/0.png")):
        mangle(path, out / "mangled" / path.parent.name / path.name)
    whole, models = {}, (out / "truth-rows", out / "mangled-rows")
    for rows in models:
        images = out / rows.name.removesuffix("-rows")
        evaluate(Evaluation(scenes=scenes, images=images, out=rows, eyes=EyesChoice(faces="toons")))
        found = [row for row in read_rows(rows / "results.jsonl") if row["metric"] == "success"]
        whole |= {(rows.name, row["scene"]): row["value"] for row in found}

    survey = make_survey(models, Plan(kinds=("each", "pair"), raters=4), out / "survey")
    write_key(survey, out / "survey")
    print(f"wrote {write_survey_page(survey, out / 'survey')}")
    for rater in (1, 2, 3):
        said = [
            {"question": q.id, "ms": 4000} | answer(survey, q, whole)
            for q in survey.key.sheet(rater)
        ]
        head = {"format": "personae.survey.answers", "version": 1, "survey": survey.key.survey}
        sheet = {**head, "rater": rater, "answers": said}
        write_json(make_folder(out / "answers") / f"{rater}.json", sheet)
    heard = agreement(out / "survey", [out / "answers"])
    print(f"wrote {write_agreement_report(heard, out / 'people.html')}")
    for model in heard.success:
        print(f"{model.model}: {model.rate:.2f} of {model.n} pictures hold everyone")
