"""What people said: raters of known mind give known numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from personae.errors import DataError, RequestError
from personae.evaluation.agreement import agreement
from personae.evaluation.agreement_metrics import metric_agreements, picture_values
from personae.evaluation.agreement_votes import (
    PairVote,
    PictureVote,
    judge_rater,
    majority,
    pair_votes,
    picture_votes,
)
from personae.evaluation.survey import make_survey, write_key
from personae.evaluation.survey_design import Place, Plan
from personae.evaluation.survey_files import Answers
from tests.evaluation.people import answer, random_answer, sheet, write_models, write_sheet

PLAN = Plan(kinds=("each", "pair"), raters=6, questions=24, judges=3)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    folders, values = write_models(folder, num_scenes=10, seeds=1)
    survey = make_survey(folders, PLAN, folder / "out")
    write_key(survey, folder / "out")
    return folder / "out", survey.key, values


def follower(asked, sign=1.0):
    """Answers as somebody does who sees the metric, or (sign -1) its opposite."""
    _, key, values = asked
    worth = lambda m, s, k: values[m][s, k] if sign > 0 else 1 - values[m][s, k]  # noqa: E731
    return lambda question: answer(key, question, worth)


def heard(tmp_path, asked, says, **options):
    for rater in range(1, PLAN.raters + 1):
        write_sheet(tmp_path / "in", asked[1], rater, says)
    return agreement(asked[0], [tmp_path / "in"], **options)


def test_raters_who_follow_a_metric(tmp_path, asked):
    found = heard(tmp_path, asked, follower(asked))
    assert all(rater.left_out is None for rater in found.raters) and found.n_missing == 0
    (metric,) = found.metrics
    assert metric.metric == "mine"
    # People say yes above 0.5: the metric orders all of theirs, but people's order has two steps.
    assert metric.success.n == 20 and metric.success.rho > 0.8
    for aspect in ("success", "subjects", "text", "naturalness"):
        assert metric.pairs[aspect].accuracy == 1
        assert metric.pairs[aspect].ci95 == (1, 1)
    assert metric.pairs["text"].n == 10
    assert {alpha.alpha for alpha in found.alphas} == {1.0}
    values = asked[2]
    for rate in found.success:
        assert rate.rate == np.mean([value > 0.5 for value in values[rate.model].values()])
        assert rate.n == 10 and rate.n_undecided == 0
    wins = np.mean([values["ours"][place] > values["theirs"][place] for place in values["ours"]])
    assert [win.rate for win in found.wins] == pytest.approx([wins] * 3)
    assert [win.aspect for win in found.wins] == ["subjects", "text", "naturalness"]


def test_raters_who_say_the_opposite(tmp_path, asked):
    (metric,) = heard(tmp_path, asked, follower(asked, -1)).metrics
    assert metric.success.rho < -0.8
    assert {accuracy.accuracy for accuracy in metric.pairs.values()} == {0}


def test_a_metric_that_is_peoples_share_has_correlation_1(tmp_path, asked):
    _, _key, values = asked
    shares = {place: k / 5 for k, place in enumerate(list(values["ours"])[:6])}
    votes = [
        PictureVote(rater, "ours", Place(*place), (rater < round(5 * share),))
        for place, share in shares.items()
        for rater in range(5)
    ]
    rows = [
        {
            "scene": s,
            "seed": k,
            "metric": "mine",
            "protocol": "",
            "eyes": "",
            "image": None,
            "value": v,
        }
        for (s, k), v in shares.items()
    ]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (metric,) = metric_agreements({"ours": tmp_path}, votes, [])
    assert metric.success.rho == 1
    assert metric.success.ci95 == (1, 1)


def test_random_raters_agree_as_by_chance(tmp_path):
    folders, _ = write_models(tmp_path, num_scenes=40, seeds=1)
    plan = Plan(kinds=("each", "pair"), raters=6, questions=60)
    survey = make_survey(folders, plan, tmp_path / "out")
    write_key(survey, tmp_path / "out")
    rng = np.random.default_rng(3)
    for rater in range(1, 7):
        write_sheet(tmp_path / "in", survey.key, rater, lambda q: random_answer(survey.key, q, rng))
    found = agreement(tmp_path / "out", [tmp_path / "in"], least_checks=0.0)
    assert max(abs(alpha.alpha) for alpha in found.alphas) < 0.2
    # Each holds chance in 95 of 100 surveys; one of these eight may miss it.
    covered = [alpha.ci95[0] < 0 < alpha.ci95[1] for alpha in found.alphas]
    covered += [win.ci95[0] <= 0.5 <= win.ci95[1] for win in found.wins]
    assert len(covered) == 8 and sum(covered) >= 7


def test_who_does_not_look_is_left_out_and_told(tmp_path, asked):
    _, key, _ = asked
    rng = np.random.default_rng(5)
    for rater in (1, 2, 3):
        write_sheet(tmp_path / "in", key, rater, follower(asked))
    write_sheet(tmp_path / "in", key, 4, lambda q: random_answer(key, q, rng))
    found = agreement(asked[0], [tmp_path / "in"])
    left_out = {rater.rater: rater.left_out for rater in found.raters}
    assert left_out[1] is None and "of 8 checks right, needed 75%" in left_out[4]
    assert found.n_missing == 2 and "75%" in found.rule
    assert {alpha.alpha for alpha in found.alphas} == {1.0}
    kept = agreement(asked[0], [tmp_path / "in"], least_checks=0.0)
    assert kept.raters[3].left_out is None
    assert all(alpha.alpha < 1 for alpha in kept.alphas)
    with pytest.raises(RequestError, match=r"none of 1 raters counts: rater 4: .*--min-checks"):
        agreement(asked[0], [tmp_path / "in" / "4.json"])
    with pytest.raises(RequestError, match="expected 0 to 1"):
        agreement(asked[0], [tmp_path / "in"], least_checks=1.5)


def test_checks_and_repeats_are_counted_by_hand(asked):
    _, key, _ = asked
    says = follower(asked)
    content = sheet(key, 1, says)
    questions = {question.id: question for question in key.sheet(1)}
    spoiled = {"check": 0, "repeat": 0}
    for given in content["answers"]:
        question = questions[given["question"]]
        if question.expected == "yes" and not spoiled["check"]:
            given["subjects"] = [{"appears": "yes", "resembles": "yes"}, {"appears": "no"}]
            spoiled["check"] += 1
        if question.repeats and question.kind == "pair" and not spoiled["repeat"]:
            given["better"] = given["better"] | {"text": "equal"}
            spoiled["repeat"] += 1
    rater = judge_rater(Answers.model_validate_json(json.dumps(content)), key, 0.9, 0.0)
    assert (rater.checks_right, rater.checks) == (7, 8)
    # Two questions of two subjects and two of three aspects come again.
    assert (rater.same, rater.repeats) == (9, 10)
    assert rater.median_seconds == 1.5
    assert rater.left_out == "7 of 8 checks right, needed 90%"
    strict = judge_rater(Answers.model_validate_json(json.dumps(content)), key, 0.5, 0.95)
    assert strict.left_out == "9 of 10 repeated answers the same, needed 95%"


def test_cannot_tell_is_right_where_nobody_is_there(asked):
    _, key, _ = asked

    def says(question):
        if question.expected == "no":
            return {"subjects": [{"appears": "unclear"}] * 2}
        return follower(asked)(question)

    answers = Answers.model_validate_json(json.dumps(sheet(key, 1, says)))
    assert judge_rater(answers, key, 1.0, 0.0).left_out is None


def test_votes_are_freed_from_their_sides(asked):
    _, key, values = asked
    sheets = [
        Answers.model_validate_json(json.dumps(sheet(key, rater, follower(asked))))
        for rater in (1, 2)
    ]
    pairs, pictures = pair_votes(sheets, key), picture_votes(sheets, key)
    own = [q for q in key.sheet(1) + key.sheet(2) if q.expected is None and q.repeats is None]
    assert len(pairs) + len(pictures) == len(own)
    for vote in pairs:
        better = values["ours"][vote.place] > values["theirs"][vote.place]
        assert (vote.first, vote.second) == ("ours", "theirs")
        assert set(vote.better.values()) == {float(better)}
    for vote in pictures:
        assert vote.success is (values[vote.model][vote.place] > 0.5)


def test_a_verdict_on_a_picture():
    def success(*subjects):
        return PictureVote(1, "m", Place("s", 0), subjects).success

    assert success(True, True) is True
    assert success(True, None) is None
    assert success(None, False) is False
    assert majority([True, True, False]) is True
    assert majority([False, None]) is False
    assert majority([None]) is None


def pair(rater, better, scene="s", first="a"):
    return PairVote(rater, first, "b", Place(scene, 0), {"subjects": better})


def rows_of(folder, values, metric="mine"):
    folder.mkdir()
    rows = [
        {
            "scene": scene,
            "seed": 0,
            "metric": metric,
            "subject": subject,
            "protocol": "strict",
            "eyes": "e",
            "image": None,
            "value": value,
        }
        for scene, found in values.items()
        for subject, value in enumerate(found)
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_accuracy_by_hand(tmp_path):
    # s: people 2 to 1 for a, metric too. t: for b, metric ties. u: tie of people. v: unmeasured.
    # w: for a, metric for b.
    ours = {"s": [0.9, 0.5], "t": [0.4], "u": [0.1], "v": [0.3, None], "w": [0.2]}
    theirs = {"s": [0.4], "t": [0.4, 0.8], "u": [0.9], "v": [0.9], "w": [0.3]}
    folders = {"a": rows_of(tmp_path / "a", ours), "b": rows_of(tmp_path / "b", theirs)}
    votes = [pair(1, 1.0), pair(2, 1.0), pair(3, 0.0), pair(1, 0.0, "t"), pair(2, 0.5, "t")]
    votes += [pair(1, 1.0, "u"), pair(2, 0.0, "u"), pair(1, 1.0, "v"), pair(1, 1.0, "w")]
    (metric,) = metric_agreements(folders, [], votes)
    found = metric.pairs["subjects"]
    assert (found.accuracy, found.n, found.n_ties, found.n_unmeasured) == (0.5, 3, 1, 1)
    assert metric.success is None and "text" not in metric.pairs


def test_where_lower_is_better_less_is_preferred(tmp_path):
    folders = {
        "a": rows_of(tmp_path / "a", {"s": [0.0], "t": [0.1]}, "strangers"),
        "b": rows_of(tmp_path / "b", {"s": [1.0], "t": [1.0]}, "strangers"),
    }
    (metric,) = metric_agreements(folders, [], [pair(1, 1.0), pair(1, 1.0, "t")])
    assert not metric.higher_is_better
    assert metric.pairs["subjects"].accuracy == 1


def test_a_picture_is_as_good_as_its_worst_subject(tmp_path):
    rows = json.loads(
        json.dumps(
            [
                {
                    "scene": "s",
                    "seed": 0,
                    "metric": m,
                    "subject": s,
                    "protocol": "p",
                    "eyes": "e",
                    "value": v,
                }
                for m, s, v in [
                    ("presence", "a", 1.0),
                    ("presence", "b", 0.0),
                    ("copy_paste", "a", 0.2),
                    ("copy_paste", "b", None),
                    ("strangers", None, 2.0),
                ]
            ]
        )
    )
    found = {series[0]: places[Place("s", 0)] for series, places in picture_values(rows).items()}
    assert found == {"presence": 0.0, "copy_paste": None, "strangers": -2.0}


def test_a_picture_drawn_anew_is_refused(tmp_path, asked):
    folders, values = write_models(tmp_path, num_scenes=10, seeds=1)
    survey = make_survey(folders, PLAN, tmp_path / "out")
    write_key(survey, tmp_path / "out")
    path = write_sheet(tmp_path / "in", survey.key, 1, follower((None, survey.key, values)))
    alone = agreement(tmp_path / "out", [path])
    assert alone.n_missing == 5
    assert {(alpha.alpha, alpha.n_units) for alpha in alone.alphas} == {(None, 0)}
    picture = tmp_path / "ours" / "images" / "s4" / "0.png"
    picture.write_bytes(picture.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"s4/0.png: not the picture that people judged"):
        agreement(tmp_path / "out", [path])


def test_undecided_pictures_are_left_out_and_counted(tmp_path, asked):
    _, key, _ = asked
    for rater in range(1, 7):

        def says(question, rater=rater):
            if question.kind == "each" and question.expected is None:
                said = "yes" if rater % 2 else "no"
                return {"subjects": [{"appears": "yes", "resembles": said}] * 2}
            return follower(asked)(question)

        write_sheet(tmp_path / "in", key, rater, says)
    found = agreement(asked[0], [tmp_path / "in"])
    for rate in found.success:
        assert rate.n + rate.n_undecided == 10
    votes = next(v for v in found.alphas if v.question == "success")
    assert votes.alpha < 0 and votes.n_votes == 2 * 10 * key.judges["each"]


def test_what_is_said_is_plain_json(tmp_path, asked):
    found = heard(tmp_path, asked, follower(asked)).as_json()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["format"] == "personae.agreement" and again["version"] == 1
    assert again["wins"][0]["first"] == "ours"
