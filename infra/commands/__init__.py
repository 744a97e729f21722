"""The commands of `seldtune`, thin: each calls a Python function of the same meaning and prints what it returns.

Modules that take long to import are imported inside the commands, so that `seldtune --help` is quick.
"""
