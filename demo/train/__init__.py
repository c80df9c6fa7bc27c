"""How the small models of the demo were trained: one command per model."""
