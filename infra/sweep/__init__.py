"""Running a sweep: what is asked, what is settled at the door, and every step from there to its conclusion."""
