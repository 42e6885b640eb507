"""How well, and how fast, messages reach the right agent."""
