"""What a model's tokens cost. Nothing here is imported before a price is asked for."""
