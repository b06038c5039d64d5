"""How much may be sent now: what the user, the provider and experience allow."""
