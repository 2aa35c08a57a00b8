"""The model that draws: diffusers pipelines behind one small interface."""
