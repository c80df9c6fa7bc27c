"""Triggers: they wait in the triggerer, where waiting holds no slot."""
