"""The boxes and points that existing data sets come with: one module per format."""

from lae_tasks.annotations.annotation import Annotation, AnnotationError, Annotations
from lae_tasks.annotations.reading import FORMATS, read_annotations

__all__ = ["FORMATS", "Annotation", "AnnotationError", "Annotations", "read_annotations"]
