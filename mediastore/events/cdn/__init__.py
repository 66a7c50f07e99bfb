"""How CDNs are told to forget: one protocol, a driver for each kind of them."""
