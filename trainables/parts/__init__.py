"""What a trial chooses by name: fusions, encoders, outputs, schedules and optimisers, one folder for each kind.

A folder's `contract` says what a part of that kind is and holds the registry. Every other file of the folder is one
part: the fields that a config has (a frozen dataclass), the torch module that they build, and the registration. A new
part is one new file; nothing else names it.
"""
