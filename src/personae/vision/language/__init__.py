"""Language models behind one small protocol: what is said, and what one answers."""

from personae.vision.language.endpoint import KEY_VARIABLE, EndpointModel
from personae.vision.language.folder import FolderModel
from personae.vision.language.text_model import Message, TextModel

__all__ = ["KEY_VARIABLE", "EndpointModel", "FolderModel", "Message", "TextModel"]
