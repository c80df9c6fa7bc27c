"""The boxes and points that existing data sets come with: one module per format."""

from lae_tasks.annotations.annotation import Annotation, AnnotationError, Annotations
from lae_tasks.annotations.reading import FORMATS, label_file, read_annotations, says_something

__all__ = [
    "FORMATS",
    "Annotation",
    "AnnotationError",
    "Annotations",
    "label_file",
    "read_annotations",
    "says_something",
]
