"""Commands, one module a family; may import all other packages. ``wsctl.cli.root`` lists them.

What a command needs beyond its options is imported in its function, which keeps the start quick.
"""
