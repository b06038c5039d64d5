"""Answers that are there already: of earlier runs, in a file, and of equal rows of this run."""
