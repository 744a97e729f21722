"""What each command does, as a Python function that returns what was found; `import seldtune` shows them to users.

Commands print what these return. Each finds the services as the commands do unless it is given `settings`, and leaves
them in this process's environment, where boto3, MLflow and Ray look for them. Modules that take long to import are
imported inside the functions.
"""
