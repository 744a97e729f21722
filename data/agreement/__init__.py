"""Whether sound and labels agree: from where a recording is heard, beside what its labels say of it.

A label that is mirrored, in radians or a second late looks as good as any other, and poisons all that is trained on it.
So directions are taken from the sound itself and set against the labels of those label frames in which one source
alone is said to sound. Where they differ, the changes are tried that people's tools make most: the one after which they
agree is what went wrong.
"""
