"""Many questions at once: order, bounds, errors, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from personae.errors import RequestError
from personae.vision.judges import Judgement, KeptJudge, judge_many
from tests.vision.judged import Counting, question


class Sleepy(Counting):
    """The earlier a question, the longer it takes; it counts who asks at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    def judge(self, question, repeat=0):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.002 * (question.picture[0, 0, 0] % 5))
        with self.lock:
            self.now -= 1
        return super().judge(question, repeat)


QUESTIONS = [question(seed) for seed in range(24)]
MARKS = [float(item.picture[0, 0, 0] % 11) for item in QUESTIONS]


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_answers_come_in_the_order_of_questions_and_repeats(threads) -> None:
    judge = Sleepy()
    said = list(judge_many(judge, QUESTIONS, repeats=2, num_threads=threads))
    assert [[item.value for item in repeats] for repeats in said] == [[mark] * 2 for mark in MARKS]
    assert all(repeats[1].reasoning == "the 1-th time" for repeats in said)
    assert len(judge.asked) == 48
    assert judge.most <= (threads or judge.num_threads)


def test_questions_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def asked():
        for number, item in enumerate(QUESTIONS):
            taken.append(number)
            yield item

    answers = judge_many(Counting(), asked(), num_threads=2)
    next(answers)
    assert len(taken) <= 5
    answers.close()


def test_no_questions_no_answers() -> None:
    assert list(judge_many(Counting(), [])) == []


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"num_threads": 0}])
def test_nobody_to_ask_is_refused_at_once(wrong) -> None:
    with pytest.raises(RequestError, match="at least 1"):
        judge_many(Counting(), QUESTIONS, **wrong)


class Dying(Counting):
    """It breaks at one question."""

    def judge(self, question, repeat=0):
        if question.digest == QUESTIONS[10].digest:
            raise RequestError("status 401")
        return super().judge(question, repeat)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_where_its_question_is_and_the_rest_is_kept(tmp_path, threads) -> None:
    answers = judge_many(KeptJudge(Dying(), tmp_path), QUESTIONS, num_threads=threads)
    said = [next(answers)[0].value for _ in range(10)]
    with pytest.raises(RequestError, match="401"):
        next(answers)
    assert said == MARKS[:10]
    again = Counting()
    rest = list(judge_many(KeptJudge(again, tmp_path), QUESTIONS, num_threads=1))
    assert [item.value for (item,) in rest] == MARKS
    assert len(again.asked) <= 14


def test_leaving_the_loop_waits_for_nobody() -> None:
    gate = threading.Event()

    class Stuck(Counting):
        def judge(self, question, repeat=0):
            if question.digest != QUESTIONS[0].digest:
                gate.wait(10)
            self.asked.append(question.digest)
            return Judgement(1.0)

    judge = Stuck()
    start = time.monotonic()
    for _ in judge_many(judge, QUESTIONS, num_threads=2):
        break
    assert time.monotonic() - start < 5
    gate.set()
    time.sleep(0.05)
    assert len(judge.asked) <= 3


@pytest.mark.slow
def test_ctrl_c_ends_the_program_and_keeps_what_was_answered(tmp_path) -> None:
    code = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from personae.vision.judges import KeptJudge, judge_many
        from tests.vision.judged import Counting, question
        class Slow(Counting):
            def judge(self, question, repeat=0):
                time.sleep(0.05 if len(self.asked) < 6 else 60)
                return super().judge(question, repeat)
        judge = KeptJudge(Slow(), Path(sys.argv[1]))
        for number, _ in enumerate(judge_many(judge, (question(s) for s in range(99)))):
            print(number, flush=True)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for number in range(3):
        assert process.stdout.readline() == f"{number}\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) != 0
    process.stdout.close()
    assert len(list(tmp_path.rglob("*.json"))) >= 3
