"""The commands of `mediastore` beside running it, one module for each noun."""
