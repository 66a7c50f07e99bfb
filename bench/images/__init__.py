"""What pictures cost, beside libvips."""
