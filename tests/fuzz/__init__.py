"""Fuzz targets of the parsers, for ``make fuzz``: an error that is not the parser's own is a finding."""
