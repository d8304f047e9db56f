"""Pictures and pages of what other stations wrote; nothing here computes a score.

Every drawing function takes `form`, "png" or "svg", and returns the bytes of one picture:
`curves` (trainings, confusions, benchmarks), `map` (proteins), `crops` (sheets of cells). `page`
puts them on one page of HTML.
"""
