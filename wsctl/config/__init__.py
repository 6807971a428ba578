"""Configuration: saved contexts, choice of server and token; may import ``output``."""
