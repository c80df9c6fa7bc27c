"""Masks and boxes: which are kept, which are one thing, and how they are stored."""
