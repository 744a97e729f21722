"""A sweep's own record on storage, and what follows from it: budget, retries, failures, whose driver it is."""
