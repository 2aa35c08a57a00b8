"""Rows to one HTML file: what was found in every picture, what was missing, and why."""

from personae.report.page import write_report

__all__ = ["write_report"]
