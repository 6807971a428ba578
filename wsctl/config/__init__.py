"""Which server and which token: contexts, options' precedence, tokens; may import ``output``."""
