"""Judges: models that answer questions about a picture, strictly read, asked again, kept on disk.

A `Question` is a value: its kind (a mark from 0 to 10, or yes or no), its words, its pictures. A
judge makes a `Judgement` of it: a value, or the reason why there is none; never a default. A model
behind an address or in a folder judges through `ModelJudge`, `KeptJudge` keeps what was answered,
`judge_many` asks many at once, `agreement` says whether a judge agrees with itself.
`personae.metrics.judges.build_judge` puts them together by name; the offline judge of the drawn
world is there too (`personae.metrics.toon_judge`), for it rests on the evidence of the metrics.

Any model with a ``reply`` can be a judge. This one cannot keep to the form at first:

>>> from personae.vision.language import Reply
>>> class Model:
...     name, temperature, max_tokens = "talkative", 0.0, 100
...     said = iter(['I would say 7 of 10!', '{"reasoning": "The crown is gone.", "score": 7}'])
...     def reply(self, messages, *, seed=None, schema=None):
...         return Reply(next(self.said))
>>> picture = np.zeros((64, 64, 3), np.uint8)
>>> question = psr_question("attribute", "The crab wears a crown.", picture)
>>> judgement = ModelJudge(Model()).judge(question)
>>> judgement.value, judgement.reasoning, judgement.tries
(7.0, 'The crown is gone.', 2)

Many questions, each asked several times, come back in order:

>>> class Steady:
...     name, num_threads, settings = "steady", 1, {}
...     def judge(self, question, repeat=0):
...         return Judgement(8.0)
>>> answers = list(judge_many(Steady(), [question, question], repeats=3))
>>> agreement(answers).exact
1.0
"""

from personae.vision.judges.agreement import Agreement, agreement
from personae.vision.judges.answers import MarkAnswer, YesNoAnswer, answer_schema, read_answer
from personae.vision.judges.judgement import Judgement, QuestionJudge
from personae.vision.judges.kept import KeptJudge, judgement_key
from personae.vision.judges.many import judge_many
from personae.vision.judges.model_judge import Asking, ModelJudge
from personae.vision.judges.question import HIGHEST_MARK, Question, QuestionKind, Shown
from personae.vision.judges.question_sets import (
    PSR_INTENTS,
    omnicontext_questions,
    psr_question,
)
from personae.vision.judges.question_trees import (
    QuestionTree,
    read_question_trees,
    tree_questions,
)

__all__ = [
    "HIGHEST_MARK",
    "PSR_INTENTS",
    "Agreement",
    "Asking",
    "Judgement",
    "KeptJudge",
    "MarkAnswer",
    "ModelJudge",
    "Question",
    "QuestionJudge",
    "QuestionKind",
    "QuestionTree",
    "Shown",
    "YesNoAnswer",
    "agreement",
    "answer_schema",
    "judge_many",
    "judgement_key",
    "omnicontext_questions",
    "psr_question",
    "read_answer",
    "read_question_trees",
    "tree_questions",
]
