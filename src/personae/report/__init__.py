"""Runs to one HTML file: what was found in every picture, or how a training went."""

from personae.report.page import write_report
from personae.report.training import is_training_run, write_training_report

__all__ = ["is_training_run", "write_report", "write_training_report"]
