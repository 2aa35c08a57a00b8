"""Faces: found, aligned and embedded, offline with dlib's models or with the user's ArcFace."""

from personae.vision.faces.align import (
    ARCFACE_TEMPLATE,
    ARCFACE_TEMPLATE_FOR_DLIB_POINTS,
    DLIB_TEMPLATE,
    FaceTemplate,
    aligned_crops,
    chip_maps,
    similarity_transform,
)
from personae.vision.faces.arcface import ArcFaceEmbedder, IResNet, OnnxArcFace, load_iresnet
from personae.vision.faces.detect import DlibFaceDetector
from personae.vision.faces.dlib_net import DlibFaceNet, load_dlib_face_net
from personae.vision.faces.embed import DlibFaceEmbedder, FaceEmbedder, FaceEyes

__all__ = [
    "ARCFACE_TEMPLATE",
    "ARCFACE_TEMPLATE_FOR_DLIB_POINTS",
    "DLIB_TEMPLATE",
    "ArcFaceEmbedder",
    "DlibFaceDetector",
    "DlibFaceEmbedder",
    "DlibFaceNet",
    "FaceEmbedder",
    "FaceEyes",
    "FaceTemplate",
    "IResNet",
    "OnnxArcFace",
    "aligned_crops",
    "chip_maps",
    "load_dlib_face_net",
    "load_iresnet",
    "similarity_transform",
]
