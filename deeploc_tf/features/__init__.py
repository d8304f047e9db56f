"""Features without a network: `measure` makes a table like that of `embed`, a row per cell."""
