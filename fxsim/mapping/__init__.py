"""How a loop nest runs on a machine: mappings, what they move, and the search for a good one."""
