"""Fuzz targets of the parsers, for ``make fuzz``: an error that is not a parser's own is a find."""
