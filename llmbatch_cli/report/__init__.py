"""What a run came to, after it: figures, a page, a comparison of two runs."""
