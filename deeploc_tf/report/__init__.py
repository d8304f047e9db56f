"""Pictures and pages of what other stations wrote; nothing here computes a score.

Every drawing function returns a matplotlib figure, and those of one panel draw on `ax` if it is
given. `drawing.publish_picture` writes a figure as PNG and SVG, `page` puts several on one page,
and `map_page` writes the interactive map.
"""
