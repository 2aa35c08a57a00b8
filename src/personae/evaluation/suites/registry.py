"""The suites by name."""

from __future__ import annotations

from collections.abc import Mapping

from personae.errors import RequestError
from personae.evaluation.suites.dreambench import DREAMBENCH
from personae.evaluation.suites.mudi import MUDI
from personae.evaluation.suites.multiid import MULTIID
from personae.evaluation.suites.omnicontext import OMNICONTEXT
from personae.evaluation.suites.psrbench import PSRBENCH
from personae.evaluation.suites.suite import Suite
from personae.evaluation.suites.toonbench import TOONBENCH
from personae.evaluation.suites.xversebench import XVERSEBENCH

__all__ = ["SUITES", "suite_named"]

SUITES: Mapping[str, Suite] = {
    suite.card.name: suite
    for suite in (TOONBENCH, XVERSEBENCH, PSRBENCH, MUDI, OMNICONTEXT, MULTIID, DREAMBENCH)
}
"""What `personae bench` knows."""


def suite_named(name: str) -> Suite:
    """The suite of a name.

    Raises:
        RequestError: there is none.
    """
    if name not in SUITES:
        raise RequestError(f"bench {name!r}: expected one of {', '.join(SUITES)}")
    return SUITES[name]
