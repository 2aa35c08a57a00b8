"""Runs to one HTML file: what was found in every picture, how a training went, what people say."""

from personae.report.agreement import write_agreement_report
from personae.report.page import write_report
from personae.report.survey import write_survey_page
from personae.report.training import is_training_run, write_training_report

__all__ = [
    "is_training_run",
    "write_agreement_report",
    "write_report",
    "write_survey_page",
    "write_training_report",
]
