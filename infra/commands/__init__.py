"""The commands of `seldtune`, thin: each calls a function of `infra.api` and prints what it returns.

Modules that take long to import are imported inside the commands, so that `seldtune --help` is quick.
"""
