"""Rows of output: rendered, written, put in order."""
