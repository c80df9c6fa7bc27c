"""What becomes of a labelled region: the rules, and what they would do."""
