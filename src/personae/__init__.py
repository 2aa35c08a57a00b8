"""Personae: pictures that hold several given subjects at once, each still itself."""

__version__ = "0.1.0"
__all__ = ["__version__"]
