"""Values, errors, events and options; imports nothing of ours."""
