"""The command ``personae serve``: rewards behind HTTP, until it is stopped."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personae.cli.commands import Detector, Embedder, Faces
from personae.cli.output import say
from personae.errors import RequestError

if TYPE_CHECKING:
    import torch

    from personae.training.rewards.asked import Reward
    from personae.training.rewards.recipe import RewardsRecipe

__all__ = ["serve"]

_TOKEN_VARIABLE = "PERSONAE_TOKEN"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(  # noqa: PLR0913, PLR0917 - a command's flags are its face
    reward: Annotated[
        list[str] | None,
        typer.Option("--reward", help="NAME=WEIGHT; again for more. Default strict_matching=1."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="NAME=FOLDER-OR-HUB-ID of a reward that needs a model."),
    ] = None,
    faces: Faces = "dlib",
    detector: Detector = "guided",
    embedder: Embedder = "efficientnet-lite0",
    host: Annotated[str, typer.Option("--host", help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 8765,
    device: Annotated[
        str, typer.Option("--device", help="auto: a worker on every GPU, else on the CPU.")
    ] = "auto",
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help=f"The bearer token; or in {_TOKEN_VARIABLE}."),
    ] = None,
    max_mb: Annotated[float, typer.Option("--max-mb", min=0.001, help="Of a request.")] = 64.0,
    max_pictures: Annotated[int, typer.Option("--max-pictures", min=1, help="Of a request.")] = 64,
    max_megapixels: Annotated[
        float, typer.Option("--max-megapixels", min=0.001, help="Of a request, decoded.")
    ] = 64.0,
    timeout_seconds: Annotated[
        float, typer.Option("--timeout-seconds", min=0.1, help="Of a request.")
    ] = 120.0,
    max_waiting: Annotated[
        int, typer.Option("--max-waiting", min=1, help="Requests in the queue.")
    ] = 16,
) -> None:
    """Answer how good pictures are over HTTP; stops well on Ctrl-C and on SIGTERM."""
    from personae.compute.device import choose_device
    from personae.training.rewards.recipe import RewardsRecipe
    from personae.training.rewards.server import RewardServer, worker_devices
    from personae.training.rewards.wire import Limits

    recipe = RewardsRecipe(
        weights=_weights(reward or ["strict_matching=1"]),
        models=dict(_pair(text, "--model") for text in model or []),
        faces=faces,
        detector=detector,
        embedder=embedder,
    )
    limits = Limits(
        max_bytes=int(max_mb * 1e6),
        max_pictures=max_pictures,
        max_pixels=int(max_megapixels * 1e6),
        timeout_seconds=timeout_seconds,
        max_waiting=max_waiting,
    )
    server = RewardServer(
        _factory(recipe),
        worker_devices(None if device == "auto" else choose_device(device)),
        host=host,
        port=port,
        token=_token(token_file),
        limits=limits,
        about={"weights": dict(recipe.weights), "faces": faces},
    )
    with _stop_signals() as stop, server:
        say(f"serving {', '.join(recipe.weights)} on {server.url}; stop with Ctrl-C")
        stop.wait()
        say("stopping; requests that run may end")


def _factory(recipe: RewardsRecipe) -> Callable[[torch.device], Reward]:
    def build(device: torch.device) -> Reward:
        from personae.training.rewards.make import make_reward

        return make_reward(recipe, device)

    return build


def _weights(texts: Sequence[str]) -> dict[str, float]:
    """``NAME=WEIGHT`` texts as a mapping."""
    found: dict[str, float] = {}
    for text in texts:
        name, told = _pair(text, "--reward")
        try:
            found[name] = float(told)
        except ValueError:
            found[name] = math.nan
        if not math.isfinite(found[name]):
            raise RequestError(f"--reward {text!r}: expected NAME=WEIGHT with a number as weight")
    return found


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise RequestError(f"{flag} {text!r}: expected NAME=VALUE")
    return name, value


def _token(path: Path | None) -> str | None:
    """From the file, else from the environment; None where neither is given."""
    if path is None:
        return os.environ.get(_TOKEN_VARIABLE)
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"--token-file {path}: cannot be read ({error})") from error


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, instead of ending the program where it stands."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
