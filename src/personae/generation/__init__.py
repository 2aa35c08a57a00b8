"""Scenes in, pictures out: prompts, initial noise, the loop over scenes and seeds."""

from personae.generation.best import MatchingRater
from personae.generation.drawing import INITS, Drawing, Plan, draw, initial_latents, plan_scene
from personae.generation.folder import overwrite
from personae.generation.generate import Failure, GenerationSummary, generate
from personae.generation.language_planner import LanguagePlanner
from personae.generation.layouts import LAYOUTS
from personae.generation.noise import picture_generator, plain_noise
from personae.generation.planners import LayoutPlanner, LayoutRequest
from personae.generation.prompts import words_for
from personae.generation.references import reference_picture
from personae.generation.trace import Glimpse, trace

__all__ = [
    "INITS",
    "LAYOUTS",
    "Drawing",
    "Failure",
    "GenerationSummary",
    "Glimpse",
    "LanguagePlanner",
    "LayoutPlanner",
    "LayoutRequest",
    "MatchingRater",
    "Plan",
    "draw",
    "generate",
    "initial_latents",
    "overwrite",
    "picture_generator",
    "plain_noise",
    "plan_scene",
    "reference_picture",
    "trace",
    "words_for",
]
