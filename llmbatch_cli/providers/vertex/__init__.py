"""Google Vertex AI: Gemini and Claude."""
