"""What a user sets once for all runs: a TOML file of settings, and a store of keys."""
