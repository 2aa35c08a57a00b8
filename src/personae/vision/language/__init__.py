"""Language models behind small protocols: what is said and shown, and what one answers."""

from personae.vision.language.endpoint import KEY_VARIABLE, EndpointModel, Patience
from personae.vision.language.folder import FolderModel
from personae.vision.language.json_answers import read_json_object
from personae.vision.language.seeing_folder import SeeingFolderModel
from personae.vision.language.text_model import (
    Message,
    RefusedError,
    Reply,
    SeeingModel,
    TextModel,
)

__all__ = [
    "KEY_VARIABLE",
    "EndpointModel",
    "FolderModel",
    "Message",
    "Patience",
    "RefusedError",
    "Reply",
    "SeeingFolderModel",
    "SeeingModel",
    "TextModel",
    "read_json_object",
]
