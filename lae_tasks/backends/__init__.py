"""The models, each behind a small protocol; the only place that imports torch."""
