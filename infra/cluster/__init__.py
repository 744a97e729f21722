"""The Ray cluster: joined, measured, asked for its nodes; and sweeps sent to it as jobs."""
