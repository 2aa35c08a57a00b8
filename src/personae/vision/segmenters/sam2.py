"""SAM 2 behind the `Segmenter` protocol, for those who have its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.subjects.box import Box
from personae.subjects.mask import mask_box
from personae.vision.embedders.crops import image_tensor
from personae.vision.embedders.pretrained import load_pretrained
from personae.vision.segmenters.grabcut import resized_map

__all__ = ["SAM2", "Sam2"]

SAM2 = "facebook/sam2.1-hiera-large"
_MARGIN = 0.05
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Sam2:
    """SAM 2 (Ravi et al. 2024, arXiv 2408.00714), prompted by one box, asked for one mask.

    The photo is squeezed into the model's square (sides scaled each by itself, as its own program
    does) and normalized; the mask's logits are brought to the photo's size and cut at 0.

    Args:
        source: folder or hub id.
        revision: its revision.
        margin: how much a box grows on each side, as a share of its sides (MuDI: 5 in 100;
            XVerseBench: 0); the name tells one that is not MuDI's.
        device: where to compute.
    """

    commercial = True
    licence = "Apache-2.0"

    def __init__(
        self,
        source: str | Path = SAM2,
        revision: str | None = None,
        margin: float = _MARGIN,
        device: str = "cpu",
    ) -> None:
        self.margin, self.device = margin, torch.device(device)
        self.name = "sam2" if margin == _MARGIN else f"sam2-margin-{margin:g}"
        network = load_pretrained("Sam2Model", source, revision)
        self._network: Any = network.eval().requires_grad_(False).to(self.device)

    @torch.inference_mode()
    def segment(self, image: np.ndarray, where: Box | np.ndarray) -> np.ndarray:
        """See `Segmenter`; of a map, the box around what is likelier than one half is taken."""
        height, width = image.shape[:2]
        box = where if isinstance(where, Box) else _likely_box(where, (height, width))
        if box is None:
            return np.zeros((height, width), dtype=bool)
        outputs = self._network(
            pixel_values=self._pixels(image),
            input_boxes=self._box(box, width, height),
            multimask_output=False,
        )
        logits = outputs.pred_masks[0, 0, :1].float()[None]
        full = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        return np.asarray(full[0, 0].cpu().numpy() > 0)

    def _side(self) -> int:
        size = self._network.config.prompt_encoder_config.image_size
        return int(size if isinstance(size, int) else size[0])

    def _pixels(self, image: np.ndarray) -> Tensor:
        side = self._side()
        picture = image_tensor(image)[None].to(self.device)
        resized = F.interpolate(picture, (side, side), mode="bilinear", antialias=True)
        mean, deviation = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (_MEAN, _DEVIATION)
        )
        return (resized - mean) / deviation

    def _box(self, box: Box, width: int, height: int) -> Tensor:
        """The grown box in the model's square: (1, 1, 4)."""
        across, down = self.margin * box.width, self.margin * box.height
        grown = Box(box.left - across, box.top - down, box.right + across, box.bottom + down)
        inside = grown.clipped(width, height) or box
        frame = torch.tensor([width, height, width, height], device=self.device)
        return torch.tensor(inside.xyxy, device=self.device)[None, None] / frame * self._side()


def _likely_box(likely: np.ndarray, shape: tuple[int, int]) -> Box | None:
    mask = resized_map(likely, shape) > 0.5
    return mask_box(mask) if mask.any() else None
