"""Rows of input: from files, standard input and Python values."""
