"""Settings of the unit tests."""

from hypothesis import settings

# Deadlines would fail on a busy machine; fixed examples fail, or pass, every time.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")
