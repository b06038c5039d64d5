"""What a run would count and cost, before it is paid for."""
