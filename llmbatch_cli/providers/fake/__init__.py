"""A provider that makes answers up, for rehearsals and tests."""
