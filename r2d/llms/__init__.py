"""Chat models: asked for decisions, rationales and grades."""
