"""What `mediastore dev` runs beside the service; needs the `local` extra. Not for production."""
