"""An output in a store: its rows as objects while they come, one object at the end."""
