"""Several processes behind one port: they are started, watched, replaced and stopped together."""
