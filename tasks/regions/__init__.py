"""What stands on a page: words into lines and blocks, tables, figures, captions, sections.

What stands above may import it. It does not know files: it is given words, boxes and a drawing. All
of it is pure but the layout model.
"""
