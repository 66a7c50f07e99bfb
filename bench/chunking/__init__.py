"""How large should a chunk be: what sizes cost in requests and rows, and what they save."""
