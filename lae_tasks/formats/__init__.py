"""Dataset formats that a release is written in."""
