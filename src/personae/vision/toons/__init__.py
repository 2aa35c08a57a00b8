"""Eyes for the drawn world: a detector and an embedder, and the examiner, of another make."""

from personae.vision.toons.detector import ToonFaceDetector
from personae.vision.toons.embedder import ToonFaceEmbedder
from personae.vision.toons.examiner import (
    Examiner,
    ExaminerDetector,
    ExaminerEmbedder,
    ExaminerReader,
)

__all__ = [
    "Examiner",
    "ExaminerDetector",
    "ExaminerEmbedder",
    "ExaminerReader",
    "ToonFaceDetector",
    "ToonFaceEmbedder",
]
