"""What the wires share: messages in, replies and streams out."""
