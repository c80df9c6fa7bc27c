"""Hooks: where the engine, its bucket and Label Studio are."""
