"""Operators: each runs one function of `lae_tasks` and says what came of it."""
