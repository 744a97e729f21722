"""Which variant of a sweep is better, and how sure that is: statistics, tables, and a page."""
