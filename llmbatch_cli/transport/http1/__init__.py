"""HTTP/1.1 over connections of our own, read by llhttp: one write and one future a request."""
