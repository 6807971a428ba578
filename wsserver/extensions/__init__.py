"""Built-in extensions, one package each; ``extension_registry`` names them."""
